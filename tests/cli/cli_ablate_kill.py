#!/usr/bin/python3
"""An ablation that was killed, at every step and at any time, ends in the same file as one that was not.

Usage: cli_ablate_kill.py HEADWATER ROOT [N_KILLS [SEED]]. Prints TAP, and how many kills fell in each phase of a run.
"""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import capture_runs as cr

N_PROMPTS = 12
ONCE = ["folder-made", "manifest-written", "merge-started", "merge-written", "merge-renamed", "folder-removed"]
PASSAGES = [1, 2, 9, 23, 35]  # of "journalled": one each batch
PHASES = ["before the first commit", "between commits", "after the last commit", "around the last rename", "after"]
# What two runs of one command may differ in.
RUN_ATTRIBUTES = {"run_id", "date_created", "command_line", "tool_version"}


def content(path):
    """Everything in a result that the command decides."""
    with h5py.File(path, "r") as file:
        arrays = {}
        for name, data in file.items():
            value = data[()]
            value = np.asarray(value).tolist() if data.dtype.kind == "O" else np.asarray(value).tobytes()
            arrays[name] = (value, data.shape, str(data.dtype))
        attributes = {name: str(value) for name, value in file.attrs.items() if name not in RUN_ATTRIBUTES}
    return arrays, attributes


