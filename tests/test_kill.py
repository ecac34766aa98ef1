#!/usr/bin/python3
"""A capture that was killed, at every step and at any time, ends in the same file as one that was not.

Usage: test_kill.py HEADWATER TRACE_EQUAL EXAMPLES [N_KILLS [SEED]]. Prints TAP, and how many kills fell in each phase of a run.
"""
import collections
import concurrent.futures
import filecmp
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import capture_runs as cr

N_PARTS = cr.N_PROMPTS // cr.COMMIT_EVERY
# Each once a run, or once a part.
ONCE = ["folder-made", "manifest-written", "common-written", "merge-started", "merge-written", "merge-renamed",
        "folder-removed"]
EACH_PART = ["part-built", "part-written", "part-synced", "part-renamed", "journalled"]
AFTER_RENAME = ["merge-renamed", "folder-removed"]
PASSAGES = [1, N_PARTS // 2, N_PARTS]


class KillTest:
    def __init__(self, program, trace_equal, examples, folder, seed):
        self.folder = folder
        self.random = random.Random(seed)
        self.examples = examples
        prompts = os.path.join(folder, "prompts.jsonl")
        cr.write_prompts(prompts)
        # Means are the sums of all parts.
        self.runs = cr.Runs(program, trace_equal, os.path.join(examples, "backcopy", "model"), prompts,
                            ["--record", "default,means", "--means-by", "kind"])
        self.reference = self.place("reference")
        self.older = self.place("older")
        self.making_older = threading.Lock()

    def place(self, name):
        """The output of a run in a folder of its own."""
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        return os.path.join(folder, "run.h5")

    def timed_run(self, number):
        started = time.monotonic()
        self.runs.run(self.place(f"timed-{number}"))
        return time.monotonic() - started

    def make_reference(self, pool):
        code, text = self.runs.run(self.reference)
        cr.check("an undisturbed run ends", [] if code == 0 else [f"exit code {code}: {text}"])
        self.seconds = statistics.median(list(pool.map(self.timed_run, range(4))))

    def put_older(self, out):
        """Puts a finished capture of other prompts there."""
        with self.making_older:
            if not os.path.exists(self.older):
                prompts = os.path.join(self.folder, "older.jsonl")
                cr.write_prompts(prompts, n=3, seed=3)
                made = cr.Runs(self.runs.program, self.runs.trace_equal, self.runs.model, prompts).run(self.older)
                assert made[0] == 0, made
        shutil.copy(self.older, out)

    def is_older(self, out):
        return os.path.exists(out) and filecmp.cmp(self.older, out, shallow=False)

    @staticmethod
    def inodes(out):
        return {name: os.stat(os.path.join(out + ".parts", name)).st_ino for _, _, name in cr.parts(out)}

    def conclude(self, out, *more):
        """Runs until done; the result must be whole, equal, and alone."""
        code, text = self.runs.run(out, *more)
        if code != 0:
            return [f"{out}: the continued run ended with {code}: {text.strip()}"]
        problems = self.runs.differs(self.reference, out) + cr.leftovers(out)
        shutil.rmtree(os.path.dirname(out))
        return problems

    def kill_at(self, out, seconds, *more):
        """Starts or continues a run and kills it after that long; returns the phase it was in."""
        process = self.runs.start(out, *more)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return cr.phase(out)

    def trial_at_point(self, point, passage):
        out = self.place(f"{point}-{passage}")
        code, text = self.runs.run(out, "--fault", f"{point}:{passage}")
        if code != -signal.SIGKILL:
            return [], [f"{point}:{passage}: ended with {code} instead of being killed: {text.strip()}"]
        return [cr.phase(out)], self.conclude(out)

    def trial_at_time(self, number, seconds, again):
        out = self.place(f"random-{number}")
        phases = [self.kill_at(out, seconds)]
        if again is not None:
            phases.append(self.kill_at(out, again))
        return phases, self.conclude(out)

    def test_kills(self, pool, n_kills):
        points = [(point, 1) for point in ONCE] + [(point, n) for point in EACH_PART for n in PASSAGES]
        at_points, at_times = collections.Counter(), collections.Counter()
        problems_points, problems_times = [], []
        trials = [(at_points, problems_points, pool.submit(self.trial_at_point, *point)) for point in points]
        for i in range(n_kills):
            # Spread evenly over the run and a little beyond; some are killed twice.
            seconds = (i + self.random.random()) / n_kills * self.seconds * 1.1
            again = self.random.random() * self.seconds if self.random.random() < 0.25 else None
            trials.append((at_times, problems_times, pool.submit(self.trial_at_time, i, seconds, again)))
        for counter, problems, trial in trials:
            phases, wrong = trial.result()
            counter.update(phases)
            problems += wrong
        cr.check(f"killed at each of {len(points)} passages of a step, a run ends in an equal file", problems_points)
        cr.check(f"killed at {sum(at_times.values())} random times, a run ends in an equal file", problems_times)
        total = at_points + at_times
        for name in cr.PHASES:
            print(f"# killed {name}: {at_points[name]} at steps, {at_times[name]} at times")
        cr.check("every phase of a run was hit", [f"no kill {name}" for name in cr.PHASES if total[name] == 0])
        cr.check("the times hit runs before, between and after commits",
                 [f"no kill {name}" for name in cr.PHASES[:3] if at_times[name] == 0])
        cr.check("at least 100 runs were killed", sum(at_times.values()) >= min(100, n_kills))

    def judge_overwriting(self, out, name):
        """A killed run that overwrites: what is there is whole, the older file or the new one; and it goes on."""
        was_older = self.is_older(out)
        problems = [] if was_older else self.runs.differs(self.reference, out)
        kept = self.inodes(out)
        if was_older:
            # Without the word nothing is put over it.
            problems += self.refused(out, ["run.h5: exists", "--overwrite"])
            problems += [] if self.is_older(out) and self.inodes(out) == kept else ["a refused run changed something"]
        return was_older, [f"{name}: {one}" for one in problems + self.conclude(out, "--overwrite")]

    def overwriting_at_point(self, point, passage):
        out = self.place(f"over-{point}-{passage}")
        self.put_older(out)
        code, text = self.runs.run(out, "--overwrite", "--fault", f"{point}:{passage}")
        if code != -signal.SIGKILL:
            return [f"{point}:{passage}: ended with {code} instead of being killed: {text.strip()}"]
        was_older, problems = self.judge_overwriting(out, f"{point}:{passage}")
        if was_older == (point in AFTER_RENAME):
            problems.append(f"{point}:{passage}: the {'older' if was_older else 'new'} file is there")
        return problems

    def overwriting_at_time(self, number, seconds):
        out = self.place(f"over-random-{number}")
        self.put_older(out)
        self.kill_at(out, seconds, "--overwrite")
        return self.judge_overwriting(out, f"killed after {seconds:.3f} s")

    def test_overwriting(self, pool, n_kills):
        points = [(point, 1) for point in ONCE] + [(point, N_PARTS // 2) for point in EACH_PART]
        trials = [pool.submit(self.overwriting_at_point, *point) for point in points]
        times = [pool.submit(self.overwriting_at_time, i, (i + self.random.random()) / n_kills * self.seconds * 1.1)
                 for i in range(n_kills)]
        cr.check(f"killed at each of {len(points)} steps, an overwriting run leaves the older file until the last rename",
                 [one for trial in trials for one in trial.result()])
        results = [trial.result() for trial in times]
        cr.check(f"killed at {n_kills} random times, it leaves the older file or the new one, whole",
                 [one for _, problems in results for one in problems])
        n_older = sum(was_older for was_older, _ in results)
        print(f"# overwriting, killed at times: {n_older} left the older file, {n_kills - n_older} the new one")
        cr.check("and the times hit runs before the last rename", n_older > 0)

    def test_signals(self):
        for name in ("TERM", "INT", "USR1"):
            number = getattr(signal, "SIG" + name)
            out = self.place("signal-" + name)
            # Stopped while the third part is built: that part is committed, the fourth is not begun.
            process = self.runs.start(out, "--fault", "part-built:3:stop")
            cr.wait_stopped(process)
            code, text = cr.go_on(process, number)
            problems = []
            if code != 128 + number:
                problems.append(f"exit code {code} instead of {128 + number}: {text}")
            if len(cr.parts(out)) != 3:
                problems.append(f"{len(cr.parts(out))} parts are committed instead of 3")
            if "to continue: " not in text or "--fault" in text:
                problems.append(f"the command that continues is not told: {text}")
            cr.check(f"SIG{name} stops a run after committing, and it goes on", problems + self.conclude(out))

    def test_goes_on(self):
        out = self.place("goes-on")
        self.runs.run(out, "--fault", "journalled:3")
        before = {name: os.stat(os.path.join(out + ".parts", name)) for _, _, name in cr.parts(out)}
        self.runs.run(out, "--fault", "merge-started:1")
        after = {name: os.stat(os.path.join(out + ".parts", name)) for _, _, name in cr.parts(out)}
        same = all(name in after and after[name].st_ino == stat.st_ino and after[name].st_mtime_ns == stat.st_mtime_ns
                   for name, stat in before.items())
        cr.check("a continued run keeps the parts that are committed",
                 [] if len(before) == 3 and len(after) == N_PARTS and same else [f"{sorted(before)} became {sorted(after)}"])
        with open(os.path.join(out + ".parts", "journal-0.jsonl"), encoding="ascii") as file:
            lines = [json.loads(line) for line in file]
        cr.check("and journals each part once", sum("sha256" in line for line in lines) == N_PARTS)
        cr.check("and ends in an equal file", self.conclude(out))

    def refused(self, out, words, *more, runs=None):
        """A command that must end with exit code 5 and one line with these words."""
        code, text = (runs or self.runs).run(out, *more)
        problems = [] if code == 5 else [f"exit code {code} instead of 5: {text}"]
        problems += [f"stderr lacks {word!r}: {text}" for word in words if word not in text]
        return problems + ([] if len(text.splitlines()) == 1 else [f"not one line: {text}"])

    def test_two_writers(self):
        for point in ("journalled:2", "merge-started:1", "merge-renamed:1"):
            out = self.place("two-" + point.replace(":", "-"))
            process = self.runs.start(out, "--fault", point + ":stop")
            cr.wait_stopped(process)
            held = sorted(os.listdir(out + ".parts"))
            words = ["is being written by process", str(process.pid)]
            problems = self.refused(out, words) + self.refused(out, words, "--overwrite")
            if sorted(os.listdir(out + ".parts")) != held:
                problems.append(f"{held} became {sorted(os.listdir(out + '.parts'))}")
            code, text = cr.go_on(process)
            problems += [] if code == 0 else [f"the first writer ended with {code}: {text}"]
            cr.check(f"a second writer is refused at {point}, and the first one ends", problems + self.conclude(out))
        # A killed writer holds nothing.
        out = self.place("two-killed")
        process = self.runs.start(out, "--fault", "journalled:2:stop")
        cr.wait_stopped(process)
        process.kill()
        process.communicate()
        cr.check("a killed writer holds no lock", self.conclude(out))

    def test_existing(self):
        out = self.place("existing")
        with open(out, "w", encoding="ascii") as file:
            file.write("precious")
        problems = self.refused(out, ["run.h5: exists", "--overwrite"])
        with open(out, encoding="ascii") as file:
            problems += [] if file.read() == "precious" else ["it was changed"]
        problems += [] if not os.path.exists(out + ".parts") else ["a folder was left"]
        cr.check("an existing file is kept without --overwrite", problems)
        problems = self.refused(out, ["run.h5", "--overwrite"], "--overwrite")
        cr.check("and with it too, where it is no capture", problems)
        os.unlink(out)
        with open(out, "wb") as file:
            file.write(b"\x89HDF\r\n\x1a\nno more")
        cr.check("half a capture is kept without --overwrite", self.refused(out, ["run.h5: exists", "--overwrite"]))
        code, text = self.runs.run(out, "--overwrite")
        cr.check("and replaced with it",
                 ([] if code == 0 else [f"exit code {code}: {text}"]) + self.runs.differs(self.reference, out))
        inode = os.stat(out).st_ino
        code, text = self.runs.run(out)
        cr.check("the same command after the end does nothing", code == 0 and os.stat(out).st_ino == inode)

    def test_continuation(self):
        out = self.place("told")
        self.put_older(out)
        code, text = self.runs.run(out, "--overwrite", "--fault", "journalled:2:full")
        kept = self.inodes(out)
        told = [line for line in text.splitlines() if "to continue: " in line]
        problems = [] if code == 5 and len(told) == 1 else [f"exit code {code}: {text}"]
        problems += [] if len(kept) == 2 and self.is_older(out) else [f"parts {sorted(kept)}, or the older file has changed"]
        if told:
            # Stopped before the merge, to see the parts.
            command = told[0].split("to continue: ")[1].split(" ") + ["--fault", "merge-started:1"]
            code, text = self.runs.run_command(command)
            problems += [] if code == -signal.SIGKILL else [f"{command} ended with {code}: {text}"]
            after = self.inodes(out)
            problems += [] if all(after.get(name) == inode for name, inode in kept.items()) else [f"{kept} became {after}"]
            code, text = self.runs.run_command(command[:-2])
            problems += [] if code == 0 else [f"{command} ended with {code}: {text}"]
        cr.check("the command that continues an overwriting run keeps its parts and ends in the new file",
                 problems + self.runs.differs(self.reference, out) + cr.leftovers(out))

    def test_other_runs(self):
        out = self.place("other")
        self.runs.run(out, "--fault", "journalled:2")
        held = sorted(os.listdir(out + ".parts"))
        other_prompts = os.path.join(self.folder, "other.jsonl")
        cr.write_prompts(other_prompts, seed=2)
        other_model = os.path.join(self.folder, "other-model")
        shutil.copytree(self.runs.model, other_model)
        weights = os.path.join(other_model, "model.safetensors")
        with open(weights, "r+b") as file:
            file.seek(-2, os.SEEK_END)
            last = file.read(2)
            file.seek(-2, os.SEEK_END)
            file.write(bytes([last[0] ^ 1, last[1]]))
        runs = self.runs

        def other(prompts=runs.prompts, model=runs.model):
            return cr.Runs(runs.program, runs.trace_equal, model, prompts)

        cases = [("--record", ["recorded"], ["--record", "z"], runs),
                 ("--top", ["top", "8", "4"], ["--top", "4"], runs),
                 ("--label", ["labels"], ["--label", "a=b"], runs),
                 ("--detail", ["detail"], ["--detail", "prompt"], runs),
                 ("--shard", ["shards"], ["--shard", "1/3"], runs),
                 ("prompts", ["prompts_sha256"], [], other(prompts=other_prompts)),
                 ("model", ["model_sha256"], [], other(model=other_model))]
        for name, words, more, these in cases:
            problems = self.refused(out, ["belongs to another run"] + words, *more, runs=these)
            cr.check(f"another {name} does not continue the run, and is named", problems)
        left = [name for name in os.listdir(out + ".parts") if name != "journal-1.jsonl"]
        cr.check("the run is as it was", sorted(left) == held)
        code, text = runs.run(out, "--threads", "2", "--commit-every", "7", "--memory-limit", "4G", "--progress", "json",
                              "--fault", "merge-started:1")
        cr.check("threads, commit rate, memory limit and progress may differ",
                 ([] if code == -signal.SIGKILL else [f"exit code {code}: {text}"]) + self.conclude(out))
        done = self.place("other-done")
        shutil.copy(self.reference, done)
        cr.check("nor is a finished file of another run replaced",
                 self.refused(done, ["exists", "prompts_sha256"], runs=other(prompts=other_prompts)))

    def test_shards(self):
        out = self.place("shards")
        program = self.runs.program
        order = [2, 0, 1]
        folder = out + ".parts"
        self.runs.run(out, "--shard", "2/3", "--fault", "journalled:1")
        processes = [self.runs.start(out, "--shard", f"{i}/3") for i in order[:2]]
        problems = []
        for process in processes:
            _, text = process.communicate(timeout=cr.TIMEOUT_S)
            problems += [] if process.returncode == 0 else [f"a shard ended with {process.returncode}: {text}"]
        code, text = self.runs.run_command([program, "merge", folder, "--out", out])
        if code != 3 or "missing" not in text:
            problems.append(f"a merge without the third shard ended with {code}: {text}")
        code, text = self.runs.run(out, "--shard", "1/3")
        problems += [] if code == 0 else [f"the last shard ended with {code}: {text}"]
        code, text = self.runs.run_command([program, "merge", folder, "--out", out])
        problems += [] if code == 0 else [f"the merge ended with {code}: {text}"]
        cr.check("three shards, one of them killed, merge to an equal file",
                 problems + (self.runs.differs(self.reference, out) if code == 0 else []) + cr.leftovers(out))
        code, text = self.runs.run(out, "--shard", "0/3", "--overwrite")
        cr.check("a shard does not overwrite what others made", code == 2 and "--overwrite" in text)

    def test_damage(self):
        """What a crash of the machine, or somebody's hand, may do to the folder."""
        def started(name):
            out = self.place(name)
            self.runs.run(out, "--fault", "journalled:3")
            return out, lambda file: os.path.join(out + ".parts", file)

        out, at = started("journal-cut")
        with open(at("journal-0.jsonl"), "r+b") as file:
            file.truncate(os.path.getsize(at("journal-0.jsonl")) - 20)
        cr.check("a journal line cut short is found again", self.conclude(out))
        out, at = started("journal-gone")
        os.unlink(at("journal-0.jsonl"))
        cr.check("a journal that is gone is made again", self.conclude(out))
        out, at = started("common-gone")
        os.unlink(at("common.h5"))
        cr.check("a vocabulary that is gone is made again", self.conclude(out))
        out, at = started("part-gone")
        os.unlink(at(cr.parts(out)[1][2]))
        cr.check("a part that is gone is made again", self.conclude(out))
        out, at = started("stale")
        for name in ("part-00000012.1.tmp", "part-00000000.999999.tmp", "common.999999.tmp"):
            with open(at(name), "wb") as file:
                file.write(b"x")
        host = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())[:64]
        for place in (host, "another-host"):
            with open(f"{out}.2147483647.{place}.tmp", "wb") as file:
                file.write(b"x")
        code, text = self.runs.run(out)
        problems = [] if code == 0 else [f"exit code {code}: {text}"]
        try:
            os.unlink(out + ".2147483647.another-host.tmp")
        except FileNotFoundError:
            problems.append("a file of another host, whose process may live, went too")
        problems += self.runs.differs(self.reference, out) + cr.leftovers(out)
        cr.check("files of dead processes of this host go", problems)
        for name, change in (("cut", lambda b: b[:-1]), ("changed", lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:])):
            for journal in ("journalled", "not journalled"):
                out, at = started(f"part-{name}-{journal[:3]}")
                part = at(cr.parts(out)[0][2])
                with open(part, "rb") as file:
                    content = file.read()
                with open(part, "wb") as file:
                    file.write(change(content))
                if journal != "journalled":
                    if name == "changed":
                        continue  # a flipped bit of data shows only against its hash
                    os.unlink(at("journal-0.jsonl"))
                code, text = self.runs.run(out)
                cr.check(f"a {journal} part that is {name} is refused by name",
                         [] if code == 3 and part in text else [f"exit code {code}: {text}"])
        out, at = started("manifest-cut")
        with open(at("manifest.json"), "r+b") as file:
            file.truncate(50)
        code, text = self.runs.run(out)
        cr.check("a manifest that is cut is refused by name",
                 [] if code == 3 and "manifest" in text else [f"exit code {code}: {text}"])


def main():
    program, trace_equal, examples = (os.path.abspath(arg) for arg in sys.argv[1:4])
    n_kills = int(sys.argv[4]) if len(sys.argv) > 4 else 100
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(program, trace_equal, examples, folder, seed)
        # Two runs beside each other, as on the smallest machine; the calibrating ones too.
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            test.make_reference(pool)
            test.test_kills(pool, n_kills)
            test.test_overwriting(pool, n_kills // 4)
            others = [pool.submit(part) for part in (
                test.test_signals, test.test_goes_on, test.test_two_writers, test.test_existing, test.test_continuation, test.test_other_runs,
                test.test_shards, test.test_damage)]
            for other in others:
                other.result()
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
