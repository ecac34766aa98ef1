#!/usr/bin/env python3
# Makes sweep.safetensors and attribution.safetensors: every head of a model changed, one at a time, and what
# that does to the metrics; what heads and MLPs add to a logit.  In true float64, the error of float32
# beside it.
#
# The heads of a layer are a batch, one head changed in each, by a wrapper around transformers' eager
# attention.  The layers below it are left out where the model takes embeddings as they are.
# Run: make_sweep.py sweep|attribution [NAME...] [SMOLLM2.gguf] (all of them: the file is written whole)
import contextlib
import json
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from hooks import Prompt, Changed, shape_of  # noqa: E402
from make_edits import tiny_prompts  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import smollm2  # noqa: E402
import tiny  # noqa: E402
from reference import FAMILIES, as_float64, float64_only, head_outputs  # noqa: E402

NAMES = ("llama-gqa", "llama-bias", "gpt2-inverse-layer", "gpt-neox-parallel", "gpt-neox-sequential")
ARMS = ("zero", "mean", "uniform")
NEAR = 1e-3  # logits closer than this may change places in float32
REAL_TOKENS = 40


def mode_of(model):
    wide = next(model.parameters()).dtype == torch.float64
    return float64_only() if wide else contextlib.nullcontext()


def parts_of(model):
    family = FAMILIES[model.config.model_type]
    base = getattr(model, family.base)
    return family, base, getattr(base, family.blocks)


def sites_of(model, ids):
    found = {}
    Changed(model, Prompt(ids, len(ids), {}, {}), []).run(
        lambda site, layer, x: found.__setitem__((site, layer), x.clone())
    )
    return found


def changed_logits(model, ids, layer, arm, mean, start):
    """[head, T, vocab]: in element h of the batch head h of the layer is changed.  start: residual stream
    before that layer, or None: from the tokens on."""
    family, base, blocks = parts_of(model)
    modeling = sys.modules[type(model).__module__]
    n_layers, n_heads, n_kv, width = shape_of(model)[:4]
    eager = modeling.eager_attention_forward

    def attend(module, query, key, value, *rest, **options):
        out, weights = eager(module, query, key, value, *rest, **options)
        if module.layer_idx != layer:
            return out, weights
        out = out.clone()
        for head in range(n_heads):
            if arm == "zero":
                out[head, :, head] = 0
            elif arm == "mean":
                out[head, :, head] = mean[head]
            else:
                v = value[head, head // (n_heads // n_kv)]
                out[head, :, head] = v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]
        return out, weights

    modeling.eager_attention_forward = attend
    try:
        if start is None:
            logits = model(input_ids=torch.tensor([ids] * n_heads), use_cache=False).logits
        else:
            setattr(base, family.blocks, blocks[layer:])
            x = start.expand(n_heads, -1, -1)
            logits = model(inputs_embeds=x, use_cache=False).logits
    finally:
        modeling.eager_attention_forward = eager
        setattr(base, family.blocks, blocks)
    return logits


def metrics(logits, plain, ids, target, foil):
    """{name: number} of logits [T, vocab] against those of the unchanged model."""
    ids = torch.tensor(ids)
    logp, old = torch.log_softmax(logits, -1), torch.log_softmax(plain, -1)
    best = logits.topk(2).values
    old_best = plain.topk(2).values
    sure = torch.minimum(best[:, 0] - best[:, 1], old_best[:, 0] - old_best[:, 1]) > NEAR
    other = logits.argmax(-1) != plain.argmax(-1)
    last = logits[-1]
    return {
        "loss": float(-logp[:-1].gather(1, ids[1:, None]).mean()),
        "kl": float((old.exp() * (old - logp)).sum(-1).mean()),
        "target_logit": float(last[target]),
        "logit_difference": float(last[target] - last[foil]),
        "rank_low": float((last > last[target] + NEAR).sum()),
        "rank_high": float((last > last[target] - NEAR).sum() - 1),
        "top1_change_low": float((other & sure).double().mean()),
        "top1_change_high": float((other | ~sure).double().mean()),
    }


@torch.no_grad()
def sweep(model, prompts, from_layer):
    """{name: [arm, prompt, layer, head]}, and baselines [prompt]."""
    runs = [sites_of(model, p["tokens"]) for p in prompts]
    n_layers, n_heads, _, width = shape_of(model)[:4]
    found = {}
    with mode_of(model):
        for a, arm in enumerate(ARMS):
            for layer in range(n_layers):
                mean = torch.cat([r["z", layer].double() for r in runs]).mean(0)
                mean = mean.reshape(n_heads, width).to(runs[0]["z", layer].dtype)
                for i, (prompt, run) in enumerate(zip(prompts, runs)):
                    start = run["resid_pre", layer][None] if from_layer else None
                    logits = changed_logits(model, prompt["tokens"], layer, arm, mean, start)
                    for head in range(n_heads):
                        for name, x in metrics(logits[head], run["logits", 0], prompt["tokens"],
                                               prompt["target"], prompt["foil"]).items():  # fmt: skip
                            values = found.setdefault(
                                name, torch.zeros(len(ARMS), len(prompts), n_layers, n_heads,
                                                  dtype=torch.float64))  # fmt: skip
                            values[a, i, layer, head] = x
        for i, (prompt, run) in enumerate(zip(prompts, runs)):
            for name, x in metrics(run["logits", 0], run["logits", 0], prompt["tokens"],
                                   prompt["target"], prompt["foil"]).items():  # fmt: skip
                values = found.setdefault("baseline_" + name, torch.zeros(len(prompts), dtype=torch.float64))
                values[i] = x
    return {name: x.numpy() for name, x in found.items()}


