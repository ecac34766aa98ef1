#!/usr/bin/env python3
# Times `headwater ablate` over all heads against a loop over heads on transformers with a hook.
#
# Zero at z, one head at a time; the loss at every position, or that of the last token only (of which
# the loop computes no other logits either).  The loop costs the same for every head, so of long
# prompts a sample of them is timed and multiplied; the table says of how many.  Ours is always the whole
# sweep, from tokens ready to the file written.  Runs alternate; the peer stays alive.  The losses of the
# sampled heads are compared as well.  Needs torch, transformers, gguf, accelerate, h5py.
# Run: sweep.py --headwater build/tools/headwater --model FILE.gguf [--cases 256,1024,256:last,16x8]
import argparse
import json
import os
import pathlib
import statistics
import tempfile

import h5py
from peers import TEXTS, Peer, abba, cpu_flags, time_command


class Case:
    """LENGTH[xPROMPTS][:last]"""

    def __init__(self, text, ids):
        size, _, where = text.partition(":")
        length, _, n = size.partition("x")
        self.name, self.last = text, where == "last"
        self.length, self.n = int(length), int(n or 1)
        tiled = ids * (self.length * self.n // len(ids) + 1)
        self.prompts = [tiled[i * self.length : (i + 1) * self.length] for i in range(self.n)]


class Sweep:
    def __init__(self, options, folder, case):
        self.out = folder / "sweep.h5"
        tokens = folder / "tokens.txt"
        tokens.write_text("".join(" ".join(map(str, ids)) + "\n" for ids in case.prompts))
        self.command = [str(options.headwater), "ablate", "--model", str(options.model)]
        self.command += ["--tokens", str(tokens), "--threads", str(options.threads)]
        self.command += ["--heads", "all", "--edit", "zero", "--metric", "loss"]
        self.command += ["--positions", "last"] if case.last else []
        self.command += ["--progress", "json", "--model-hash", "none", "--overwrite"]
        self.command += ["--out", str(self.out), *options.extra]

    def run(self):
        return time_command(self.command, {"event": "end", "what": "ablate"}, "seconds")

    def losses(self, heads):
        """[prompt, head] flat, as the peer gives them."""
        with h5py.File(self.out) as file:
            found = file["loss"][0]
        return [float(prompt[layer, head]) for prompt in found for layer, head in heads]


class Loop:
    """The peer's time for the heads of the sample, multiplied up to all."""

    def __init__(self, peer, case, heads, n_all):
        self.peer, self.factor = peer, n_all / len(heads)
        self.request = {"prompts": case.prompts, "heads": heads, "last": case.last}
        self.found = []

    def run(self):
        answer = self.peer.ask(self.request)
        self.found = answer["losses"]
        answer["seconds"] *= self.factor
        return argparse.Namespace(**answer)


def report(case, n_sampled, n_all, pairs, difference):
    median = statistics.median
    ratios = sorted(a.seconds / b.seconds for a, b in pairs)
    entry = {
        "case": case.name,
        "heads_timed_of_the_loop": n_sampled,
        "heads": n_all,
        "pairs": len(pairs),
        "ratio": median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "headwater_seconds": median(a.seconds for a, _ in pairs),
        "loop_seconds": median(b.seconds for _, b in pairs),
        "headwater_busy": median(a.busy for a, _ in pairs),
        "loop_busy": median(b.busy for _, b in pairs),
        "headwater_peak_bytes": max(a.peak_bytes for a, _ in pairs),
        "loop_peak_bytes": max(b.peak_bytes for _, b in pairs),
        "largest_difference_of_losses": difference,
    }
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in entry.items()}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--headwater", type=pathlib.Path, default="headwater")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--cases", default="256,256:last,16x8,1024,1024:last", help="LENGTH[xPROMPTS][:last],...")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--sample", type=int, default=1, help="time every N-th head of the loop")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("extra", nargs="*", help="after --: more options of headwater ablate")
    options = parser.parse_args()
    text = "\n\n".join(p.read_text(encoding="utf-8").rstrip("\n") for p in TEXTS)
    print("cpu:", cpu_flags(), "threads:", options.threads, "load:", os.getloadavg()[0])
    every = [[i // options.heads, i % options.heads] for i in range(options.layers * options.heads)]
    heads = every[:: options.sample]
    peer = Peer(options, "hooks")
    ids = peer.ask({"text": text})["ids"]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases.split(","):
            case = Case(name, ids)
            ours, loop = Sweep(options, pathlib.Path(folder), case), Loop(peer, case, heads, len(every))
            Loop(peer, case, heads[:1], len(every)).run()  # warm; ours starts a process each time anyway
            pairs = abba(ours.run, loop.run, options.pairs, is_warm=True)
            difference = max(abs(a - b) for a, b in zip(ours.losses(heads), loop.found))
            report(case, len(heads), len(every), pairs, difference)
    peer.close()


if __name__ == "__main__":
    main()
