#!/usr/bin/python3
"""Patching: every cell equals a capture of the changed model by itself, bit for bit; both ends of the scale; means; what
users get wrong.

Usage: cli_patch.py HEADWATER ROOT. Prints TAP.
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import capture_runs as cr

MODELS = ["llama-gqa", "gpt2", "gpt-neox-parallel"]
# Text, counterpart; the first two differ at tokens 1 and 4 of 8.
PAIRS = [("abcdefgh", "axcdyfgh"), ("hgfedcba", "hxfeycba")]
SITES = ["resid_pre", "resid_mid", "attn_out", "mlp_out"]


def check(claim, problems):
    cr.check(claim, problems if isinstance(problems, list) else bool(problems))


class Patches:
    def __init__(self, program, root, folder):
        self.program = program
        self.root = root
        self.folder = folder
        self.n = 0

    def path(self, name):
        self.n += 1
        return os.path.join(self.folder, f"{self.n}-{name}")

    def model(self, name):
        return os.path.join(self.root, "tests", "golden", "models", name)

    def run(self, command, *options):
        done = subprocess.run([self.program, command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=cr.ENVIRONMENT, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr

    def prompts(self, pairs=PAIRS, **extra):
        path = self.path("p.jsonl")
        with open(path, "w", encoding="ascii") as file:
            for text, counterpart in pairs:
                prompt = {"text": text, "counterpart": counterpart, "target": 70, "foil": 80}
                prompt.update(extra)
                file.write(json.dumps({k: v for k, v in prompt.items() if v is not None}) + "\n")
        return path

    def patch(self, *options):
        out = self.path("a.h5")
        code, _, err = self.run("patch", "--quiet", "--out", out, *options)
        assert code == 0, (options, code, err)
        with h5py.File(out, "r") as file:
            return {name: np.asarray(data[()]) for name, data in file.items()}

    def measure(self, model, prompts, *options):
        """prompt_loss, and logits of target and their difference to the foil's, of each prompt."""
        out = self.path("c.h5")
        code, _, err = self.run("capture", "--quiet", "--out", out, "--model", model, "--prompts", prompts, "--record",
                                "loss,logits", *options)
        assert code == 0, (options, code, err)
        with h5py.File(out, "r") as file:
            last = np.asarray(file["token_start"][()]) + file["n_tokens"][()] - 1
            logits = file["logits/logits"][()][last].astype("f8")
            return file["prompt_loss"][()], logits[:, 70], logits[:, 70] - logits[:, 80]

    def compare(self, model, prompts, result, cells):
        """cells: (index behind the prompt, edit)."""
        problems = []
        for place, edit in cells:
            loss, target, difference = self.measure(model, prompts, "--edit", edit, "--threads", str(1 + len(problems) % 3))
            index = (slice(None),) + place
            if (result["loss"][index].astype("f4").tobytes() != loss.tobytes() or
                    (result["target_logit"][index] != target).any() or (result["logit_difference"][index] != difference).any()):
                problems.append(f"{edit}: {result['logit_difference'][index]} here, {difference} there")
        return problems

    def check_model(self, name):
        model = self.model(name)
        sites = [site for site in SITES if name != "gpt-neox-parallel" or site != "resid_mid"]
        clean, corrupted = self.prompts(), self.prompts([(b, a) for a, b in PAIRS])
        options = ["--model", model, "--prompts", clean, "--metric", "loss,target_logit,logit_difference"]
        for direction, base in (("denoise", corrupted), ("noise", clean)):
            result = self.patch(*options, "--site", ",".join(sites), "--direction", direction, "--batch", "5", "--threads", "2")
            shape = result["loss"].shape
            cells = [((s, layer, t), f"from:channel=all:layer={layer}:site={site}:rows={t}")
                     for s, site in enumerate(sites) for layer in range(shape[2]) for t in (0, 1, 4, 7)]
            assert shape == (2, len(sites), shape[2], 8), shape
            check(f"{name}, {direction}: points of the stream by layer and position",
                     self.compare(model, base, result, cells))
            result = self.patch(*options, "--site", "z", "--over", "layer,head,position", "--direction", direction)
            shape = result["loss"].shape
            cells = [((0, layer, t, head), f"from:head={layer}.{head}:rows={t}")
                     for layer in range(shape[2]) for t in (1, 7) for head in range(shape[4])]
            check(f"{name}, {direction}: heads by position", self.compare(model, base, result, cells))
            result = self.patch(*options, "--site", "z", "--over", "layer,head", "--direction", direction)
            cells = [((0, layer, head), f"from:head={layer}.{head}") for layer in range(shape[2]) for head in range(shape[4])]
            check(f"{name}, {direction}: heads at all positions", self.compare(model, base, result, cells))

    def test_ends(self):
        model, clean = self.model("llama-gqa"), self.prompts()
        corrupted = self.prompts([(b, a) for a, b in PAIRS])
        ends = {"clean": self.measure(model, clean)[2], "corrupted": self.measure(model, corrupted)[2]}
        for direction in ("denoise", "noise"):
            result = self.patch("--model", model, "--prompts", clean, "--direction", direction)
            whole = self.patch("--model", model, "--prompts", clean, "--direction", direction, "--over", "layer")
            check(f"{direction}: both ends are those of captures",
                     all((result["logit_difference_" + end] == ends[end]).all() for end in ends))
            normalised = result["logit_difference_normalised"]
            start, end = (0.0, 1.0) if direction == "denoise" else (1.0, 0.0)
            # Token 0 is the same in both.
            check(f"{direction}: what is equal changes nothing", (normalised[:, 0, :, 0] == start).all())
            check(f"{direction}: the whole stream before layer 0 is the other run",
                     (whole["logit_difference_normalised"][:, 0, 0] == end).all())
            by_hand = ((result["logit_difference"] - ends["corrupted"][:, None, None, None]) /
                       (ends["clean"] - ends["corrupted"])[:, None, None, None])
            check(f"{direction}: the normalised metric is that of numpy", (by_hand == normalised).all())
            check(f"{direction}: means, errors and counts are those of numpy",
                     np.allclose(result["logit_difference_mean"], result["logit_difference"].mean(axis=0), rtol=1e-12) and
                     np.allclose(result["logit_difference_mean_se"],
                                 result["logit_difference"].std(axis=0, ddof=1) / np.sqrt(2), rtol=1e-9) and
                     (result["logit_difference_mean_n"] == 2).all())
        one = self.prompts([("abcdefgh", "axcdefgh")])
        result = self.patch("--model", model, "--prompts", one)
        check("one differing position: the stream there before layer 0 restores all",
                 result["logit_difference_normalised"][0, 0, 0, 1] == 1.0)

    def test_lengths(self):
        prompts = self.prompts(PAIRS + [("abcd", "abxd")])
        result = self.patch("--model", self.model("gpt2"), "--prompts", prompts)
        alone = self.patch("--model", self.model("gpt2"), "--prompts", self.prompts([("abcd", "abxd")]))
        check("prompts of different lengths: NaN behind the shorter, and no means",
                 np.isnan(result["logit_difference"][2, :, :, 4:]).all() and "logit_difference_mean" not in result and
                 (result["logit_difference"][2, :, :, :4] == alone["logit_difference"][0]).all())
        result = self.patch("--model", self.model("gpt2"), "--prompts", prompts, "--over", "layer")
        check("but means where positions go together", (result["logit_difference_mean_n"] == 3).all())
        code, text, _ = self.run("patch", "--quiet", "--out", self.path("x.h5"), "--model", self.model("gpt2"), "--prompts",
                                 prompts, "--top", "3")
        check("the table says so", code == 0 and "prompts of different lengths: no means over them" in text and
                 max(map(len, text.split("\n")[1:])) <= 80)

    def test_repeated(self):
        out, prompts = self.path("r.h5"), self.prompts()
        options = ["--model", self.model("gpt2"), "--prompts", prompts, "--out", out]
        first = self.run("patch", *options)
        again = self.run("patch", *options)
        other = self.run("patch", *options, "--direction", "noise")
        check("a complete result is left as it is", first[0] == 0 and again[0] == 0 and "already complete" in again[2] and
                 other[0] == 5 and "direction" in other[2])

    def test_bad(self):
        model = self.model("llama-gqa")
        parallel = self.model("gpt-neox-parallel")
        good = self.prompts()
        cases = [
            ("no counterpart", model, self.prompts(counterpart=None), [], 3, "prompt 0: it has no counterpart"),
            ("a counterpart of another length", model, self.prompts([("abc", "abcd")]), [], 3,
             "prompt 0: its counterpart has 4 tokens (expected 3, as many as the prompt)"),
            ("no target", model, self.prompts(target=None), [], 3, "has no target"),
            ("no foil", model, self.prompts(foil=None), [], 3, "has no foil"),
            ("an unknown site", model, good, ["--site", "z,nope"], 2, "--site: there is no 'nope'"),
            ("a site twice", model, good, ["--site", "z,z"], 2, "--site: z stands there twice"),
            ("heads of the stream", model, good, ["--over", "layer,head"], 2, "--over head goes with --site z"),
            ("an unknown axis", model, good, ["--over", "layer,nope"], 2, "--over: there is no 'nope'"),
            ("an unknown metric", model, good, ["--metric", "nope"], 2, "--metric: there is no 'nope'"),
            ("a metric of generated text", model, good, ["--metric", "exact_match"], 2, "--metric: there is no 'exact_match'"),
            ("a point that parallel blocks lack", parallel, good, ["--site", "resid_mid"], 2, "resid_mid"),
        ]
        for what, path, prompts, options, expected, text in cases:
            out = self.path("bad.h5")
            code, _, err = self.run("patch", "--quiet", "--model", path, "--prompts", prompts, "--out", out, *options)
            check(f"{what}: one line, exit {expected}", [] if code == expected and text in err and
                     err.count("\n") == 1 and not os.path.exists(out) else [f"exit {code}: {err}"])
        with open(good, encoding="ascii") as file:
            lines = file.read()
        with open(good, "w", encoding="ascii") as file:
            file.write(lines + json.dumps({"text": "ab", "counterpart": "ac", "foil": 3}) + "\n")
        out = self.path("partial.h5")
        code, _, err = self.run("patch", "--quiet", "--model", model, "--prompts", good, "--out", out)
        with h5py.File(out, "r") as file:
            status = list(file["prompt_status"][()])
            check("a prompt without target is marked, the others run", code == 6 and status == [0, 0, 2] and
                     not np.isnan(file["logit_difference"][:2]).any() and np.isnan(file["logit_difference"][2]).all())


def main():
    program, root = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        patches = Patches(os.path.abspath(program), root, folder)
        for name in MODELS:
            patches.check_model(name)
        patches.test_ends()
        patches.test_lengths()
        patches.test_repeated()
        patches.test_bad()
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
