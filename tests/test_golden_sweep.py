#!/usr/bin/python3
"""`ablate` and the record `attribution` against golden/edits/{sweep,attribution}.safetensors; prints TAP.

test_golden_sweep.py sweep|attribution PROGRAM GOLDEN_FOLDER [SMOLLM2]: every head zeroed, at its mean and with uniform attention, and what
heads and MLPs add to a logit, from transformers in true float64. Ours may be 3 times as far from it as float32 is at its
worst over heads, prompts and, of attribution, kinds of shares. Ranks and shares of changed tokens must lie between the
stored bounds (logits within 1e-3 may change places). The shares add up to the logit to 1e-5 of it.
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

from test_golden_edits import FACTOR, ROUNDING, read_golden

REAL = "smollm2"
METRICS = ("loss", "kl", "target_logit", "logit_difference")
BOUNDED = ("rank", "top1_change")
FEW = ("loss", "target_logit", "logit_difference")  # of the real model: the others read all logits of all positions
STORED_AS = {"head": "head_logit", "mlp": "mlp_logit"}  # in a capture
SHARES = ("head", "mlp", "embedding", "bias", "logit", "lens_logit")


def run(program, *words):
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words[0]}: exit code {done.returncode}: {done.stderr.strip()}"


def write_prompts(folder, prompts, keep):
    path = os.path.join(folder, "p.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for prompt in prompts:
            file.write(json.dumps({k: v for k, v in prompt.items() if k in keep}) + "\n")
    return path


def close(name, found, expected, allowed):
    assert found.shape == expected.shape, f"{name}: expected shape {expected.shape}, found {found.shape}"
    off = np.abs(found - expected)
    assert np.isfinite(found).all(), f"{name}: not finite"
    assert off.max() <= allowed, f"{name}: off by {off.max():.2e} at {np.unravel_index(off.argmax(), off.shape)}, allowed {allowed:.1e}"
    return off.max() / allowed


def must_differ(found, expected, allowed):
    """Heads that changed places are seen."""
    try:
        close("loss", found, expected, allowed)
    except AssertionError:
        return
    raise AssertionError("the comparison saw nothing when heads changed places")


def between(name, found, low, high):
    # Shares are float32 in the file.
    wrong = (found < low - ROUNDING) | (found > high + ROUNDING)
    assert not wrong.any(), f"{name}: {found[wrong][0]} is not from {low[wrong][0]} to {high[wrong][0]}"


def check_sweep(program, folder, model, golden, name, prompts, arms):
    path, out = write_prompts(folder, prompts, ("tokens", "target", "foil", "name")), os.path.join(folder, "a.h5")
    edits = [word for arm in arms for word in ("--edit", arm)]
    metrics, bounded = (FEW, ()) if name == REAL else (METRICS, BOUNDED)
    run(program, "ablate", "--quiet", "--model", model, "--prompts", path, "--heads", "all", *edits,
        "--metric", ",".join(metrics + bounded), "--out", out)  # fmt: skip
    worst = 0
    with h5py.File(out) as file:
        for metric in metrics:
            for prefix in ("", "baseline_"):
                expected = golden[f"{name}.{prefix}{metric}"]
                if prefix and metric == "kl":
                    continue
                # Of a logit of this size no float32 knows more.
                size = ROUNDING * max(1, np.abs(expected).max())
                allowed = FACTOR * max(golden[f"{name}.error.{prefix}{metric}"][0], size)
                worst = max(worst, close(prefix + metric, file[prefix + metric][:], expected, allowed))
        for metric in bounded:
            between(metric, file[metric][:], golden[f"{name}.{metric}_low"], golden[f"{name}.{metric}_high"])
        allowed = FACTOR * golden[f"{name}.error.loss"][0]
        must_differ(file["loss"][:], np.roll(golden[f"{name}.loss"], 1, -1), allowed)
        effect = np.abs(golden[f"{name}.loss"] - golden[f"{name}.baseline_loss"][:, None, None])
        assert np.median(effect) > 10 * golden[f"{name}.error.loss"][0], "the heads do too little to be compared"
    return f"{golden[f'{name}.loss'].size} cells, off by at most {worst:.2f} of what is allowed"


def check_attribution(program, folder, model, golden, name, prompts, kind):
    keep = ("tokens", "target", "name") + (("foil",) if kind == "foil" else ())
    path, out = write_prompts(folder, prompts, keep), os.path.join(folder, "b.h5")
    run(program, "capture", "--quiet", "--model", model, "--prompts", path, "--record", "attribution", "--out", out)
    bound = max(golden[f"{name}.{i}.{kind}.error.{share}"][0] for i in range(len(prompts)) for share in SHARES)
    worst, off = 0, 0
    with h5py.File(out) as file:
        found = {s: file[f"attribution/{STORED_AS.get(s, s)}"][:].astype(float) for s in (*SHARES, "lens_rank")}
        for i in range(len(prompts)):
            at = f"{name}.{i}.{kind}."
            for share in SHARES:
                expected = golden[at + share]
                size = ROUNDING * max(1, np.abs(expected).max())
                values = found[share][i].reshape(expected.shape)
                worst = max(worst, close(f"{share} of prompt {i}", values, expected, FACTOR * max(bound, size)))
            between("lens_rank", found["lens_rank"][i], golden[at + "lens_rank_low"], golden[at + "lens_rank_high"])
            whole = sum(found[s][i].sum() for s in ("head", "mlp", "embedding", "bias"))
            logit = found["logit"][i]
            off = max(off, abs(whole - logit) / max(1, abs(logit)))
    assert off <= 1e-5, f"the shares add up to {off:.1e} of the logit beside it"
    return f"off by at most {worst:.2f} of what is allowed, the sum by {off:.1e} of the logit"


def main():
    what, program, folder, smollm2 = sys.argv[1], sys.argv[2], sys.argv[3], (sys.argv + [""])[4]
    golden, metadata = read_golden(os.path.join(folder, "edits", what + ".safetensors"))
    arms, checks = json.loads(metadata["arms"]), []
    for name, prompts in json.loads(metadata["prompts"]).items():
        model = smollm2 if name == REAL else os.path.join(folder, "models", name)
        common = (model, golden, name, prompts)
        if what == "sweep":
            checks.append((f"{name}: every head changed", check_sweep, (*common, arms)))
        else:
            checks.append((f"{name}: shares of the logit", check_attribution, (*common, "target")))
            checks.append((f"{name}: shares of the logit difference", check_attribution, (*common, "foil")))
    print(f"1..{len(checks)}")
    for i, (title, check, args) in enumerate(checks, 1):
        if not args[0]:
            print(f"ok {i} - {title} # SKIP no SmolLM2 (meson option smollm2)")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            try:
                said = check(program, temporary, *args)
                print(f"ok {i} - {title}\n# {said}")
            except (AssertionError, KeyError) as why:
                print(f"not ok {i} - {title}\n# {type(why).__name__}: {why}".rstrip())
        sys.stdout.flush()


main()
