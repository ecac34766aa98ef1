#!/usr/bin/python3
"""`capture --record means`: equal to the means of the activations in the same file, and of the same bits however a run was cut,
joined or resumed.

Usage: cli_means.py HEADWATER ROOT. Prints TAP.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)

ENVIRONMENT = dict(os.environ, OMP_WAIT_POLICY="passive")
ACTIVATIONS = ["z", "attention_output", "mlp_output", "residual"]
n_tests = 0
n_failed = 0


def check(claim, holds, detail=""):
    global n_tests, n_failed
    n_tests += 1
    n_failed += not holds
    print(f"{'ok' if holds else 'not ok'} {n_tests} - {claim}" + (f"\n# {detail}" if detail and not holds else ""))


class Program:
    def __init__(self, program, model):
        self.program = program
        self.model = model

    def run(self, *arguments):
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    def capture(self, out, prompts, *more, record="means"):
        code, text = self.run("capture", "--quiet", "--model", self.model, "--prompts", prompts, "--out", out, "--record", record, *more)
        check(f"{os.path.basename(out)} is captured", code == 0, text)


def write_prompts(path, lengths, first=0):
    """Prompts of the embedded model's letters; a number, a text and nothing as the value of the key."""
    kinds = ["a", 3, None]
    with open(path, "w", encoding="ascii") as file:
        for i, n in enumerate(lengths, first):
            line = {"text": ("the cat sat on the mat " * 9)[i:i + n]}
            if kinds[i % 3] is not None:
                line["kind"] = kinds[i % 3]
            file.write(json.dumps(line) + "\n")


def same_means(a, b):
    """The names of what differs in /means, bit for bit."""
    with h5py.File(a) as x, h5py.File(b) as y:
        names = set(x["means"]) | set(y["means"])
        return [n for n in sorted(names) if n not in x["means"] or n not in y["means"]
                or x["means"][n].shape != y["means"][n].shape
                or (list(x["means"][n][()]) != list(y["means"][n][()]) if x["means"][n].dtype == object
                    else x["means"][n][()].tobytes() != y["means"][n][()].tobytes())]


def near(got, want, rows):
    """Rows are rounded by 2^-31 each, the mean once more to float32."""
    return np.isnan(got).all() if rows == 0 else bool(
        (abs(got - want) <= 2.0 ** -31 + abs(want) * 2.0 ** -24 + 1e-300).all())


def check_values(path):
    """Against the mean in double of the activations beside them."""
    with h5py.File(path) as file:
        means = file["means"]
        groups = list(means["group"].asstr()[()])
        kinds = [json.loads(text).get("kind") for text in file["prompt_json"].asstr()[()]]
        kinds = ["" if kind is None else str(kind) for kind in kinds]
        check("groups are the values of the key", groups == ["a", "3", ""] and means.attrs["means_by"] == "kind", groups)
        of_prompt = np.array([groups.index(kind) for kind in kinds])[file["activations/token_prompt"][()]]
        position = file["activations/token_position"][()]
        wrong = []
        for name in ACTIVATIONS:
            rows = file["activations"][name][()].astype("f8")
            for g in range(len(groups)):
                chosen = rows[of_prompt == g]
                if len(chosen) != means["count"][g] or not near(means[name][g], chosen.mean(0), len(chosen)):
                    wrong.append((name, g))
                for p in range(means["position"].shape[0]):
                    chosen = rows[(of_prompt == g) & (position == p)]
                    want = chosen.mean(0) if len(chosen) else None
                    got = means["position_" + name][g][:, p]
                    if len(chosen) != means["position_count"][g, p] or not near(got, want, len(chosen)):
                        wrong.append((name, g, p))
        check("means are those of the activations", not wrong, wrong[:8])


