#!/usr/bin/env python3
# Reads a capture of fresh sequences and asserts what this model is stored for: sinks, value drains,
# a residual peak.
#
# Needs h5py and numpy.  Run:
#   make_prompts.py --n 256 --seed 11 --whole > fresh.jsonl
#   headwater capture --model model --prompts fresh.jsonl --out fresh.h5 \
#       --record default --record attention_maps --attention-dtype f32
#   check.py fresh.h5
import sys

import h5py
import numpy as np

from backcopy import LENGTH, Task

QUIET_MASS, ACTIVE_MASS = (
    0.9,
    0.05,
)  # least mass of non-trigger queries on <s>; most of trigger queries where copying
DRAIN, PEAK = (
    1 / 3,
    2.5,
)  # most |v(<s>)| / |v(others)| in any layer; least residual ratio after block 0
COPIED, EXCESS = (
    0.99,
    0.02,
)  # least mean probability of the copied token; nats above the bigram table
MIN_PROMPTS = 256


def figures(capture, task):
    """All of them by layer, one head a layer."""
    n_prompts = capture["prompt"].shape[0]
    if n_prompts < MIN_PROMPTS:
        raise SystemExit(f"expected at least {MIN_PROMPTS} prompts, found {n_prompts}")
    if not np.all(capture["n_tokens"][:] == LENGTH):
        raise SystemExit(f"expected {LENGTH} tokens a prompt: make the prompts with --whole")
    ids = capture["token_id"][:].reshape(n_prompts, LENGTH)
    if not np.all(ids[:, 0] == task.bos):
        raise SystemExit("expected <s> at the start of every prompt")
    trigger = task.is_trigger[ids]
    after = trigger[:, 1:-1]  # copying leaves no two triggers side by side
    if not np.array_equal(ids[:, 2:][after], ids[:, :-2][after]) or np.any(after & trigger[:, 2:]):
        raise SystemExit("expected the token before a trigger to be copied after it")
    first = capture["attention_first"][:].reshape(n_prompts, LENGTH, -1)
    value = capture["value_norm"][:].reshape(n_prompts, LENGTH, -1)
    residual = capture["residual_norm"][:].reshape(n_prompts, LENGTH, -1)
    loss = -capture["token_logprob"][:].reshape(n_prompts, LENGTH)[:, 1:]
    copied = trigger[:, :-1]  # the token after a trigger
    quiet = ~copied
    quiet[:, 0] = False  # after <s> the triggers are left out: not a row of the bigram table
    oracle = -np.log(task.cond[ids[:, :-1], ids[:, 1:]], where=quiet, out=np.zeros(quiet.shape))
    return dict(
        quiet_mass=first[~trigger].mean(0),
        trigger_mass=first[trigger].mean(0),
        drain=value[:, 0].mean(0) / value[:, 1:].mean((0, 1)),
        peak=residual[:, 0].mean(0) / residual[:, 1:].mean((0, 1)),
        copied=np.exp(-loss[copied]).mean(),
        excess=(loss - oracle)[quiet].mean(),
    )


def maps_agree(capture):
    """The largest difference between the stored maps and attention_first; None without maps."""
    if "attention" not in capture or "pattern" not in capture["attention"]:
        return None
    pattern = capture["attention/pattern"]  # [prompt, layer, head, query, key]
    first = capture["attention_first"][:].reshape(pattern.shape[0], LENGTH, *pattern.shape[1:3])
    found = pattern[:, :, :, :, 0].transpose(0, 3, 1, 2)
    return float(np.abs(found - first).max())


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: check.py CAPTURE.h5")
    task = Task()
    with h5py.File(sys.argv[1]) as capture:
        found, difference = figures(capture, task), maps_agree(capture)
    np.set_printoptions(precision=4, suppress=True)
    for name, value in found.items():
        print(f"{name:13} {value}")
    copying = int(np.argmin(found["trigger_mass"]))
    claims = [
        (
            f"non-trigger queries put >= {QUIET_MASS} on <s> in every layer",
            found["quiet_mass"].min() >= QUIET_MASS,
        ),
        (
            f"trigger queries put <= {ACTIVE_MASS} on <s> in layer {copying}, which copies",
            found["trigger_mass"][copying] <= ACTIVE_MASS,
        ),
        (
            "value norm of <s> is <= 1/3 of the others' in every layer",
            found["drain"].max() <= DRAIN,
        ),
        (
            f"residual norm of <s> after block 0 is >= {PEAK} x the others'",
            found["peak"][1] >= PEAK,
        ),
        (f"the copied token has probability >= {COPIED}", found["copied"] >= COPIED),
        (
            f"elsewhere the loss is within {EXCESS} nats of the bigram table's",
            abs(found["excess"]) <= EXCESS,
        ),
    ]
    if difference is not None:  # f32 maps: both are the same number
        claims.append(("column 0 of the maps is attention_first", difference <= 1e-6))
    for text, holds in claims:
        print("ok    " if holds else "FAILED", text)
    return 0 if all(holds for _, holds in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
