#!/usr/bin/python3
"""Output that cannot be written: full disks, limits, folders that are not there. What was committed stays, and goes on.

Usage: test_output.py HEADWATER TRACE_EQUAL SOURCE. Prints TAP. The full disk is simulated at every step, made by a limit on
the size of files, and real: a small tmpfs in a mount namespace of its own (skipped with the reason where that is not
permitted).
"""
import concurrent.futures
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile

import capture_runs as cr
from test_kill import AFTER_RENAME, EACH_PART, ONCE, PASSAGES

INSIDE = "--inside"
MIB = 1 << 20


class OutputTest:
    def __init__(self, program, trace_equal, source, folder):
        self.program = program
        self.source = source
        self.folder = folder
        prompts = os.path.join(folder, "prompts.jsonl")
        if not os.path.exists(prompts):
            cr.write_prompts(prompts)
            # Maps of one prompt that make a part too large to be built in memory.
            with open(os.path.join(folder, "long.txt"), "w", encoding="ascii") as file:
                file.write("short\n" + "to be or not to be, that is the question " * 70 + "\nlast\n")
        self.small = cr.Runs(program, trace_equal, os.path.join(source, "examples", "backcopy", "model"), prompts)
        self.large = cr.Runs(program, trace_equal, os.path.join(source, "tests", "golden", "models", "llama-gqa-f16.gguf"),
                             os.path.join(folder, "long.txt"), ["--record", "default", "--record", "attention_maps"])
        self.small_reference = os.path.join(folder, "small.h5")
        self.large_reference = os.path.join(folder, "large.h5")

    def make_references(self):
        for runs, path in ((self.small, self.small_reference), (self.large, self.large_reference)):
            code, text = runs.run(path)
            cr.check(f"an undisturbed run ends ({os.path.basename(path)})",
                     [] if code == 0 else [f"exit code {code}: {text}"])

    def place(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        return os.path.join(folder, "run.h5")

    @staticmethod
    def told(code, text):
        """What is wrong with how a failure to write is told."""
        lines = text.splitlines()
        problems = [] if code == 5 else [f"exit code {code} instead of 5: {text}"]
        problems += [f"stderr: {line}" for line in lines if not line.startswith("headwater: ")]
        problems += [] if len(lines) in (1, 2) else [f"{len(lines)} lines: {text}"]
        problems += [] if lines and "run.h5" in lines[-1] else [f"the file is not named: {text}"]
        if len(lines) == 2 and not lines[0].startswith("headwater: to continue: "):
            problems.append(f"the first of two lines is not the command that continues: {text}")
        return problems

    def conclude(self, runs, reference, out, **keywords):
        code, text = runs.run(out, **keywords)
        if code != 0:
            return [f"the continued run ended with {code}: {text}"]
        return runs.differs(reference, out) + cr.leftovers(out)

    def full_at(self, point, n):
        """The disk is full at one passage of a step; what is wrong with how that ends."""
        out = self.place(f"fault-{point}-{n}")
        code, text = self.small.run(out, "--fault", f"{point}:{n}:full")
        wrong = self.told(code, text)
        if point in EACH_PART:
            # The part itself was renamed before the last two steps.
            n_kept = n if point in ("part-renamed", "journalled") else n - 1
            if len(cr.parts(out)) != n_kept:
                wrong.append(f"{len(cr.parts(out))} parts are kept instead of {n_kept}")
            if "to continue: " not in text:
                wrong.append(f"the command that continues is not told: {text}")
        elif point.startswith("merge-") and len(cr.parts(out)) != PASSAGES[-1]:
            wrong.append("not every part is kept")
        wrong += self.conclude(self.small, self.small_reference, out)
        shutil.rmtree(os.path.dirname(out))
        return [f"{point}:{n}: {one}" for one in wrong]

    def full_over(self, point, n):
        """The same for a run that overwrites an older capture: that one stays until the new one is there."""
        out = self.place(f"over-{point}-{n}")
        shutil.copy(self.large_reference, out)
        code, text = self.small.run(out, "--overwrite", "--fault", f"{point}:{n}:full")
        wrong = self.told(code, text)
        if filecmp.cmp(self.large_reference, out, shallow=False) == (point in AFTER_RENAME):
            wrong.append("the older file " + ("is still there" if point in AFTER_RENAME else "has changed"))
        if cr.leftovers(out) not in ([], ["run.h5.parts was left"]):
            wrong.append(f"beside it: {cr.leftovers(out)}")
        code, text = self.small.run(out, "--overwrite")
        wrong += [f"the continued run ended with {code}: {text}"] if code != 0 else self.small.differs(self.small_reference, out)
        wrong += cr.leftovers(out)
        shutil.rmtree(os.path.dirname(out))
        return [f"{point}:{n}: {one}" for one in wrong]

    def test_faults(self, pool):
        points = [(point, 1) for point in ONCE] + [(point, n) for point in EACH_PART for n in PASSAGES]
        results = [pool.submit(self.full_at, *point) for point in points]
        problems = [one for result in results for one in result.result()]
        cr.check(f"a full disk at each of {len(points)} passages of a step is exit 5, and goes on", problems)
        points = [(point, 1) for point in ONCE] + [(point, PASSAGES[1]) for point in EACH_PART]
        results = [pool.submit(self.full_over, *point) for point in points]
        problems = [one for result in results for one in result.result()]
        cr.check(f"an older capture stays when the disk is full at any of {len(points)} steps before the last rename", problems)

    def limited(self, runs, reference, n_bytes, name):
        """One run under a limit on file sizes, continued without it; what is wrong, and whether it failed."""
        out = self.place(f"limit-{name}-{n_bytes}")
        code, text = runs.run_command(["prlimit", f"--fsize={n_bytes}", *runs.command(out)])
        wrong = [] if code == 0 else self.told(code, text)
        kept = cr.parts(out)
        wrong += self.conclude(runs, reference, out)
        shutil.rmtree(os.path.dirname(out))
        return [f"limit {n_bytes}: {one}" for one in wrong], code != 0, len(kept)

    def test_limits(self, pool):
        for name, runs, reference, n_limits in (("small", self.small, self.small_reference, 10),
                                                ("large", self.large, self.large_reference, 6)):
            size = os.path.getsize(reference)
            # From where the manifest does not fit to where all does.
            limits = [100, 2000] + [int(size * (i + 0.5) / n_limits) for i in range(n_limits)] + [size * 2]
            problems, failed, kept = [], 0, set()
            results = [pool.submit(self.limited, runs, reference, limit, name) for limit in limits]
            for result in results:
                wrong, is_failed, n_kept = result.result()
                problems += wrong
                failed += is_failed
                kept.add(n_kept)
            cr.check(f"{len(limits)} limits on file sizes ({failed} runs failed), {name} parts: exit 5, and goes on", problems)
            cr.check(f"some limits let nothing through, some parts, some everything ({name})",
                     [] if 0 in kept and len(kept) > 1 and 0 < failed < len(limits) else [f"parts kept: {sorted(kept)}"])

    def test_places(self):
        def failing(claim, out, words, *more, runs=self.small, **keywords):
            code, text = runs.run(out, *more, **keywords)
            problems = [] if code == 5 else [f"exit code {code} instead of 5: {text}"]
            problems += [] if len(text.splitlines()) == 1 else [f"not one line: {text}"]
            problems += [f"stderr lacks {word!r}: {text}" for word in words if word not in text]
            cr.check(claim, problems)

        missing = os.path.join(self.folder, "missing", "run.h5")
        failing("output in a folder that is not there", missing, [missing + ".parts", "No such file or directory"])
        folder = os.path.join(self.folder, "a-folder.h5")
        os.makedirs(folder)
        failing("output that is a folder", folder, [folder, "is no regular file"])
        failing("output that is a folder, with --overwrite", folder, [folder, "is no regular file"], "--overwrite")
        cr.check("the folder is still there", os.path.isdir(folder) and not os.path.exists(folder + ".parts"))
        file = os.path.join(self.folder, "a-file")
        with open(file, "w", encoding="ascii") as stream:
            stream.write("x")
        failing("output below a file", os.path.join(file, "run.h5"), ["Not a directory"])
        out = self.place("taken")
        with open(out + ".parts", "w", encoding="ascii") as stream:
            stream.write("x")
        failing("a file in the place of the run folder", out, [out + ".parts", "Not a directory"])
        long = self.place("long-name")[:-6] + "n" * 300
        failing("a name that is too long", long, ["File name too long"])
        failing("the device that is always full", "/dev/full", ["/dev/full"])
        self.test_read_only(failing)
        self.test_stdout()

    def test_read_only(self, failing):
        claim = "output in a folder that may not be written"
        out = self.place("read-only")
        os.chmod(os.path.dirname(out), 0o555)
        if os.geteuid() != 0:
            failing(claim, out, ["Permission denied"])
            return
        # The superuser may write everywhere: another user runs the program, where it can reach it.
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(self.folder, 0o755)
        try:
            code, text = self.small.run_command([self.program, "--version"], **nobody)
            reaches = code == 0
            open_files = subprocess.run(["test", "-r", self.small.model + "/config.json", "-a", "-x", self.folder], check=False, **nobody)
            reaches = reaches and open_files.returncode == 0
        except OSError:
            reaches = False
        if reaches:
            failing(claim, out, ["Permission denied"], **nobody)
        else:
            cr.skip(claim, "no other user reaches the program")

    def test_stdout(self):
        for more in (["--estimate"], ["--estimate", "--json"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run(self.small.command(os.path.join(self.folder, "none.h5"), *more), stdout=full,
                                      stderr=subprocess.PIPE, text=True, env=cr.ENVIRONMENT, check=False)
            cr.check(f"{' '.join(more)} to a full disk is exit 5",
                     [] if done.returncode == 5 and done.stderr.startswith("headwater: stdout: ")
                     and len(done.stderr.splitlines()) == 1 else [f"exit code {done.returncode}: {done.stderr}"])

    # From here: inside a mount namespace.

    def mount(self, n_bytes, *options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={n_bytes}", *options]), "none",
                               os.path.join(self.folder, "disk")], check=False).returncode == 0

    def on_disk(self, runs, reference, n_bytes):
        """One run on a disk of that size, continued when it has grown."""
        disk = os.path.join(self.folder, "disk")
        self.mount(n_bytes)
        out = os.path.join(disk, "run.h5")
        code, text = runs.run(out)
        wrong = [] if code == 0 else self.told(code, text)
        kept = cr.parts(out)
        if code != 0 and not kept and os.path.exists(out):
            wrong.append("an output is there that is not whole")
        subprocess.run(["mount", "-o", f"remount,size={256 * MIB}", disk], check=True)
        wrong += self.conclude(runs, reference, out)
        subprocess.run(["umount", disk], check=True)
        return {"size": n_bytes, "problems": wrong, "failed": code != 0, "kept": len(kept)}

    def inside(self):
        """Prints one JSON line a disk; read by test_disks."""
        # The parts and the merged file lie on the disk at once; many small parts take more than they need to.
        for name, runs, reference, n_disks, factor in (("small", self.small, self.small_reference, 12, 10),
                                                       ("large", self.large, self.large_reference, 6, 4)):
            most = factor * os.path.getsize(reference)
            for i in range(n_disks + 1):
                n_bytes = 4096 + int(most * i / n_disks) // 4096 * 4096
                print(json.dumps(dict(self.on_disk(runs, reference, n_bytes), name=name)), flush=True)
        self.mount(MIB, "ro")
        code, text = self.small.run(os.path.join(self.folder, "disk", "run.h5"))
        print(json.dumps({"name": "read-only", "code": code, "text": text}))

    def test_disks(self):
        claims = ["full disks, small parts: exit 5, and goes on with room", "full disks, large parts: exit 5, and goes on with room",
                  "output on a disk that is read-only"]
        os.makedirs(os.path.join(self.folder, "disk"), exist_ok=True)
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        disk = os.path.join(self.folder, "disk")
        try:
            tried = subprocess.run(unshare + ["mount", "-t", "tmpfs", "-o", "size=4096", "none", disk],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            reason = None if tried.returncode == 0 else (tried.stdout.strip().splitlines() or ["mount failed"])[-1]
        except OSError as error:
            reason = str(error)
        if reason is not None:
            for claim in claims:
                cr.skip(claim, "no tmpfs may be mounted: " + reason)
            return
        done = subprocess.run(unshare + [sys.executable, os.path.abspath(__file__), INSIDE, self.program,
                                         self.small.trace_equal, self.source, self.folder],
                              stdout=subprocess.PIPE, text=True, timeout=600, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        for name, claim in zip(("small", "large"), claims):
            mine = [row for row in rows if row["name"] == name]
            problems = [f"disk of {row['size']}: {one}" for row in mine for one in row["problems"]]
            kept = {row["kept"] for row in mine}
            n_failed = sum(row["failed"] for row in mine)
            if done.returncode != 0 or not (0 in kept and len(kept) > 1 and 0 < n_failed < len(mine)):
                problems.append(f"of {len(mine)} disks {n_failed} were full, with {sorted(kept)} parts kept")
            print(f"# {name}: {n_failed} of {len(mine)} disks were full, with {sorted(kept)} parts kept")
            cr.check(claim, problems)
        row = next((row for row in rows if row["name"] == "read-only"), {"code": None, "text": ""})
        cr.check(claims[2], [] if row["code"] == 5 and "Read-only file system" in row["text"] else [f"{row['code']}: {row['text']}"])


def main():
    if sys.argv[1] == INSIDE:
        OutputTest(*sys.argv[2:6]).inside()
        return 0
    program, trace_equal, source = (os.path.abspath(arg) for arg in sys.argv[1:4])
    with tempfile.TemporaryDirectory() as folder:
        test = OutputTest(program, trace_equal, source, folder)
        test.make_references()
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            disks = pool.submit(test.test_disks)
            test.test_faults(pool)
            test.test_limits(pool)
            places = pool.submit(test.test_places)
            places.result()
            disks.result()
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
