# The cases: what is given to `--edit`, and beside it what that means as changes of hooks.py.
#
# Nothing here is parsed: each line says both, and they are held against each other.  s is the shape
# of the model; the last layer is s.last.  Positions in specs are inclusive ("2-4"), here half-open.
from dataclasses import dataclass, field

from hooks import Attend, Write


@dataclass
class Shape:
    layers: int
    heads: int
    kv_heads: int
    width: int
    channels: int
    neurons: int
    parallel: bool
    rotary: bool

    @property
    def last(self):
        return self.layers - 1

    @property
    def group(self):
        return self.heads // self.kv_heads


@dataclass
class Case:
    name: str
    specs: list
    changes: list
    also: list = field(default_factory=list)  # other lists of specs that mean the same
    options: list = field(default_factory=list)  # of capture
    prompts: str = "main"  # which prompt file: main, pair
    generate: int = 0
    before: list = field(default_factory=list)  # options of a capture made first, {capture} in specs
    before_changes: list = field(default_factory=list)  # and what they change
    real: bool = False  # also on the real model


def heads_of(s, layer, heads, op, amount=0.0, rows="all"):
    """Writes to z of query heads."""
    return [
        Write("z", layer, slice(h * s.width, (h + 1) * s.width), op, amount, rows) for h in heads
    ]


def value_of(s, layer, kv_heads, op, amount=0.0, rows="all"):
    return [
        Write("value", layer, slice(h * s.width, (h + 1) * s.width), op, amount, rows)
        for h in kv_heads
    ]


def whole(site, layer, op, amount=0.0, rows="all"):
    return [Write(site, layer, slice(None), op, amount, rows)]


def one(site, layer, column, op, amount=0.0, rows="all"):
    return [Write(site, layer, slice(column, column + 1), op, amount, rows)]


def group_of(s, kv_head):
    return list(range(kv_head * s.group, (kv_head + 1) * s.group))


def everywhere(s, kind, layers=None, **more):
    layers = range(s.layers) if layers is None else layers
    return [Attend(kind, layer, list(range(s.heads)), **more) for layer in layers]


def writes(s):
    """zero, set, scale at every site."""
    m, h, c, n = s.last, s.heads - 1, s.channels - 2, s.neurons - 3
    k = s.kv_heads - 1
    found = [
        Case("zero-head", [f"zero:head={m}.{h}"], heads_of(s, m, [h], "set"),
             also=[[f"set:head={m}.{h}:value=0"], [f"scale:head={m}.{h}:by=0"]], real=True),
        Case("zero-head-0", ["zero:head=0.0"], heads_of(s, 0, [0], "set"), real=True),
        Case("zero-heads-span", [f"zero:head=0.0,{m}.{h}:rows=needle"],
             heads_of(s, 0, [0], "set", rows="needle") + heads_of(s, m, [h], "set", rows="needle")),
        Case("zero-kv", [f"zero:kv=0.{k}"], heads_of(s, 0, group_of(s, k), "set"), real=True),
        Case("zero-attn", ["zero:attn=0"], whole("attn_out", 0, "set"), real=True),
        Case("zero-attn-z", ["zero:attn=0:at=z"], whole("z", 0, "set")),
        Case("zero-mlp", [f"zero:mlp={m}"], whole("mlp_out", m, "set"), real=True),
        Case("zero-mlps-rows", [f"zero:mlp=0-{m}:rows=2-4"],
             [w for l in range(s.layers) for w in whole("mlp_out", l, "set", rows=(2, 5))]),
        Case("zero-neuron", [f"zero:neuron={n}:layer=0"], one("mlp_post", 0, n, "set")),
        Case("zero-channel-first", [f"zero:channel={c}:layer=0:site=resid_post:rows=first"],
             one("resid_post", 0, c, "set", rows="first"),
             also=[[f"massive-zero:channel={c}:layer=0"]]),
        Case("zero-head-last", [f"zero:head={m}.0:rows=last"], heads_of(s, m, [0], "set", rows="last"),
             also=[[f"maps:head={m}.0"]]),
        Case("zero-neurons", ["zero:neuron=3-9:layer=0"],
             [Write("mlp_post", 0, slice(3, 10), "set")]),
        Case("zero-value-kv", [f"zero:kv=0.{k}:at=value"], value_of(s, 0, [k], "set"),
             also=[[f"icl-cmr:kv=0.{k}"]]),
        Case("zero-value-first", [f"zero:attn={m}:at=value:rows=first"],
             whole("value", m, "set", rows="first"), real=True,
             also=[[f"guo-value:attn={m}"]]),
        Case("set-head", [f"set:head={m}.0:value=0.25"], heads_of(s, m, [0], "set", 0.25)),
        Case("set-channel-pre", [f"set:channel={c}:layer={m}:site=resid_pre:value=2.5"],
             one("resid_pre", m, c, "set", 2.5)),
        Case("set-channel-attn", [f"set:channel=1:layer=0:site=attn_out:value=-1.5:rows=last"],
             one("attn_out", 0, 1, "set", -1.5, "last")),
        Case("set-neuron", [f"set:neuron=0:layer={m}:value=3"], one("mlp_post", m, 0, "set", 3.0)),
        Case("set-mlp", ["set:mlp=0:value=0.5"], whole("mlp_out", 0, "set", 0.5)),
        Case("scale-head", [f"scale:head=0.{h}:by=0.5"], heads_of(s, 0, [h], "scale", 0.5), real=True),
        Case("scale-kv-value", [f"scale:kv={m}.0:at=value:by=2"], value_of(s, m, [0], "scale", 2.0)),
        Case("scale-attn", ["scale:attn=0:by=-1"], whole("attn_out", 0, "scale", -1.0)),
        Case("scale-mlp-span", ["scale:mlp=0:by=1.75:rows=needle"],
             whole("mlp_out", 0, "scale", 1.75, "needle")),
        Case("scale-neuron", ["scale:neuron=7:layer=0:by=4"], one("mlp_post", 0, 7, "scale", 4.0)),
        Case("scale-channel-post", [f"scale:channel=0:layer={m}:site=resid_post:by=0.1"],
             one("resid_post", m, 0, "scale", 0.1)),
        Case("scale-channel-mlp", [f"scale:channel={c}:layer=0:site=mlp_out:by=3"],
             one("mlp_out", 0, c, "scale", 3.0)),
    ]  # fmt: skip
    if not s.parallel:
        found += [
            Case("set-channel-mid", ["set:channel=3:layer=0:site=resid_mid:value=-1.5:rows=last"],
                 one("resid_mid", 0, 3, "set", -1.5, "last")),
            Case("scale-channel-mid", [f"scale:channel={c}:layer={m}:site=resid_mid:by=0.25"],
                 one("resid_mid", m, c, "scale", 0.25)),
        ]  # fmt: skip
    return found


