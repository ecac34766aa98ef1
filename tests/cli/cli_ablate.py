#!/usr/bin/python3
"""Ablations: every cell equals a capture of the changed model by itself, bit for bit; metrics against numpy; units, orders,
controls; what users get wrong.

Usage: cli_ablate.py HEADWATER ROOT SMOLLM2 (a path, or nothing). Prints TAP.
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
# Ways of changing a head; what is not there for heads of grouped queries is left out.
ARMS = ["zero", "zero:rows=last", "zero:rows=2-5", "zero:at=pattern", "mean", "position_mean", "from:source=@", "scale:by=.5",
        "scale:by=2:at=pattern:key=first", "set:value=.3", "uniform", "uniform:rows=decode", "identity", "to:key=2",
        "previous", "resample:seed=3", "block:key=first", "window:sinks=1:recent=3", "bias:by=1.5:key=2-4"]
SEQUENCES = [list(range(1, 14)), [5, 4, 3, 2, 1, 7, 9, 30, 22, 11, 4, 4, 4, 9, 17, 8, 3, 1, 2, 6, 12], [8, 8, 1]]
METRICS = "loss,loss_change,kl,logit_difference,target_logit,top1_change,rank"


def check(claim, problems):
    """As capture_runs.check; numpy's bools are bools."""
    cr.check(claim, problems if isinstance(problems, list) else bool(problems))


