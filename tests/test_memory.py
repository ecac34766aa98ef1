#!/usr/bin/python3
"""What --estimate says of memory, against what a run takes at its peak.

Usage: test_memory.py HEADWATER SOURCE SMOLLM2. Prints TAP. The lengths on the real model are those at which the figure is
made of different things: the merge, a part in memory, a part on disk whose rows pass by layer by layer, maps.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import capture_runs as cr

# The plan counts buffers; it does not count which pages of the program's code are touched, what the allocator keeps
# between two blocks, and how full the queue is when the pass is at its largest. All are a few MB beside the 150 and more
# that the least run of the real model takes: 10 % of it is 15 MB.
TOLERANCE = 0.10
# Of a small model there is little but the program, 40 MB, of which resident code alone differs by several MB from one
# system to the next.
TOLERANCE_SMALL = 0.25


class Captures:
    def __init__(self, program, model, folder, n_vocab):
        self.program, self.model, self.folder, self.n_vocab = program, model, folder, n_vocab

    def command(self, lengths, options):
        tokens = os.path.join(self.folder, "tokens.txt")
        source = random.Random(1)
        with open(tokens, "w", encoding="ascii") as file:
            for n in lengths:
                file.write(" ".join(str(source.randrange(self.n_vocab)) for _ in range(n)) + "\n")
        return [self.program, "capture", "--quiet", "--threads", "2", "--model", self.model, "--tokens", tokens, "--add-bos",
                "no", *options]

    def estimate(self, lengths, options=()):
        command = self.command(lengths, options) + ["--estimate", "--json"]
        run = subprocess.run(command, env=cr.ENVIRONMENT, capture_output=True, text=True, timeout=cr.TIMEOUT_S, check=True)
        return json.loads(run.stdout)["peak_bytes"]

    def measure(self, lengths, options=()):
        """Exit code and peak of the resident memory of a run, bytes."""
        out = os.path.join(self.folder, "run.h5")
        command = self.command(lengths, options) + ["--out", out, "--overwrite"]
        # Not subprocess: the resources of this child alone are wanted.
        child = os.posix_spawn(command[0], command, cr.ENVIRONMENT)
        _, status, usage = os.wait4(child, 0)
        if os.path.exists(out):
            os.unlink(out)
        return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


def compare(captures, claim, lengths, options, tolerance):
    expected = captures.estimate(lengths, options)
    code, found = captures.measure(lengths, options)
    print(f"# {claim}: estimate {expected / 1e6:.1f} MB, measured {found / 1e6:.1f} MB")
    problems = [] if code == 0 else [f"exit code {code}"]
    if abs(expected - found) > tolerance * found:
        problems.append(f"estimate {expected / 1e6:.1f} MB, measured {found / 1e6:.1f} MB: more than {tolerance:.0%} apart")
    cr.check(f"the estimate is the peak: {claim}", problems)


def check_limit(captures):
    lengths = [300]
    planned = captures.estimate(lengths)
    # The plan counts what the process holds when it plans, which differs by some pages from one start to the next.
    code, found = captures.measure(lengths, ["--memory-limit", str(planned + (1 << 20))])
    cr.check("a run is let through by a limit that its plan fits, and keeps it",
             [] if code == 0 and found <= (1 + TOLERANCE) * planned
             else [f"exit code {code}, {found / 1e6:.1f} MB, planned {planned / 1e6:.1f} MB"])
    code, _ = captures.measure(lengths, ["--memory-limit", str(planned * 9 // 10)])
    cr.check("a run is refused by a limit below its plan", [] if code == 4 else [f"exit code {code} instead of 4"])


def main():
    program, source, smollm2 = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        small = Captures(program, os.path.join(source, "tests", "golden", "models", "llama-gqa-f16.gguf"), folder, 64)
        compare(small, "a small model", [400], [], TOLERANCE_SMALL)
        compare(small, "many prompts of a small model", [60] * 80, ["--commit-every", "16"], TOLERANCE_SMALL)
        if smollm2 == "":
            cr.skip("the estimate is the peak, on a real model", "configured without -Dsmollm2=")
            return cr.finish()
        real = Captures(program, smollm2, folder, 49152)
        maps = ["--record", "default", "--record", "attention_maps"]
        for claim, lengths, options in (("32 tokens", [32], []), ("1,024 tokens", [1024], []),
                                        ("4,500 tokens", [4500], []), ("prompts of 200 tokens", [200] * 12, []),
                                        ("maps of 512 tokens", [512], maps)):
            compare(real, claim, lengths, options, TOLERANCE)
        check_limit(real)
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
