# The peer's side of peers.py: a transformers process that times its forward pass on request.
#
# Usage: worker.py plain|eager FILE.gguf; one JSON object a line in, {"ids"} or {"text"}, one out.
import json
import os
import pathlib
import resource
import sys
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer


def loss(logits, ids):
    return F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")


@torch.no_grad()
def plain(model, ids):
    return loss(model(ids, use_cache=False).logits, ids)


@torch.no_grad()
def eager(model, ids):
    """Maps and states kept as users do, then: mass on keys 0-3, mean received mass, row entropy and
    maximum of every head; top-16 activations and norms at every depth."""
    out = model(ids, use_cache=False, output_attentions=True, output_hidden_states=True)
    n = ids.shape[1]
    seen = n - torch.arange(n)
    found = []
    for a in out.attentions:
        found.append((a[0, :, :, :4].mean(1), a[0].sum(1) / seen))
        found.append((-torch.special.xlogy(a[0], a[0]).sum(-1), a[0].amax(-1)))
    for x in out.hidden_states:
        found.append((x[0].abs().flatten().topk(16), x[0].norm(dim=-1)))
    return loss(out.logits, ids), found


def main():
    kind, path = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    load = {"gguf_file": path.name, "dtype": torch.float32}
    load["attn_implementation"] = {"plain": "sdpa", "eager": "eager"}[kind]
    model = AutoModelForCausalLM.from_pretrained(path.parent, **load).eval()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    work = {"plain": plain, "eager": eager}[kind]
    for line in sys.stdin:
        request = json.loads(line)
        if "text" in request:
            print(json.dumps({"ids": tokenizer(request["text"])["input_ids"]}), flush=True)
            continue
        ids = torch.tensor([request["ids"]])
        cpu, start = time.process_time(), time.monotonic()
        work(model, ids)
        seconds = time.monotonic() - start
        answer = {
            "seconds": seconds,
            "busy": (time.process_time() - cpu) / seconds,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
