#!/usr/bin/env python3
# Writes fresh sequences as a prompt file (JSON lines) for headwater capture.
#
# By default every sequence is cut at its last trigger, so that the next token is known: `target` is
# the token that is to be copied, `foil` what the bigram statistics would say.  --whole keeps all 64
# tokens, as check.py wants them. Needs numpy.  Run: make_prompts.py [--n 16] [--seed 7] [--whole] >
# prompts.jsonl
import argparse
import json

import numpy as np

from backcopy import LENGTH, Task


def prompt(task, ids, name, whole):
    entry = dict(name=name, domain="bigram-backcopy")
    if not whole:
        last = int(np.flatnonzero(task.is_trigger[ids])[-1])
        ids = ids[: last + 1]
        likely = [int(i) for i in np.argsort(-task.cond[ids[-1]]) if i != ids[-2]]
        entry |= dict(target=task.symbols[ids[-2] - 1], foil=task.symbols[likely[0] - 1])
    return entry | dict(text=task.text(ids))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    task = Task()
    sequences = task.sequences(np.random.default_rng(options.seed), options.n, LENGTH)
    for i, ids in enumerate(sequences):
        print(json.dumps(prompt(task, ids, f"bb-{i:03}", options.whole)))


if __name__ == "__main__":
    main()