def check_partings(program, folder, prompts):
    options = ["--means-by", "kind", "--means-per-position"]
    whole = os.path.join(folder, "whole.h5")
    program.capture(whole, prompts, *options, "--threads", "1", record="means," + ",".join(ACTIVATIONS))
    check_values(whole)
    code, text = program.run("verify", whole)
    check("verify looks at means", code == 0 and "means are sums over counts" in text, text)
    program.capture(os.path.join(folder, "parts.h5"), prompts, *options, "--threads", "2", "--commit-every", "2")
    check("parts and threads change no bit", not same_means(whole, os.path.join(folder, "parts.h5")))
    shards = os.path.join(folder, "shards.h5")
    for shard in range(3):
        program.capture(shards, prompts, *options, "--commit-every", "1", "--shard", f"{shard}/3")
    code, text = program.run("merge", "--quiet", "--virtual", "--out", shards, shards + ".parts")
    check("a master has means of its own", code == 0 and not same_means(whole, shards), text)
    stopped = os.path.join(folder, "stopped.h5")
    command = ["capture", "--quiet", "--model", program.model, "--prompts", prompts, "--out", stopped, "--record", "means",
               *options, "--commit-every", "2"]
    code, text = program.run(*command, "--fault", "part-renamed:3")
    check("a run is killed between parts", code != 0 and os.path.isdir(stopped + ".parts"), text)
    code, text = program.run(*command)
    check("a resumed run has the same bits", code == 0 and not same_means(whole, stopped), text)
    return whole


def check_captures(program, folder, lengths, whole):
    """Captures of some of the prompts each, of other lengths and groups."""
    options = ["--means-by", "kind", "--means-per-position"]
    paths = []
    for name, first, end in (("first", 0, 2), ("second", 2, 6), ("third", 6, len(lengths))):
        prompts = os.path.join(folder, name + ".jsonl")
        paths.append(os.path.join(folder, name + ".h5"))
        write_prompts(prompts, lengths[first:end], first)
        program.capture(paths[-1], prompts, *options)
    joined = os.path.join(folder, "joined.h5")
    code, text = program.run("merge", "--quiet", "--out", joined, *paths)
    check("captures join to the means of all", code == 0 and not same_means(whole, joined), text)
    other = os.path.join(folder, "other.h5")
    program.capture(other, os.path.join(folder, "third.jsonl"), "--means-per-position")
    code, text = program.run("merge", "--out", os.path.join(folder, "none.h5"), paths[0], other)
    check("means by another key do not join", code == 3 and 'has means by "", the first by "kind"' in text, text)


def check_narrowed(program, folder, prompts, whole):
    narrow = os.path.join(folder, "narrow.h5")
    program.capture(narrow, prompts, "--means-by", "kind", record="means:1")
    with h5py.File(whole) as x, h5py.File(narrow) as y:
        check("a layer alone has the same means", list(y["means/layer"][()]) == [1] and "position_z" not in y["means"]
              and x["means/z"][:, 1:2].tobytes() == y["means/z"][()].tobytes()
              and x["means/residual_sum"][:, 1:3].tobytes() == y["means/residual_sum"][()].tobytes())
    with h5py.File(narrow, "r+") as file:
        file["means/z"][0, 0, 0, 0] *= 1.5
    code, text = program.run("verify", narrow)
    check("verify finds a mean that is not its sum", code == 1 and "means/z of group 0" in text, text)


def check_refusals(program, folder, prompts):
    for options, message in ((["--record", "means", "--means-by", "colour"], "--means-by colour: no prompt has that key"),
                             (["--record", "z", "--means-per-position"], "--means-per-position without --record means")):
        code, text = program.run("capture", "--model", program.model, "--prompts", prompts, "--out",
                                 os.path.join(folder, "none.h5"), *options)
        check(message, code == 2 and message in text, text)
    code, text = program.run("capture", "--json", "--estimate", "--model", program.model, "--prompts", prompts, "--record", "means",
                             "--means-by", "kind")
    check("an estimate counts the groups", code == 0 and json.loads(text)["datasets"]["means/z_sum"] == 3 * 3 * 64 * 8, text)


def main():
    program = Program(sys.argv[1], os.path.join(sys.argv[2], "examples", "backcopy", "model"))
    lengths = [3, 9, 21, 1, 14, 30, 8, 17, 2, 11]
    with tempfile.TemporaryDirectory() as folder:
        prompts = os.path.join(folder, "prompts.jsonl")
        write_prompts(prompts, lengths)
        whole = check_partings(program, folder, prompts)
        check_captures(program, folder, lengths, whole)
        check_narrowed(program, folder, prompts, whole)
        check_refusals(program, folder, prompts)
    print(f"1..{n_tests}")
    return 1 if n_failed else 0


sys.exit(main())
