#!/usr/bin/python3
"""`sinks` and `outliers` against independent figures of a real model and a tiny one; prints TAP.

cli_sinks_outliers.py PROGRAM GOLDEN SMOLLM2: captures the prompts of golden/analysis/sinks_outliers.json with the program,
runs the commands, and compares every figure of their result files with those made by sinks_outliers.py (float64, from the
definitions).

Tolerance: 1e-5 of the largest value of the figure. The capture is float32 arithmetic; transformers' own float32 is 3e-6 off
on these maps. Counts over thresholds may differ by the values that lie nearer to a threshold than that (slack).
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from capture_runs import ENVIRONMENT, check, finish, skip  # noqa: E402

TOLERANCE = 1e-5
TIMEOUT_S = 500
SINKS = ("alpha dormancy dormancy_trigger entropy_row entropy_column logit_gap drain value_others drain_projected peak "
         "peak_over_max residual_excess").split()
OUTLIERS = ("state_top state_median state_mean_abs median_ratio mean_ratio column_sum_first column_sum_second "
            "column_sum_median attention_outlier_share").split()
WEIGHTS = "weight_row_ratio weight_column_ratio down_ratio_median".split()
NEURONS = "mlp_top mlp_median mlp_median_ratio".split()
COUNTS = "massive_count massive_prompts".split()


def differs(name, found, expected, tolerance=TOLERANCE, slack=0.0):
    """A list with one sentence where the figure is wrong, else empty."""
    expected = np.array(expected, np.float64)
    found = np.asarray(found, np.float64)
    if found.shape != expected.shape:
        return [f"{name}: shape {found.shape}, expected {expected.shape}"]
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return [f"{name}: NaN at other places"]
    error = np.abs(found - expected) - np.asarray(slack)
    scale = np.nanmax(np.abs(expected), initial=0) or 1
    worst = np.nanmax(error, initial=0)
    return [] if worst <= tolerance * scale else [f"{name}: off by {worst:.3g} of {scale:.3g} at most"]


class Model:
    def __init__(self, program, model, golden, options, folder):
        self.program, self.folder, self.golden = program, folder, golden
        self.model = model
        with open(folder / "prompts.jsonl", "w", encoding="utf-8") as file:
            for i, prompt in enumerate(golden["prompts"]):
                file.write(json.dumps({"name": f"p{i}", **prompt}) + "\n")
        self.run("capture", "--quiet", "--model", model, "--prompts", "prompts.jsonl", "--add-bos", "no", "--record",
                 "default,attention_vectors,mlp_post", "--out", "run.h5", *options)

    def run(self, *command):
        done = subprocess.run([self.program, *map(str, command)], cwd=self.folder, env=ENVIRONMENT, timeout=TIMEOUT_S,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"Bail out! {' '.join(map(str, command))}: {done.stderr}")
        return done.stdout

    def result(self, command, *options):
        self.run(command, "--out", f"{command}.h5", *options, "run.h5")
        with h5py.File(self.folder / f"{command}.h5") as file:
            return {name: dataset[()] for name, dataset in file.items()}


def check_sinks(name, model, golden, every):
    options = ["--epsilon", ",".join(map(str, every["epsilons"])), "--key", ",".join(map(str, every["keys"])),
               "--at", ",".join(map(str, every["lengths"])), "--triggers", ",".join(map(str, golden["triggers"])),
               "--cosine", golden["sinks"]["cosine"]]
    found, expected = model.result("sinks", *options), golden["sinks"]
    for figure in SINKS:
        check(f"{name}: {figure} is that of its definition", differs(figure, found[figure], expected[figure]))
    for figure in ("sink_rate", "sink_rate_length"):
        slack = np.array(expected[f"{figure}_slack"])
        check(f"{name}: {figure} counts the heads above epsilon",
              differs(figure, found[figure], expected[figure], slack=slack))
    absolute = found["sink_token_is_absolute"] == 1
    positions = [sorted(found["sink_token_position"][absolute & (found["sink_token_prompt"] == i)].tolist())
                 for i in range(len(golden["prompts"]))]
    check(f"{name}: sink tokens are those of the absolute criterion", positions == expected["sink_positions"])
    secondary = expected["secondary"]
    check(f"{name}: the first sink and the window of secondary sinks",
          found["first_sink"].tolist() == [s["first"] for s in secondary] and
          [list(w) for w in zip(found["window_first"], found["window_end"])] == [s["window"] for s in secondary])
    counts = np.zeros_like(found["secondary_count"])
    for birth, lifetime in (life for s in secondary if s["first"] == 0 for life in s["lives"]):
        counts[birth, lifetime] += 1
    slack = sum(s["slack"] for s in secondary)
    check(f"{name}: birth and lifetime of secondary sinks",
          int(np.abs(counts - found["secondary_count"]).sum()) <= 2 * slack)


def check_outliers(name, model, golden):
    least, ratio, mean_ratio = golden["thresholds"]
    options = ["--least", least, "--ratio", ratio, "--mean-ratio", mean_ratio, "--model", model.model]
    found, expected = model.result("outliers", *options), golden["outliers"]
    for figure in OUTLIERS:
        check(f"{name}: {figure} is that of its definition", differs(figure, found[figure], expected[figure]))
    for figure in COUNTS:
        check(f"{name}: {figure}", differs(figure, found[figure], expected[figure], slack=expected["slack"]))
    check(f"{name}: outlier tokens of every depth", differs("outlier_tokens", found["outlier_tokens"].sum(1),
                                                            expected["outlier_tokens"], slack=expected["slack"]))
    check(f"{name}: keys that are attention outliers",
          differs("attention_outlier_keys", found["attention_outlier_keys"], expected["attention_outlier_keys"],
                  slack=expected["slack"]))
    columns = [found[f"outlier_token_{c}"] for c in ("position", "n_massive", "n_outlier", "n_attention")]
    for i, joint in enumerate(expected["joint"]):
        rows = {row[0]: row[1:] for row, prompt in zip(zip(*columns), found["outlier_token_prompt"]) if prompt == i}
        wanted = {row[0]: row[1:] for row in joint}
        off = sum(abs(int(a) - b) for t in {*rows, *wanted}
                  for a, b in zip(rows.get(t, (0, 0, 0)), wanted.get(t, (0, 0, 0))))
        check(f"{name}: tokens that carry outliers, prompt {i}",
              [] if wanted and off <= expected["slack"] else [f"{off} counts differ of {len(wanted)} tokens"])
    neurons = golden["neurons"]
    for figure in NEURONS:
        check(f"{name}: {figure} is that of its definition", differs(figure, found[figure], neurons[figure]))
    maxima = found["neuron_max"]
    best = np.argsort(-maxima, axis=1, kind="stable")[:, :2]
    check(f"{name}: the first neurons of every layer", best.tolist() == neurons["first_neurons"])
    check(f"{name}: and their maxima", differs("neuron_max", np.take_along_axis(maxima, best, 1), neurons["first_maxima"]))
    check(f"{name}: mean of the maxima of the neurons", differs("neuron_max", maxima.mean(1), neurons["mean_maximum"]))
    rows = json.loads(model.run("outliers", "--json", *options, "run.h5"))["neurons"]
    check(f"{name}: the first neurons are those of the JSON",
          [[n["neuron"] for n in row["neurons"]] for row in rows] == neurons["first_neurons"])
    for figure in WEIGHTS:
        check(f"{name}: {figure}", differs(figure, found[figure], golden["weights"][figure]))


def check_backcopy(program, golden):
    """The embedded model against the table of its README, which is over 256 sequences; here are 16, so .1 of an attention
    and a tenth of a ratio."""
    example = golden.parent.parent / "examples" / "backcopy"
    with tempfile.TemporaryDirectory() as folder:
        model = Model.__new__(Model)
        model.program, model.folder = program, pathlib.Path(folder)
        model.run("capture", "--quiet", "--model", example / "model", "--prompts", example / "prompts.jsonl", "--out", "run.h5")
        found = model.result("sinks", "--triggers", "1,6,21")
    dormant, trigger = found["dormancy"][0, :, 0], found["dormancy_trigger"][0, :, 0]
    check("backcopy: attention of other queries to <s>", differs("dormancy", dormant, [1, 1, 1], 0.01))
    check("backcopy: attention of trigger queries to <s>", differs("dormancy_trigger", trigger, [0, 0.640, 0.999], 0.1))
    check("backcopy: values of the sink are drained", bool((found["drain"] < 0.3).all()))
    check("backcopy: residual of <s> over the others", differs("peak", found["peak"][1:], [4.43, 0.91, 0.60], 0.1))


def main(program, golden, smollm2):
    golden = pathlib.Path(golden)
    every = json.loads((golden / "analysis" / "sinks_outliers.json").read_text(encoding="utf-8"))
    models = {"gpt2": golden / "models" / "gpt2", "smollm2": smollm2}
    check("a figure that is off is found",
          bool(differs("a", [1, 2.001], [1, 2])) and bool(differs("a", [1, np.nan], [1, 2])) and
          bool(differs("a", [1], [1, 2])) and not differs("a", [1, 2 + 1e-6], [1, 2]))
    for name, path in models.items():
        if not path:
            skip(f"{name}: sinks and outliers of a real model", "no model (-Dsmollm2)")
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = Model(os.path.abspath(program), path, every[name], [], pathlib.Path(folder))
            check_sinks(name, model, every[name], every)
            check_outliers(name, model, every[name])
    check_backcopy(os.path.abspath(program), golden)
    return finish()


sys.exit(main(*sys.argv[1:]))