def sourced(s):
    """mean, position_mean, from, resample."""
    m, h, c, n = s.last, s.heads - 1, s.channels - 2, s.neurons - 3
    k = s.kv_heads - 1
    z = ["--record", "z"]
    found = [
        Case("mean-head", [f"mean:head=0.{h}"], heads_of(s, 0, [h], "mean"), real=True,
             before=z, also=[[f"mean:head=0.{h}:source={{capture}}"]]),
        Case("mean-kv", [f"mean:kv={m}.{k}"], heads_of(s, m, group_of(s, k), "mean"),
             before=["--record", "means"], also=[[f"mean:kv={m}.{k}:source={{capture}}"]]),
        Case("mean-attn", ["mean:attn=0"], whole("attn_out", 0, "mean")),
        Case("mean-mlp", [f"mean:mlp={m}:rows=last"], whole("mlp_out", m, "mean", rows="last"), real=True),
        Case("mean-neuron", [f"mean:neuron={n}:layer=0"], one("mlp_post", 0, n, "mean")),
        Case("mean-channel", [f"mean:channel={c}:layer=0:site=resid_post"],
             one("resid_post", 0, c, "mean")),
        Case("mean-value", [f"mean:kv=0.{k}:at=value"], value_of(s, 0, [k], "mean")),
        Case("mean-head-group", [f"mean:head=0.{h}"], heads_of(s, 0, [h], "mean"),
             options=["--means-by", "domain"]),
        Case("position-mean-head", [f"position_mean:head={m}.{h}"],
             heads_of(s, m, [h], "position_mean"), real=True,
             before=z, also=[[f"position_mean:head={m}.{h}:source={{capture}}"],
                             [f"ioi-mean:head={m}.{h}"]]),
        Case("position-mean-channel-first", ["position_mean:channel=4:layer=0:site=resid_post:rows=first"],
             one("resid_post", 0, 4, "position_mean", rows="first"), prompts="pair",
             also=[["massive-mean:channel=4:layer=0"]]),
        Case("position-mean-mlp", ["position_mean:mlp=0"], whole("mlp_out", 0, "position_mean")),
        Case("position-mean-channel", [f"position_mean:channel=2:layer={m}:site=resid_pre"],
             one("resid_pre", m, 2, "position_mean")),
        Case("from-head", [f"from:head=0.{h},{m}.0"],
             heads_of(s, 0, [h], "from") + heads_of(s, m, [0], "from"), real=True,
             also=[[f"patching:head=0.{h},{m}.0"]]),
        Case("from-attn-rows", ["from:attn=0:rows=needle"],
             whole("attn_out", 0, "from", rows="needle")),
        Case("from-mlp-last", [f"from:mlp={m}:rows=last"], whole("mlp_out", m, "from", rows="last")),
        Case("from-value", [f"from:kv={m}.{k}:at=value"], value_of(s, m, [k], "from")),
        Case("from-neuron", ["from:neuron=1:layer=0"], one("mlp_post", 0, 1, "from")),
        Case("from-channel", [f"from:channel=1:layer=0:site=resid_post"],
             one("resid_post", 0, 1, "from")),
        Case("from-capture", [f"from:head={m}.{h}:source={{capture}}"], heads_of(s, m, [h], "from"),
             before=[*z, "--edit", "zero:mlp=0"], before_changes=whole("mlp_out", 0, "set")),
        Case("resample-head", [f"resample:head=0.0:seed=3"], heads_of(s, 0, [0], "resample"),
             prompts="pair", also=[["ioi-resample:head=0.0:seed=3"]]),
        Case("resample-mlp", [f"resample:mlp=0:seed=1"], whole("mlp_out", 0, "resample"),
             prompts="pair"),
    ]  # fmt: skip
    return found