# Attribution.


def final_norm(model):
    family, base, _ = parts_of(model)
    return getattr(base, family.norm)


def attribution(model, prompt, foil):
    """Shares of the logit of the target (less the foil's) at the last token, and the lens."""
    family, base, blocks = parts_of(model)
    ids, target = prompt["tokens"], prompt["target"]
    n_layers, n_heads, _, width = shape_of(model)[:4]
    run = sites_of(model, ids)
    norm, unembed = final_norm(model), model.get_output_embeddings()
    centres = "LayerNorm" in type(norm).__name__ and "RMS" not in type(norm).__name__
    with mode_of(model), torch.no_grad():
        stream = run["resid_post", n_layers - 1][-1]
        epsilon = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        spread = stream - stream.mean() if centres else stream
        scale = (spread.square().mean() + epsilon).rsqrt()

        def choose(x):
            return x[target] - x[foil] if foil is not None else x[target]

        def share(x):
            x = x - x.mean(-1, keepdim=True) if centres else x
            return (x * scale * norm.weight) @ choose(unembed.weight)

        heads = torch.stack([share(head_outputs(model, l, run["z", l][-1].reshape(1, n_heads, width))[0])
                             for l in range(n_layers)])  # fmt: skip
        mlps = torch.stack([share(run["mlp_out", l][-1]) for l in range(n_layers)])
        bias = torch.zeros(())
        for block in blocks:
            output = getattr(getattr(block, family.attention), family.output)
            if output.bias is not None:
                bias = bias + share(output.bias)
        if getattr(norm, "bias", None) is not None:
            bias = bias + norm.bias @ choose(unembed.weight)
        if unembed.bias is not None:
            bias = bias + choose(unembed.bias)
        depths = [run["resid_pre", 0][-1]] + [run["resid_post", l][-1] for l in range(n_layers)]
        lens = unembed(norm(torch.stack(depths)))
        low = (lens > lens[:, [target]] + NEAR).sum(-1)
        high = (lens > lens[:, [target]] - NEAR).sum(-1) - 1
        found = {
            "head": heads,
            "mlp": mlps,
            "embedding": share(depths[0])[None],
            "bias": bias.reshape(1),
            "logit": choose(run["logits", 0][-1])[None],
            "lens_logit": lens[:, target] - (lens[:, foil] if foil is not None else 0),
            "lens_rank_low": low,
            "lens_rank_high": high,
        }
    if next(model.parameters()).dtype == torch.float64:
        whole = sum(found[k].sum() for k in ("head", "mlp", "embedding", "bias"))
        assert abs(float(whole - found["logit"][0])) < 1e-9 * max(1, abs(float(whole))), "shares do not add up"
    return {name: x.double().numpy() for name, x in found.items()}


def add(tensors, prefix, exact, single):
    """Names with low and high are bounds; of the others the largest float32 error is stored."""
    for name, x in exact.items():
        tensors[f"{prefix}.{name}"] = np.ascontiguousarray(x)
        if not name.endswith(("_low", "_high")):
            tensors[f"{prefix}.error.{name}"] = abs(single[name] - x).max(keepdims=True).ravel()


def real(path):
    model = smollm2.load(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = (HERE.parent / "text" / "medium.txt").read_text(encoding="utf-8")
    ids = tokenizer(text)["input_ids"][: REAL_TOKENS + 1]
    foil = tokenizer(" world")["input_ids"][0]
    return model, [dict(name="real", tokens=ids[:-1], target=ids[-1], foil=foil)]


def main():
    torch.set_num_threads(1)
    what, tensors, prompts_of = sys.argv[1], {}, {}
    for name in sys.argv[2:] or NAMES:
        if name.endswith(".gguf"):
            name, (model, prompts) = "smollm2", real(pathlib.Path(name))
        else:
            model = tiny.build(name)
            prompts = tiny_prompts(name)[0]["main"]
            prompts = [dict(p, target=11 + i, foil=20 + i) for i, p in enumerate(prompts)]
        exact = as_float64(model)
        prompts_of[name] = prompts
        if what == "sweep":
            from_layer = model.config.model_type != "gpt2"
            add(tensors, name, sweep(exact, prompts, from_layer), sweep(model, prompts, from_layer))
        else:
            for i, prompt in enumerate(prompts):
                for kind, foil in (("target", None), ("foil", prompt["foil"])):
                    found = (attribution(m, prompt, foil) for m in (exact, model))
                    add(tensors, f"{name}.{i}.{kind}", *found)
        errors = {k: float(v[0]) for k, v in tensors.items() if k.startswith(name) and ".error." in k}
        print(name, "largest error of float32:", max(errors.items(), key=lambda e: e[1]), flush=True)
    note = f"transformers {transformers.__version__}, torch {torch.__version__}"
    metadata = {"note": note, "prompts": json.dumps(prompts_of), "arms": json.dumps(ARMS)}
    path = HERE / f"{what}.safetensors"
    save_file(tensors, path, metadata=metadata)
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
