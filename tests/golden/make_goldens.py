#!/usr/bin/env python3
# Makes everything under tests/golden that comes from Python: the tiny models, their GGUF twins, and
# the goldens. Needs torch, transformers 5, gguf, safetensors.  README.md says what each file holds.
# Run: make_goldens.py tiny [NAME...] | smollm2 FILE.gguf
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch  # noqa: E402
import transformers  # noqa: E402

import gguf_twins  # noqa: E402
import reorder  # noqa: E402
import smollm2  # noqa: E402
import store  # noqa: E402
import tiny  # noqa: E402
from reference import as_float64, run  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def everything(site, layer, tensor):
    return tensor if site in store.SITES else None


def tiny_plan(n):
    """Up to 7 tokens everything; 33 the main sites whole; 70 only rows (past 64)."""
    if n <= 7:
        return {site: None for site in store.SITES}
    if n <= 33:
        few = store.last_rows(n, 3)
        return {
            "residual": None,
            "pattern": None,
            "value": None,
            "z": None,
            "final": few,
            "logits": few,
            "head_result": few,
            "attention_output": few,
            "mlp_output": few,
            "token_logprob": None,
        }
    few = store.last_rows(n, 4)
    return {"residual": few, "pattern": few, "z": few, "logits": few[-1:], "token_logprob": None}


def tiny_golden(model, name, path, note):
    exact_model = as_float64(model)
    tensors = {}
    for i, ids in enumerate(tiny.prompts(name)):
        exact = run(exact_model, ids, everything)
        singles = reorder.runs(model, ids, lambda m, x: run(m, x, everything))
        store.prompt_entries(tensors, f"p{i}", ids, exact, singles, tiny_plan(len(ids)))
    store.write(
        path, tensors, f"{note}; transformers {transformers.__version__}, torch {torch.__version__}"
    )
    print(
        f"{path.name:36} {path.stat().st_size:8}",
        *(f"{s}={tensors['error.' + s][0]:.1e}" for s in store.SITES),
    )


def make_tiny(names):
    for name in names or tiny.MODELS:
        folder = HERE / "models" / name
        tiny.save(name, tiny.build(name), folder)
        # Loaded again, so that the files are what is measured, old spellings included.
        model = (
            tiny.MODELS[name][0]
            .from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
            .eval()
        )
        compare_states(tiny.build(name), model)
        tiny_golden(model, name, HERE / "tiny" / f"{name}.safetensors", name)
        for twin, twin_model in gguf_twins.write_all(name, model, HERE / "models"):
            if twin_model is not None:
                tiny_golden(twin_model, name, HERE / "tiny" / f"{twin}.safetensors", twin)


def compare_states(built, loaded):
    a, b = built.state_dict(), loaded.state_dict()
    if a.keys() != b.keys() or not all(torch.equal(a[k], b[k]) for k in a):
        raise SystemExit("the stored model is not the model that was built")
    for module_a, module_b in zip(built.modules(), loaded.modules()):
        if hasattr(module_a, "inv_freq") and not torch.equal(module_a.inv_freq, module_b.inv_freq):
            raise SystemExit("the stored configuration gives other rope frequencies")


def main():
    torch.set_num_threads(1)
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "tiny":
        make_tiny(rest)
    elif what == "smollm2" and len(rest) == 1:
        smollm2.make(pathlib.Path(rest[0]), HERE)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
