#!/usr/bin/python3
"""`capture --edit` against golden/edits/*.safetensors, made by hooks on transformers in true float64; prints TAP.

test_golden_edits.py PROGRAM GOLDEN_FOLDER [SMOLLM2]: every case of every file. A file says which edits, options and prompts
(golden/edits/README.md). Ours may be 3 times as far from float64 as the same hooks are in float32, and at least 3 roundings
(2^-23, a float32 result of about 1). Generated tokens must be the same.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

FACTOR = 3.0
ROUNDING = 2.0**-23
REAL = "smollm2"


def read_golden(path):
    """({name: array}, metadata) of a safetensors file."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(size)), file.read()
    kinds = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}
    metadata = header.pop("__metadata__")
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }, metadata


def capture(program, words):
    command = [program, "capture", "--threads", "1", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr.strip()}"


def found_site(file, case, site, prompt, n):
    """What the golden holds of a prompt, from the capture."""
    first = int(file["token_start"][prompt])
    layers = case["layers"]
    if site == "token_logprob":
        return file["token_logprob"][first + 1 : first + n]
    if site == "residual":
        return file["activations/residual"][first + n - 1, -1]
    if site == "z":
        return file["activations/z"][first + n - 1][layers]
    if site == "entropy":
        rows = file["attention_entropy"][first : first + n][:, layers].transpose(1, 2, 0)
        return rows if n <= 7 else rows[:, :, -1]
    if case["generate"]:
        mine = np.flatnonzero(file["decode/prompt"][:] == prompt)
        row = file["decode/pattern"][mine[-1]][layers][:, :, : n - 1]
        return np.pad(row, ((0, 0), (0, 0), (0, 1)))  # the key of the last token, that this row does not see
    maps = file["attention/pattern"][prompt][layers][:, :, :n, :n]
    return maps if n <= 7 else maps[:, :, -1:]


def compare_site(errors, site, expected, found, bound):
    """The error as a share of what float32 hooks have."""
    width = {"residual": -1, "z": (found.shape[0], -1)}.get(site)
    if width is not None:
        expected, found = expected.reshape(width), found.reshape(width)
    else:
        expected, found = expected.ravel(), found.ravel()
    assert np.isfinite(found).all(), f"{site}: not finite"
    as_site = {"z": "final", "residual": "final", "entropy": "token_logprob"}
    error = errors.error(as_site.get(site, site), np.atleast_1d(expected), np.atleast_1d(found))
    ratio = error / max(bound, ROUNDING)
    assert ratio <= FACTOR, f"{site}: error {error:.1e}, float32 has {bound:.1e}"
    return ratio


def compare(errors, path, golden, case):
    """The largest ratio of a capture; raises where one is too large."""
    worst = 0
    with h5py.File(path) as file:
        n_tokens = file["n_tokens"][:].tolist()
        for prompt, generated in enumerate(case["generated"]):
            first = int(file["token_start"][prompt])
            ids = file["token_id"][first : first + n_tokens[prompt]].tolist()
            assert ids[len(ids) - len(generated) :] == generated, f"expected {generated}, generated {ids}"
        assert n_tokens == case["n_tokens"], f"expected {case['n_tokens']} tokens, found {n_tokens}"
        for site, bound in zip(case["sites"], golden[f"{case['name']}.error"]):
            values, at = golden[f"{case['name']}.{site}"], 0
            for prompt, n in enumerate(n_tokens):
                found = np.asarray(found_site(file, case, site, prompt, n), np.float64)
                expected = values[at : at + found.size].astype(np.float64)
                at += found.size
                worst = max(worst, compare_site(errors, site, expected, found, bound))
            assert at == len(values), f"{site}: expected {len(values)} values, compared {at}"
    return worst


def run_case(errors, program, folder, model, golden, case):
    prompts = os.path.join(folder, case["prompts"] + ".jsonl")
    stem = os.path.join(folder, case["name"])
    hash_of = "full" if case["before"] else "none"  # a source must be of the same model
    common = ["--model-hash", hash_of, "--model", model, "--prompts", prompts, *case["options"]]
    every = [case["specs"], *case["also"]]
    if any("{capture}" in spec for specs in every for spec in specs):
        capture(program, ["--model", model, "--prompts", prompts, "--out", stem + ".before.h5", *case["before"]])
    records = ["--record", "z,residual,loss"]
    if "pattern" in case["sites"]:
        maps = "decode_attention" if case["generate"] else "attention,attention_maps"
        records += ["--record", maps, "--attention-dtype", "f32"]
    if case["generate"]:
        records += ["--generate", str(case["generate"])]
    worst = 0
    for i, specs in enumerate(every):
        out = f"{stem}.{i}.h5"
        edits = [w.replace("{capture}", stem + ".before.h5") for spec in specs for w in ("--edit", spec)]
        capture(program, [*common, *records, *edits, "--out", out])
        worst = max(worst, compare(errors, out, golden, case))
        os.remove(out)
    return worst


def check_the_comparison(errors, golden, case):
    """A row that is off by ten times what is allowed must be seen, and one that is not must pass."""
    site, bound = case["sites"][0], golden[f"{case['name']}.error"][0]
    values = golden[f"{case['name']}.{site}"]
    assert compare_site(errors, site, values, values + bound, bound) <= FACTOR
    try:
        compare_site(errors, site, values, values + 10 * FACTOR * bound, bound)
    except AssertionError:
        return
    raise AssertionError("ten times what is allowed was accepted")


def attempt(work, *args):
    try:
        return None, work(*args)
    except (AssertionError, KeyError, OSError, subprocess.TimeoutExpired) as why:
        return f"{type(why).__name__}: {why}".replace("\n", " "), None


def main():
    program, folder, smollm2 = sys.argv[1], sys.argv[2], (sys.argv + [""])[3]
    sys.path.insert(0, folder)
    import errors

    only = sys.argv[4:]
    names = sorted(n[: -len(".safetensors")] for n in os.listdir(os.path.join(folder, "edits"))
                   if n.endswith(".safetensors"))  # fmt: skip
    jobs, n_done = [], 0
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name in names:
            golden, metadata = read_golden(os.path.join(folder, "edits", name + ".safetensors"))
            if "cases" not in metadata:
                continue  # of test_golden_sweep.py
            cases, files = json.loads(metadata["cases"]), json.loads(metadata["prompts"])
            jobs.append((f"{name}: the comparison can fail", pool.submit(attempt, check_the_comparison, errors, golden, cases[0])))
            at = os.path.join(temporary, name)
            os.mkdir(at)
            for file, lines in files.items():
                with open(os.path.join(at, file + ".jsonl"), "w", encoding="utf-8") as out:
                    out.writelines(json.dumps(line) + "\n" for line in lines)
            model = smollm2 if name == REAL else os.path.join(folder, "models", name)
            for case in cases:
                if only and not any(word in f"{name}: {case['name']}" for word in only):
                    continue
                skip = "" if model else " # SKIP no SmolLM2 (meson option smollm2)"
                future = None if skip else pool.submit(attempt, run_case, errors, program, at, model, golden, case)
                jobs.append((f"{name}: {case['name']}{skip}", future))
        print(f"1..{len(jobs)}")
        for i, (title, future) in enumerate(jobs, 1):
            wrong, worst = future.result() if future else (None, None)
            print(f"{'not ok' if wrong else 'ok'} {i} - {title}")
            if wrong:
                print(f"# {wrong}")
            elif worst is not None:
                print(f"# {worst:.2f} of what float32 hooks are off by")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
