# The peer's side of peers.py and sweep.py: a transformers process that times its work on request.
#
# Usage: worker.py plain|eager|hooks FILE.gguf; one JSON object a line in, {"ids"} or {"text"}, one
# out.  hooks: {"prompts", "heads", "last"}, and the losses [prompt, head] come back too.
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


@torch.no_grad()
def hooks(model, prompts, heads, last):
    """The loop in use: for every head a hook that zeroes its z before the output projection, a forward
    pass, the loss at every position, or with `last` that of the last token from two rows of logits."""
    width = model.config.hidden_size // model.config.num_attention_heads
    found = []
    for ids in prompts:
        for layer, head in heads:

            def zero(module, args, head=head):
                z = args[0].clone()
                z[..., head * width : (head + 1) * width] = 0
                return (z,)

            output = model.model.layers[layer].self_attn.o_proj
            handle = output.register_forward_pre_hook(zero)
            rows = {"logits_to_keep": 2} if last else {}
            logits = model(ids, use_cache=False, **rows).logits
            found.append(loss(logits, ids[:, -2:] if last else ids).mean().item())
            handle.remove()
    return found


def main():
    kind, path = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    load = {"gguf_file": path.name, "dtype": torch.float32}
    load["attn_implementation"] = "eager" if kind == "eager" else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(path.parent, **load).eval()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for line in sys.stdin:
        request = json.loads(line)
        if "text" in request:
            print(json.dumps({"ids": tokenizer(request["text"])["input_ids"]}), flush=True)
            continue
        prompts = [torch.tensor([ids]) for ids in request.get("prompts", [request.get("ids")])]
        cpu, start = time.process_time(), time.monotonic()
        if kind == "hooks":
            losses = hooks(model, prompts, request["heads"], request["last"])
        else:
            losses = []
            {"plain": plain, "eager": eager}[kind](model, prompts[0])
        seconds = time.monotonic() - start
        answer = {
            "seconds": seconds,
            "busy": (time.process_time() - cpu) / seconds,
            "losses": losses,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