def maps(s):
    """Everything that changes attention."""
    m, h, k = s.last, s.heads - 1, s.kv_heads - 1
    half = dict(keys="first", amount=0.5)
    found = [
        Case("uniform-head", [f"uniform:head={m}.{h}"], [Attend("uniform", m, [h])], real=True,
             also=[[f"attention-influence:head={m}.{h}"]]),
        Case("uniform-kv-last", [f"uniform:kv=0.{k}:rows=last"],
             [Attend("uniform", 0, group_of(s, k), queries="last")]),
        Case("uniform-attn", ["uniform:attn=0"], everywhere(s, "uniform", [0])),
        Case("identity-head", [f"identity:head=0.{h}"], [Attend("identity", 0, [h])],
             also=[[f"guo-identity:head=0.{h}"]]),
        Case("previous-attn", [f"previous:attn={m}"], everywhere(s, "previous", [m]), real=True),
        Case("to-head", [f"to:head={m}.0"], [Attend("to", m, [0])], real=True,
             also=[[f"to:head={m}.0:key=0"], [f"guo-first:head={m}.0"]]),
        Case("to-key", ["to:head=0.0:key=3"], [Attend("to", 0, [0], key=3)]),
        Case("zero-pattern", [f"zero:head=0.{h}:at=pattern"],
             [Attend("scale", 0, [h], renormalise=False)], real=True,
             also=[[f"michel:head=0.{h}"], [f"guo-zero:head=0.{h}"]]),
        Case("zero-pattern-key", [f"zero:attn={m}:at=pattern:key=first"],
             everywhere(s, "scale", [m], keys="first", renormalise=False)),
        Case("scale-first", [f"scale:attn=0-{m}:at=pattern:key=first:by=0.5"],
             everywhere(s, "scale", **half), real=True, also=[[f"zerotuning:attn=0-{m}:by=0.5"]]),
        Case("scale-first-raw", [f"scale:attn=0-{m}:at=pattern:key=first:by=0.5:renormalise=no"],
             everywhere(s, "scale", renormalise=False, **half)),
        Case("scale-first-none", [f"scale:head=0.{h}:at=pattern:key=first:by=0"],
             [Attend("scale", 0, [h], keys="first")]),
        Case("block-first", [f"block:head={m}.{h}:key=first"],
             [Attend("block", m, [h], keys="first")], real=True),
        Case("block-span", [f"block:query=last:key=needle:layer=0-{m}"],
             everywhere(s, "block", queries="last", keys="needle"), real=True),
        Case("block-all", [f"block:query=2-5:key=all:head=0.{h}"],
             [Attend("block", 0, [h], queries=(2, 6))]),
        Case("block-uniform", [f"block:head=0.0:key=first", f"uniform:head=0.0:rows=2-5"],
             [Attend("block", 0, [0], keys="first"), Attend("uniform", 0, [0], queries=(2, 6))]),
        Case("bias-first", [f"bias:head=0.{h}:key=first:by=1.5"],
             [Attend("bias", 0, [h], keys="first", amount=1.5)], real=True),
        Case("bias-span", [f"bias:query=3-6:key=needle:layer={m}:by=-2"],
             everywhere(s, "bias", [m], queries=(3, 7), keys="needle", amount=-2.0)),
        Case("bias-keys", [f"bias:head=0.{h}:key=2-4:by=4"],
             [Attend("bias", 0, [h], keys=(2, 5), amount=4.0)]),
        Case("window", [f"window:attn=0-{m}:sinks=1:recent=4"],
             everywhere(s, "window", sinks=1, recent=4), real=True,
             also=[[f"streaming-mask:attn=0-{m}:sinks=1:recent=4"]]),
        Case("window-head", [f"window:head=0.{h}:sinks=2:recent=3:rows=4-6"],
             [Attend("window", 0, [h], sinks=2, recent=3, queries=(4, 7))]),
        Case("window-recent", ["window:attn=0:sinks=0:recent=3"],
             everywhere(s, "window", [0], sinks=0, recent=3)),
        Case("window-full", [f"window:attn=0-{m}:sinks=4:recent=512"], []),
        Case("scale-one", [f"scale:attn=0-{m}:at=pattern:by=1", f"scale:mlp=0-{m}:by=1",
                           f"bias:layer=0-{m}:query=all:key=all:by=0"], []),
    ]  # fmt: skip
    if s.rotary:
        found += [
            Case("cache", [f"window:attn=0-{m}:sinks=1:recent=3:positions=cache"],
                 everywhere(s, "cache", sinks=1, recent=3), real=True,
                 also=[[f"streaming:attn=0-{m}:sinks=1:recent=3"]]),
            Case("cache-head", [f"window:head={m}.{h}:sinks=4:recent=2:positions=cache"],
                 [Attend("cache", m, [h], sinks=4, recent=2)]),
        ]  # fmt: skip
    return found