class AblateRuns:
    def __init__(self, program, root, folder, seed):
        self.program = program
        self.model = os.path.join(root, "examples", "backcopy", "model")
        self.folder = folder
        self.random = random.Random(seed)
        self.prompts = os.path.join(folder, "prompts.jsonl")
        cr.write_prompts(self.prompts, n=N_PROMPTS)
        with open(self.prompts, "a", encoding="ascii") as file:
            file.write(json.dumps({"text": "the cat sat on the mat and the dog sat on the log " * 8}) + "\n")
        self.out = 0

    def place(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        return os.path.join(folder, "a.h5")

    def command(self, out, *more):
        return [self.program, "ablate", "--quiet", "--threads", "1", "--batch", "2", "--model", self.model, "--prompts",
                self.prompts, "--edit", "zero", "--edit", "scale:by=.5", "--metric", "loss,kl", "--out", out, *more]

    def start(self, out, *more):
        return subprocess.Popen(self.command(out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=cr.ENVIRONMENT)

    def run(self, out, *more):
        return cr.Runs.run_command(self.command(out, *more))

    def records(self, out):
        """Committed cells in the log."""
        path = os.path.join(out + ".parts", "journal-0.jsonl")
        if not os.path.exists(path):
            return []
        with open(path, encoding="ascii") as file:
            return [line for line in file if '"cells"' in line and line.endswith("\n")]

    def phase(self, out):
        has_folder = os.path.isdir(out + ".parts")
        if os.path.exists(out):
            return PHASES[3] if has_folder else PHASES[4]
        n = len(self.records(out))
        return PHASES[0] if n == 0 else PHASES[1] if n < self.n_records else PHASES[2]

    def conclude(self, out, *more):
        code, text = self.run(out, *more)
        if code != self.code:
            return [f"{out}: the continued run ended with {code}: {text.strip()}"]
        problems = [] if content(out) == self.reference else [f"{out}: differs from an undisturbed run"]
        left = [name for name in os.listdir(os.path.dirname(out)) if name != os.path.basename(out)]
        return problems + [f"{name} was left" for name in left]

    def make_reference(self):
        out = self.place("reference")
        code, text = self.run(out)
        cr.check("an undisturbed run ends, one prompt without a loss marked", code in (0, 6))
        self.code = code
        self.reference = content(out)
        out = self.place("counted")
        self.run(out, "--fault", "merge-started:1")
        self.n_records = len(self.records(out))
        cr.check("every layer and arm of every prompt is a record", self.n_records > 3 * N_PROMPTS)
        seconds = []
        for i in range(3):
            start = time.monotonic()
            self.run(self.place(f"timed{i}"))
            seconds.append(time.monotonic() - start)
        self.seconds = sorted(seconds)[1]

    def test_points(self):
        phases, problems = collections.Counter(), []
        for point, passage in [(p, 1) for p in ONCE] + [("journalled", n) for n in PASSAGES]:
            out = self.place(f"{point}-{passage}")
            code, text = self.run(out, "--fault", f"{point}:{passage}")
            if code != -signal.SIGKILL:
                problems.append(f"{point}:{passage}: ended with {code} instead of being killed: {text.strip()}")
                continue
            phases[self.phase(out)] += 1
            problems += self.conclude(out)
        cr.check("killed at each step, a run ends in an equal file", problems)
        return phases

    def test_times(self, n_kills):
        phases, problems = collections.Counter(), []
        for i in range(n_kills):
            out = self.place(f"time-{i}")
            process = self.start(out)
            try:
                process.communicate(timeout=(i + self.random.random()) / n_kills * self.seconds * 1.1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            phases[self.phase(out)] += 1
            problems += self.conclude(out)
        cr.check(f"killed at {n_kills} random times, a run ends in an equal file", problems)
        return phases

    def test_torn(self):
        problems = []
        for cut in (1, 20, 60):
            out = self.place(f"torn-{cut}")
            self.run(out, "--fault", "journalled:9")
            path = os.path.join(out + ".parts", "journal-0.jsonl")
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) - cut)
            problems += self.conclude(out)
        cr.check("a last record that was cut short is dropped and made again", problems)
        out = self.place("flipped")
        self.run(out, "--fault", "journalled:9")
        path = os.path.join(out + ".parts", "journal-0.jsonl")
        with open(path, "r+b") as file:
            text = file.read()
            at = text.rindex(b'"bits": "') + 12
            file.seek(at)
            file.write(b"0" if text[at:at + 1] != b"0" else b"1")
        code, text = self.run(out)
        cr.check("a record that was changed is refused by its line", code == 3 and "is no line of a sweep" in text)

    def test_goes_on(self):
        out = self.place("goes-on")
        self.run(out, "--fault", "journalled:9")
        before = self.records(out)
        self.run(out, "--fault", "merge-started:1")
        after = self.records(out)
        cr.check("a continued run keeps what was committed and makes nothing twice",
                 after[:len(before)] == before and len(set(after)) == len(after) == self.n_records)
        cr.check("and ends in an equal file", self.conclude(out))
        code, text = self.run(out)
        cr.check("the same command after the end does nothing", code == self.code and not os.path.exists(out + ".parts"))

    def test_signals(self):
        for name in ("TERM", "INT", "USR1"):
            number = getattr(signal, "SIG" + name)
            out = self.place("signal-" + name)
            process = self.start(out, "--fault", "journalled:5:stop")
            cr.wait_stopped(process)
            code, text = cr.go_on(process, number)
            problems = [] if code == 128 + number else [f"exit code {code} instead of {128 + number}: {text}"]
            if "to continue: " not in text or "--fault" in text:
                problems.append(f"the command that continues is not told: {text}")
            if self.phase(out) != PHASES[1]:
                problems.append(f"stopped {self.phase(out)}")
            cr.check(f"SIG{name} stops a run, and it goes on", problems + self.conclude(out))

    def refused(self, out, words, *more):
        code, text = self.run(out, *more)
        problems = [] if code == 5 else [f"exit code {code} instead of 5: {text}"]
        return problems + [f"stderr lacks {word!r}: {text}" for word in words if word not in text]

    def test_refused(self):
        out = self.place("other")
        self.run(out, "--fault", "journalled:9")
        cr.check("another command is refused by what differs",
                 self.refused(out, ["belongs to another run", "edits"], "--edit", "scale:by=.25") +
                 self.refused(out, ["belongs to another run", "units"], "--heads", "0") +
                 self.refused(out, ["belongs to another run", "positions"], "--positions", "0-3"))
        code, text = cr.Runs.run_command([self.program, "capture", "--quiet", "--model", self.model, "--text", "the cat",
                                          "--out", out])
        cr.check("and so is a capture in its folder", code == 5 and "belongs to another run" in text)
        cr.check("threads and batch may differ", self.conclude(out, "--threads", "2", "--batch", "7"))
        cr.check("a finished result is kept from another command",
                 self.refused(out, ["exists", "--overwrite"], "--edit", "scale:by=.25"))
        before = content(out)
        self.run(out, "--edit", "scale:by=.25", "--overwrite", "--fault", "journalled:9")
        cr.check("and stays until the one that overwrites it is whole", content(out) == before)
        code, _ = self.run(out, "--edit", "scale:by=.25", "--overwrite")
        cr.check("which then takes its place", code == self.code and content(out) != before)
        out = self.place("two")
        process = self.start(out, "--fault", "journalled:3:stop")
        cr.wait_stopped(process)
        problems = self.refused(out, ["is being written by process", str(process.pid)])
        problems += self.refused(out, ["is being written by process", str(process.pid)], "--overwrite")
        code, text = cr.go_on(process)
        cr.check("a second writer is refused, and the first one ends",
                 problems + ([] if code == self.code else [f"ended with {code}: {text}"]) + self.conclude(out))
        out = self.place("text")
        with open(out, "w", encoding="ascii") as file:
            file.write("precious")
        problems = self.refused(out, ["no result"]) + self.refused(out, ["replaces only results"], "--overwrite")
        with open(out, encoding="ascii") as file:
            cr.check("a file that is no result is never replaced", problems + ([] if file.read() == "precious" else ["gone"]))
        out = self.place("full")
        code, text = self.run(out, "--fault", "merge-written:1:full")
        cr.check("a full disk at the end keeps everything and says so",
                 ([] if code == 5 and "kept in" in text and "to continue" in text else [f"{code}: {text}"]) + self.conclude(out))


def main():
    program, root = (os.path.abspath(arg) for arg in sys.argv[1:3])
    n_kills = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    with tempfile.TemporaryDirectory() as folder:
        test = AblateRuns(program, root, folder, int(sys.argv[4]) if len(sys.argv) > 4 else 1)
        test.make_reference()
        at_points = test.test_points()
        at_times = test.test_times(n_kills)
        for name in PHASES:
            print(f"# killed {name}: {at_points[name]} at steps, {at_times[name]} at times")
        cr.check("every phase but the one after the end was hit",
                 [f"no kill {name}" for name in PHASES[:4] if at_points[name] + at_times[name] == 0])
        cr.check("the times hit runs before and between commits", all(at_times[name] > 0 for name in PHASES[:2]))
        test.test_torn()
        test.test_goes_on()
        test.test_signals()
        test.test_refused()
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
