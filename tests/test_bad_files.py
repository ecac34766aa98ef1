#!/usr/bin/python3
"""Models, prompts and captures that are wrong: one line that names the file, the right exit code, no crash, nothing left.

Usage: test_bad_files.py HEADWATER SOURCE [N_MUTATIONS [SEED]]. Prints TAP. The first part is a list of ways to be wrong, each with
what the message must have; the second spoils good files at random (more of them: N_MUTATIONS, by default 12 a file).
"""
import concurrent.futures
import os
import random
import shutil
import subprocess
import sys
import tempfile

import bad_captures
import bad_models
import bad_prompts
import capture_runs as cr

TIMEOUT_S = 60


class BadFiles:
    def __init__(self, program, source, folder, seed):
        self.program = program
        self.models = os.path.join(source, "tests", "golden", "models")
        self.model = os.path.join(source, "examples", "backcopy", "model")
        self.folder = folder
        self.random = random.Random(seed)

    def run(self, command, folder, stdin=None):
        try:
            done = subprocess.run([self.program, *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  stdin=stdin or subprocess.DEVNULL, env=cr.ENVIRONMENT, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return "time", f"no end after {TIMEOUT_S} s"
        return done.returncode, done.stderr.decode("utf-8", "backslashreplace")

    @staticmethod
    def told(code, text, codes, words):
        """What is wrong with how a failure is told."""
        problems = [] if code in codes else [f"exit code {code} instead of {' or '.join(map(str, codes))}: {text[-1500:]}"]
        lines = text.splitlines()
        if code in (2, 3, 4, 5) and (len(lines) != 1 or not lines[0].startswith("headwater: ")):
            problems.append(f"not one line `headwater: ...`: {text[-1500:]!r}")
        if any(ord(c) < 32 and c != "\n" for c in text):
            problems.append(f"control characters: {text!r}")
        return problems + [f"stderr lacks {word!r}: {text}" for word in words if word not in text]

    def place(self):
        return tempfile.mkdtemp(dir=self.folder)

    def bad_model(self, name, make, words):
        folder = self.place()
        path = make(self.models, folder)
        code, text = self.run(["capture", "--quiet", "--threads", "1", "--model", path, "--text", "to be", "--out", "run.h5"], folder)
        problems = self.told(code, text, [3], [path] + words)
        problems += [f"{left} was left" for left in ("run.h5", "run.h5.parts") if os.path.exists(os.path.join(folder, left))]
        if not name.startswith("tokenizer"):
            code, text = self.run(["info", path], folder)
            problems += [f"info: {one}" for one in self.told(code, text, [0, 3], [] if code == 0 else [path])]
        problems += [f"the file is named twice: {text}"] if text.count(path + ": ") > 1 else []
        shutil.rmtree(folder)
        return f"a model that is wrong: {name}", problems

    def bad_prompt(self, name, file, content, code, words):
        folder = self.place()
        with open(os.path.join(folder, file), "wb") as stream:
            stream.write(content)
        option = "--tokens" if file.endswith(".ids") else "--prompts"
        found, text = self.run(["capture", "--threads", "1", "--progress", "none", "--model", self.model, option, file,
                                "--out", "run.h5"], folder)
        problems = self.told(found, text, [code], words)
        if code == 3 and not text.startswith(f"headwater: {file}"):
            problems.append(f"the file is not named first: {text}")
        if os.path.exists(os.path.join(folder, "run.h5")) != (code in (0, 6)):
            problems.append("run.h5 is there" if code == 3 else "run.h5 is not there")
        if code == 6:
            problems += bad_captures.marked(os.path.join(folder, "run.h5"))
        shutil.rmtree(folder)
        return f"prompts that are wrong: {name}", problems

    def good_capture(self):
        folder = self.place()
        prompts = os.path.join(folder, "prompts.jsonl")
        cr.write_prompts(prompts, 6)
        code, text = self.run(["capture", "--quiet", "--threads", "1", "--model", self.model, "--prompts", prompts, "--record",
                               "default,attention_maps,z", "--out", "run.h5"], folder)
        cr.check("a good capture", [] if code == 0 else [text])
        return os.path.join(folder, "run.h5")

    def bad_capture(self, name, good, change, words):
        folder = self.place()
        path = os.path.join(folder, "spoiled.h5")
        shutil.copy(good, path)
        change(path)
        problems = []
        for command in (["info", path], ["sinks", path], ["heads", "--quiet", "--js", path], ["induction", "--period", "1", path],
                        ["verify", path], ["merge", "--out", "all.h5", path]):
            code, text = self.run(command, folder)
            problems += [f"{command[0]}: {one}" for one in self.told(code, text, [3], [path] + words)]
        if os.path.exists(os.path.join(folder, "all.h5")):
            problems.append("a merged file was left")
        shutil.rmtree(folder)
        return f"a capture that is wrong: {name}", problems

    def mutate(self, data):
        """A few changed bytes, a cut, or a piece doubled."""
        data = bytearray(data)
        kind = self.random.random()
        if kind < 0.2:
            return data[:self.random.randrange(len(data) + 1)]
        if kind < 0.3:
            at = self.random.randrange(len(data))
            return data[:at] + data[at:at + self.random.randrange(1, 200)] + data[at:]
        # Headers are where lies matter.
        span = len(data) if self.random.random() < 0.5 else min(len(data), 4096)
        for _ in range(self.random.choice((1, 1, 2, 8))):
            data[self.random.randrange(span)] = self.random.choice((0, 1, 0x7F, 0x80, 0xFF, self.random.randrange(256)))
        return data

    def mutated(self, data, file, commands, codes):
        """One spoiled file under some commands: only how it ends counts."""
        folder = self.place()
        base, name = file
        if base is not None:
            shutil.copytree(base, os.path.join(folder, "model"))
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(data)
        problems = []
        for command in commands:
            code, text = self.run(command, folder)
            if code not in codes:
                kept = os.path.join(tempfile.gettempdir(), f"spoiled-{os.path.basename(name)}")
                with open(kept, "wb") as stream:
                    stream.write(data)
                problems.append(f"{' '.join(command)}: exit code {code} (the file is kept as {kept}): {text[-1500:]}")
            elif code in (3, 5):
                problems += self.told(code, text, codes, [])
        shutil.rmtree(folder)
        return problems

    def mutations(self, pool, good, n):
        capture = ["capture", "--quiet", "--threads", "1", "--text", "to be", "--out", "run.h5", "--memory-limit", "4G", "--model"]
        gguf = os.path.join(self.models, "llama-gqa-q8_0.gguf")
        folder = os.path.join(self.models, "llama-gqa")
        prompts = os.path.join(os.path.dirname(good), "prompts.jsonl")
        kinds = [("GGUF", gguf, (None, "m.gguf"), [["info", "m.gguf"], capture + ["m.gguf"]], [0, 3, 4, 6])]
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            kinds.append((name, os.path.join(folder, name), (folder, "model/" + name), [capture + ["model"]], [0, 3, 4, 6]))
        kinds.append(("prompts", prompts, (None, "p.jsonl"),
                      [["capture", "--quiet", "--threads", "1", "--model", self.model, "--prompts", "p.jsonl", "--out", "run.h5"]],
                      [0, 3, 6]))
        kinds.append(("capture", good, (None, "run.h5"), [["info", "run.h5"], ["sinks", "run.h5"], ["verify", "run.h5"],
                                                          ["heads", "--quiet", "--js", "run.h5"],
                                                          ["induction", "--period", "1", "run.h5"],
                                                          ["merge", "--out", "all.h5", "run.h5"]], [0, 1, 3]))
        for name, path, file, commands, codes in kinds:
            with open(path, "rb") as stream:
                data = stream.read()
            results = [pool.submit(self.mutated, self.mutate(data), file, commands, codes) for _ in range(n)]
            cr.check(f"{n} files spoiled at random: {name}", [one for result in results for one in result.result()])


def main():
    program, source = (os.path.abspath(arg) for arg in sys.argv[1:3])
    n_mutations = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        test = BadFiles(program, source, folder, seed)
        good = test.good_capture()
        results = [pool.submit(test.bad_model, *case) for case in bad_models.CASES]
        results += [pool.submit(test.bad_prompt, *case) for case in bad_prompts.CASES]
        results += [pool.submit(test.bad_capture, name, good, change, words) for name, change, words in bad_captures.CASES]
        for result in results:
            cr.check(*result.result())
        test.mutations(pool, good, n_mutations)
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