def together(s):
    """Several at once, and rows of generated text."""
    m, h = s.last, s.heads - 1
    found = [
        Case("together",
             [f"scale:mlp={m}:by=0.5", f"uniform:head={m}.0", "zero:head=0.0:rows=2-5",
              "set:channel=2:layer=0:site=resid_post:value=1.5:rows=first",
              f"block:head={m}.{h}:key=needle"],
             [*whole("mlp_out", m, "scale", 0.5), Attend("uniform", m, [0]),
              *heads_of(s, 0, [0], "set", rows=(2, 6)),
              *one("resid_post", 0, 2, "set", 1.5, "first"),
              Attend("block", m, [h], keys="needle")], real=True),
        Case("in-order", ["set:head=0.0:value=2", "scale:head=0.0:by=0.25", f"mean:mlp=0",
                          "scale:mlp=0:by=2"],
             [*heads_of(s, 0, [0], "set", 2.0), *heads_of(s, 0, [0], "scale", 0.25),
              *whole("mlp_out", 0, "mean"), *whole("mlp_out", 0, "scale", 2.0)]),
        Case("bias-window-scale",
             [f"bias:head=0.{h}:key=first:by=-1", f"window:head=0.{h}:sinks=1:recent=5",
              f"scale:head=0.{h}:at=pattern:key=first:by=3"],
             [Attend("bias", 0, [h], keys="first", amount=-1.0),
              Attend("window", 0, [h], sinks=1, recent=5),
              Attend("scale", 0, [h], keys="first", amount=3.0)]),
        Case("to-then-uniform", [f"to:head={m}.0", f"uniform:head={m}.0:rows=3-6",
                                 f"previous:head={m}.0:rows=5-6"],
             [Attend("to", m, [0]), Attend("uniform", m, [0], queries=(3, 7)),
              Attend("previous", m, [0], queries=(5, 7))]),
        Case("decode-uniform", [f"uniform:attn=0-{m}:rows=decode"],
             everywhere(s, "uniform", queries="decode"), generate=5, real=True,
             also=[[f"retrieval-head:attn=0-{m}"]]),
        Case("decode-zero", [f"zero:attn={m}:at=z:rows=decode"],
             whole("z", m, "set", rows="decode"), generate=5),
        Case("prefill-zero", [f"zero:mlp=0:rows=prefill"],
             whole("mlp_out", 0, "set", rows="prefill"), generate=5),
        Case("prefill-value", [f"scale:attn=0:at=value:by=0.5:rows=prefill"],
             whole("value", 0, "scale", 0.5, "prefill"), generate=5),
        Case("decode-window", [f"window:attn=0-{m}:sinks=1:recent=4"],
             everywhere(s, "window", sinks=1, recent=4), generate=5),
    ]  # fmt: skip
    if s.rotary:
        found.append(
            Case("decode-cache", [f"window:attn=0-{m}:sinks=2:recent=3:positions=cache"],
                 everywhere(s, "cache", sinks=2, recent=3), generate=5)
        )  # fmt: skip
    return found


def all_cases(s):
    return writes(s) + sourced(s) + maps(s) + together(s)
