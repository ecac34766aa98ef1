#!/usr/bin/env python3
"""What `sinks` costs beside the capture it reads: whole processes, one after the other, ratio of each pair.

    sinks.py HEADWATER MODEL TOKENS.txt [--rounds N] [--threads N]

TOKENS.txt holds token ids, one prompt a line (2,048 of them for the figure in the README). Every round captures the default
records anew and runs `sinks` on that file; printed are both times, the ratio of every round and the median ratio.
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time


def timed(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("tokens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run.h5")
        for _ in range(options.rounds):
            threads = ["--threads", str(options.threads), "--quiet"]
            capture = timed([options.program, "capture", "--model", options.model, "--tokens", options.tokens,
                             "--out", run, "--overwrite", *threads])
            sinks = timed([options.program, "sinks", run, *threads])
            ratios.append(sinks / capture)
            print(f"capture {capture:.2f} s, sinks {sinks:.3f} s: {100 * ratios[-1]:.2f} %")
    print(f"median {100 * statistics.median(ratios):.2f} %")


main()
