// Interventions of the literature as lines of data, named after the reference that does them.
//
// What the user writes behind the name is laid over the options here: `streaming:head=all` is
// StreamingLLM with the reference's sizes, `streaming:head=all:recent=64` with another window.
#include "tracer/edit.h"

const struct hw_edit_preset hw_edit_presets[] = {
    {"michel", "zero:%s:at=pattern",
     "Michel et al. 2019: the weights of the head times 0; the output bias stays"},
    {"guo-zero", "zero:%s:at=pattern", "Guo et al. 2024: the attention map of the head is 0"},
    {"guo-first", "to:%s:key=0", "Guo et al. 2024: all attention of the head on the first token"},
    {"guo-identity", "identity:%s", "Guo et al. 2024 (toy): every token attends to itself"},
    {"guo-value", "zero:%s:at=value:rows=first",
     "Guo et al. 2024 (toy): the value of the first token is 0"},
    {"retrieval-head", "uniform:%s:rows=decode",
     "Wu et al. 2024: scores of 0, so uniform attention, while decoding only"},
    {"maps", "zero:%s:at=z:rows=last", "Elhelo & Geva 2024 (MAPS): z is 0 at the last position"},
    {"icl-cmr", "zero:%s:at=value",
     "Ji-An et al. 2024: value vectors are 0 (whole key/value heads)"},
    {"ioi-mean", "position_mean:%s:at=z",
     "Wang et al. 2022 (IOI): mean over prompts of the template, by position"},
    {"ioi-resample", "resample:%s:at=z", "Wang et al. 2022 (IOI): what it is in another prompt"},
    {"patching", "from:%s", "TransformerLens, patching.py: what it is in the counterpart"},
    {"streaming", "window:%s:sinks=4:recent=512:positions=cache",
     "Xiao et al. 2023 (StreamingLLM): a cache of sinks and recent tokens"},
    {"streaming-mask", "window:%s:sinks=128:recent=256",
     "Xiao et al. 2024 (DuoAttention): sinks and a recent window, by mask"},
    {"attention-influence", "uniform:%s",
     "Hua et al. 2025 (AttentionInfluence): uniform attention at all rows"},
    {"zerotuning", "scale:%s:at=pattern:key=first",
     "Han et al. 2025 (ZeroTuning): first token's weight times by=, renormalised"},
    {"massive-zero", "zero:%s:rows=first",
     "Sun et al. 2024: channel=C:layer=L of the first token set to 0"},
    {"massive-mean", "position_mean:%s:rows=first",
     "Sun et al. 2024: channel=C:layer=L of the first token set to its mean"},
    {0},
};