class Ablations:
    def __init__(self, program, root, folder):
        self.program = program
        self.root = root
        self.folder = folder
        self.n = 0

    def path(self, name):
        self.n += 1
        return os.path.join(self.folder, f"{self.n}-{name}")

    def run(self, command, *options):
        done = subprocess.run([self.program, command, "--quiet", *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cr.ENVIRONMENT, timeout=300,
                              check=False)
        return done.returncode, done.stdout, done.stderr

    def ablate(self, *options):
        """A result as a dict of arrays and a list of edits; the exit code must be as expected."""
        out = self.path("a.h5")
        code, text, err = self.run("ablate", "--out", out, *options)
        assert code == 0, (options, code, err)
        return self.read(out), text

    @staticmethod
    def read(path):
        with h5py.File(path, "r") as file:
            return {name: np.asarray(data[()]) for name, data in file.items()}

    def write_prompts(self, sequences=SEQUENCES, extra=None):
        path = self.path("p.jsonl")
        with open(path, "w", encoding="ascii") as file:
            for i, ids in enumerate(sequences):
                prompt = {"tokens": ids, "target": 5 + i, "foil": 9, "spans": {"middle": [1, 2]}}
                prompt.update(extra or {})
                file.write(json.dumps(prompt) + "\n")
        return path

    def capture(self, *options):
        out = self.path("c.h5")
        code, _, err = self.run("capture", "--out", out, *options)
        assert code == 0, (options, code, err)
        return out

    # Truth: captures of the changed model in other processes.

    def check_cells(self, model, prompts, arms, units, target, *options):
        """units: names of the result's units and the targets of the edits that are the same."""
        edits = [word for arm in arms for word in ("--edit", arm)]
        result, _ = self.ablate("--model", model, "--prompts", prompts, *edits, "--metric", "loss", "--threads", "2", *options)
        problems = []
        specs = [x.decode() for x in result["edit"]]
        assert len(specs) == len(arms), specs
        for a, arm in enumerate(arms):
            replacement, _, rest = arm.partition(":")
            for u, (place, value) in enumerate(units):
                spec = f"{replacement}:{target}={value}" + (f":{rest}" if rest else "")
                out = self.capture("--model", model, "--prompts", prompts, "--edit", spec, "--record", "loss",
                                   "--threads", str(1 + u % 3))
                with h5py.File(out, "r") as file:
                    there = file["prompt_loss"][()]
                here = result["loss"][(a, slice(None)) + place]
                if here.astype("f4").tobytes() != there.tobytes():
                    problems.append(f"{spec}: {here} here, {there} there")
        return problems

    def test_cells(self):
        prompts = self.write_prompts()
        for name in MODELS:
            model = os.path.join(self.root, "tests", "golden", "models", name)
            there = self.capture("--model", model, "--prompts", prompts, "--record", "z,mlp_output,attention_output", "--edit",
                                 "scale:head=0.0:by=3")
            arms = self.possible(model, prompts, there)
            shape = self.shape(model)
            units = [((l, h), f"{l}.{h}") for l in range(shape[0]) for h in range(shape[1])]
            batch = ["--batch", str(1 + len(name) % 5)]
            check(f"{name}: {len(arms)} ways x {len(units)} heads are those of captures, bit for bit",
                     self.check_cells(model, prompts, arms, units, "head", *batch))
            layers = [((l,), str(l)) for l in range(shape[0])]
            some = ["zero", "mean", "from:source=" + there, "scale:by=.5"]
            check(f"{name}: MLPs and attentions of layers too",
                     self.check_cells(model, prompts, some, layers, "mlp", "--mlp", "all") +
                     self.check_cells(model, prompts, some + ["uniform:at=pattern"], layers, "attn", "--attn", "all"))
            kv = [((i,), f"{i // shape[2]}.{i % shape[2]}") for i in range(shape[0] * shape[2])]
            check(f"{name}: and key/value heads",
                     self.check_cells(model, prompts, ["zero:at=value", "mean:at=value", "zero"], kv, "kv", "--kv-heads", "all"))

    def shape(self, model):
        """Layers, heads, key/value heads."""
        out = self.capture("--model", model, "--tokens", self.tokens([[1, 2, 3]]), "--record", "attention,values")
        with h5py.File(out, "r") as file:
            return len(file["layer"]), len(file["head"]), len(file["kv_head"])

    def tokens(self, sequences):
        path = self.path("t.txt")
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(" ".join(map(str, ids)) + "\n" for ids in sequences))
        return path

    def possible(self, model, prompts, source):
        """Those ways that mean something for a single head of the model."""
        arms = []
        for arm in ARMS:
            arm = arm.replace("@", source)
            code, _, err = self.run("ablate", "--estimate", "--model", model, "--prompts", prompts, "--edit", arm)
            if code == 0:
                arms.append(arm)
            else:
                assert code == 2, (arm, code, err)
        assert len(arms) >= len(ARMS) - 2, arms
        return arms

    def test_metrics(self):
        prompts = self.write_prompts()
        model = os.path.join(self.root, "tests", "golden", "models", "llama-gqa")
        with open(prompts, encoding="ascii") as file:
            objects = [json.loads(line) for line in file]
        for positions in (None, "2-3", "middle"):
            options = ["--positions", positions] if positions else []
            result, _ = self.ablate("--model", model, "--prompts", prompts, "--heads", "1.0,1.3", "--edit", "zero", "--metric",
                                    METRICS, *options)
            problems = []
            base = self.logits(model, prompts)
            for h, head in ((0, "1.0"), (1, "1.3")):
                changed = self.logits(model, prompts, "--edit", f"zero:head={head}")
                for p, prompt in enumerate(objects):
                    expected = numbers(prompt, base[p], changed[p], positions)
                    for name, value in expected.items():
                        found = result[name][0, p, 0, h]
                        # The result has the unembedding's own logarithm of the sum, in f4.
                        limit = 0 if name in ("rank", "top1_change", "target_logit", "logit_difference") else 4e-6
                        if not abs(found - value) <= limit:
                            problems.append(f"{name} of {head}, prompt {p}: {found} (expected {value})")
            check(f"metrics at positions {positions} are those of numpy on the logits of captures", problems)
        mean = result["loss"].mean(axis=1)
        se = result["loss"].std(axis=1, ddof=1) / np.sqrt(len(objects))
        check("means, errors and counts are those of numpy",
                 np.allclose(result["loss_mean"], mean, rtol=1e-12) and np.allclose(result["loss_mean_se"], se, rtol=1e-9) and
                 (result["loss_mean_n"] == len(objects)).all())
        check("loss_relative is (loss - baseline) / baseline",
                 np.allclose(result["loss_relative"],
                             result["loss"] / result["baseline_loss"][None, :, None, None] - 1, rtol=0, atol=1e-14))

    def logits(self, model, prompts, *options):
        out = self.capture("--model", model, "--prompts", prompts, "--record", "loss,logits", *options)
        with h5py.File(out, "r") as file:
            starts = file["token_start"][()]
            logits = file["logits/logits"][()].astype("f8")
            return np.split(logits, starts[1:])

    # Units.

    def test_units(self):
        prompts = self.write_prompts()
        model = os.path.join(self.root, "tests", "golden", "models", "llama-gqa")
        base = ["--model", model, "--prompts", prompts, "--edit", "zero", "--metric", "loss"]

        def loss(*heads):
            out = self.capture("--model", model, "--prompts", prompts, "--edit", "zero:head=" + ",".join(heads), "--record",
                               "loss")
            with h5py.File(out, "r") as file:
                return file["prompt_loss"][()]

        result, text = self.ablate(*base, "--json")
        document = json.loads(text)
        order = [f"{item['layer']}.{item['head']}" for item in document["heads"]]
        effects = [item["effect"] for item in document["heads"]]
        check("JSON lists the heads by effect", len(order) == 8 and effects == sorted(effects, reverse=True))
        listed = self.path("heads.json")
        with open(listed, "w", encoding="utf-8") as file:
            file.write(text)
        result, _ = self.ablate(*base, "--heads", "@" + listed, "--cumulative", "1,3", "--random-controls", "2", "--seed", "7")
        names = [x.decode() for x in result["unit"]]
        check("sets and controls are named",
                 names == ["top1", "random1 of 1", "random2 of 1", "top3", "random1 of 3", "random2 of 3"])
        here = result["loss"][0].astype("f4")
        check("the first heads of the list act together",
                 (here[:, 0] == loss(order[0])).all() and (here[:, 3] == loss(*order[:3])).all())
        again, _ = self.ablate(*base, "--heads", "@" + listed, "--cumulative", "1,3", "--random-controls", "2", "--seed", "7")
        other, _ = self.ablate(*base, "--heads", "@" + listed, "--cumulative", "1,3", "--random-controls", "2", "--seed", "8")
        check("controls depend on the seed and on nothing else",
                 (again["loss"] == result["loss"]).all() and not (other["loss"] == result["loss"]).all())
        others = {tuple(loss(name)) for name in order[3:]}
        check("controls are none of the chosen heads", all(tuple(here[:, i]) in others for i in (1, 2)))
        groups = self.path("groups.json")
        with open(groups, "w", encoding="ascii") as file:
            json.dump({"early": "0", "two": ["0.1", "1.2-3"]}, file)
        result, _ = self.ablate(*base, "--groups", groups)
        here = result["loss"][0].astype("f4")
        check("groups act together",
                 [x.decode() for x in result["unit"]] == ["early", "two"] and (here[:, 0] == loss("0")).all() and
                 (here[:, 1] == loss("0.1", "1.2-3")).all())
        result, _ = self.ablate(*base, "--heads", "1", "--only")
        check("--only changes the other heads of the layer",
                 (result["loss"][0, :, 0, 2].astype("f4") == loss("1.0", "1.1", "1.3")).all())
        result, _ = self.ablate(*base, "--edit", "zero:head=0.0,1.1", "--heads", "0.3")
        check("a full spec is an arm of its own, as given",
                 [x.decode() for x in result["unit"]] == ["0.3", "as given"] and
                 (result["loss"][1, :, 1].astype("f4") == loss("0.0", "1.1")).all() and np.isnan(result["loss"][1, :, 0]).all()
                 and np.isnan(result["loss"][0, :, 1]).all())

    def test_exact_match(self):
        """A greedy continuation of captures, with and without the change, against what the sweep says of targets."""
        model = os.path.join(self.root, "examples", "backcopy", "model")
        text = "the cat sat on the mat and the c"
        base = ["--model", model, "--generate", "4", "--record", "loss"]

        def generated(*options):
            out = self.capture("--text", text, *base, *options)
            with h5py.File(out, "r") as file:
                ids = file["token_id"][()]
                letters = [x.decode() for x in file["token_text"][()]]
                return "".join(t for t, g in zip(letters, file["token_is_generated"][()]) if g).replace("\u0120", " "), ids

        plain, _ = generated()
        changed, _ = generated("--edit", "zero:head=0.0:rows=decode")
        prompts = self.path("match.jsonl")
        targets = [plain, plain[:2], changed[:3], "qzqz"]
        with open(prompts, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps({"text": text, "target": target}) + "\n" for target in targets))
        result, _ = self.ablate("--model", model, "--prompts", prompts, "--heads", "0.0", "--edit", "zero:rows=decode",
                                "--metric", "exact_match,loss", "--generate", "4")
        check("exact_match is 1 where the continuation begins with the target",
              result["baseline_exact_match"].tolist() == [plain.startswith(t) for t in targets] and
              result["exact_match"][0, :, 0, 0].tolist() == [changed.startswith(t) for t in targets] and
              result["baseline_exact_match"][0] == 1 and result["baseline_exact_match"][3] == 0)

    def test_bad(self):
        model = os.path.join(self.root, "tests", "golden", "models", "llama-gqa")
        prompts = self.write_prompts()
        out = self.path("never.h5")
        cases = [
            (2, "there is no metric kx", ["--edit", "zero", "--metric", "loss,kx"]),
            (2, "--edit", []),
            (2, "--generate", ["--edit", "zero", "--metric", "exact_match"]),
            (2, "expected one of", ["--edit", "zero", "--heads", "0", "--mlp", "0"]),
            (2, "--heads", ["--edit", "zero", "--heads", "7.0"]),
            (2, "nothing is swept", ["--edit", "zero:head=0.0", "--heads", "0"]),
            (2, "selects only 4", ["--edit", "zero", "--heads", "0", "--cumulative", "9"]),
            (2, "--random-controls", ["--edit", "zero", "--heads", "all", "--random-controls", "1"]),
            (2, "--cumulative", ["--edit", "zero", "--cumulative", "a"]),
            (2, "--only", ["--edit", "zero", "--only", "--mlp", "0"]),
            (3, "cannot be read", ["--edit", "zero", "--groups", "nope.json"]),
            (4, "memory-limit", ["--edit", "zero", "--memory-limit", "1k"]),
        ]
        problems = []
        for code, words, options in cases:
            found, text, err = self.run("ablate", "--model", model, "--prompts", prompts, "--out", out, *options)
            if found != code or words not in err or len(err.splitlines()) != 1 or text or os.path.exists(out + ".parts"):
                problems.append(f"{options}: {found} instead of {code}: {text}{err}")
        check("what cannot be meant is refused in one line, with nothing left", problems)
        mixed = self.path("mixed.jsonl")
        with open(prompts, encoding="ascii") as file:
            lines = [json.loads(line) for line in file]
        del lines[1]["target"]
        del lines[2]["spans"]
        with open(mixed, "w", encoding="ascii") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
        for name, options, failed in (("a target", ["--metric", "target_logit"], 1), ("a span", ["--positions", "middle"], 2),
                                      ("a span of an edit", ["--edit", "zero:rows=middle"], 2)):
            out = self.path("partial.h5")
            code, _, err = self.run("ablate", "--model", model, "--prompts", mixed, "--edit", "zero", "--out", out, *options)
            result = self.read(out)
            first = result["target_logit" if failed == 1 else "loss"]
            problems = [] if code == 6 else [f"exit code {code}: {err}"]
            if result["prompt_status"].tolist() != [2 if p == failed else 0 for p in range(3)] or not result["prompt_error"][failed]:
                problems.append(str(result["prompt_status"]))
            if [bool(np.isnan(first[0, p]).all()) for p in range(3)] != [p == failed for p in range(3)]:
                problems.append("values are not where they should be")
            check(f"a prompt without {name} is marked, the others are measured", problems)
        code, _, err = self.run("ablate", "--model", model, "--tokens", self.tokens(SEQUENCES), "--edit", "zero", "--metric",
                                "rank", "--out", self.path("none.h5"))
        check("prompts of which none can be measured are a bad input", code == 3 and "no target" in err)

    def test_smollm2(self, model):
        text = ("The history of the lighthouse on the northern cape begins with a shipwreck in the winter of 1823, when a "
                "merchant vessel was lost")
        base = ["--model", model, "--text", text]
        result, _ = self.ablate(*base, "--edit", "zero", "--metric", "loss", "--threads", "2")
        n_tokens = int(result["n_tokens"][0])
        heads = [(l, h) for l in range(30) for h in range(9)]
        check(f"all heads of SmolLM2 are there, on {n_tokens} tokens", result["loss"].shape == (1, 1, 30, 9) and n_tokens % 8 != 0)
        small, _ = self.ablate(*base, "--edit", "zero", "--metric", "loss", "--threads", "1", "--batch", "7")
        check("with another batch and one thread they have the same bits", small["loss"].tobytes() == result["loss"].tobytes())
        problems = []
        for layer, head in heads:
            out = self.capture(*base, "--edit", f"zero:head={layer}.{head}", "--record", "loss", "--threads", str(1 + head % 2),
                               "--model-hash", "none")
            with h5py.File(out, "r") as file:
                there = file["prompt_loss"][0]
            os.unlink(out)
            if np.float32(result["loss"][0, 0, layer, head]).tobytes() != there.tobytes():
                problems.append(f"{layer}.{head}: {result['loss'][0, 0, layer, head]} here, {there} there")
        check("each equals a capture of its own, bit for bit", problems)


def softmax_log(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def numbers(prompt, base, changed, positions):
    """The metrics of a prompt from logits [T, vocabulary]."""
    ids, n = prompt["tokens"], len(prompt["tokens"])
    rows = {None: range(n), "2-3": [r for r in (2, 3) if r < n], "middle": [1]}[positions]
    at = [n - 1] if positions is None else list(rows)
    lp, lq = softmax_log(base), softmax_log(changed)
    loss = [np.mean([-l[t - 1, ids[t]] for t in rows if t > 0]) for l in (lp, lq)]
    return {
        "loss": loss[1], "loss_change": loss[1] - loss[0],
        "kl": np.mean([(np.exp(lp[r]) * (lp[r] - lq[r])).sum() for r in rows]),
        "top1_change": np.mean([base[r].argmax() != changed[r].argmax() for r in rows]),
        "target_logit": np.mean([changed[r, prompt["target"]] for r in at]),
        "logit_difference": np.mean([changed[r, prompt["target"]] - changed[r, prompt["foil"]] for r in at]),
        "rank": np.mean([(changed[r] > changed[r, prompt["target"]]).sum() for r in at]),
    }


def main():
    program, root = (os.path.abspath(arg) for arg in sys.argv[1:3])
    smollm2 = sys.argv[3] if len(sys.argv) > 3 else ""
    with tempfile.TemporaryDirectory() as folder:
        test = Ablations(program, root, folder)
        test.test_metrics()
        test.test_units()
        test.test_exact_match()
        test.test_bad()
        test.test_cells()
        if smollm2:
            test.test_smollm2(smollm2)
        else:
            cr.skip("all heads of SmolLM2", "no SmolLM2 (-Dsmollm2)")
    return cr.finish()


if __name__ == "__main__":
    sys.exit(main())
