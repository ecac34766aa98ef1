#!/usr/bin/python3
"""`heads` and `induction` against golden/analysis/heads.json, made in numpy from float64 maps; prints TAP.

test_golden_heads.py PROGRAM GOLDEN_FOLDER [SMOLLM2]: captures the golden's tokens, from statistics and from maps.

Tolerance 1e-5: maps of a float32 pass are within 1e-5 of true ones (golden/smollm2.safetensors, error.pattern), and all values
but four are means or shares of map entries, so below it; entropy, distance and sums over rows are as close relative to their
size. What a threshold decides lies between the two stored values; the detector's abs score is rounded to .001 by definition,
so that it may differ by half of that from the unrounded one.
"""
import json
import os
import subprocess
import sys
import tempfile

TOLERANCE = 1e-5
ROUNDED = ("previous_abs", "induction_abs", "duplicate_abs")
UNKNOWN_TO_STATISTICS = ("induction_copies", "induction_mul", "induction_abs", "duplicate_mul", "duplicate_abs")


def run(program, *words):
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{words[0]}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def differs(name, found, expected):
    """What is wrong with one value, or None."""
    if found is None:
        return f"{name} is missing"
    low, high = expected if isinstance(expected, list) else (expected, expected)
    allowed = 5e-4 + TOLERANCE if name in ROUNDED else TOLERANCE * max(1, abs(high))
    if isinstance(expected, list):
        allowed = 1e-8 * abs(high)  # stored with nine digits
    if low - allowed <= found <= high + allowed:
        return None
    return f"{name}: expected {expected}, found {found}"


def compare(document, expected, every, may_lack=()):
    """Largest difference of the values that are compared by tolerance; raises on the first wrong one."""
    names, arrays = document["axes"]["measure"], document["arrays"]["head_score"]["values"]
    largest, n = 0, 0
    for name, values in expected.items():
        found = [x for row in arrays[names.index(name)] for x in row][::every]
        assert len(found) == len(values), f"{name}: expected {len(values)} heads, found {len(found)}"
        for x, y in zip(found, values):
            if x is None and name in may_lack:
                continue
            wrong = differs(name, x, y)
            assert wrong is None, wrong
            n += 1
            if not isinstance(y, list) and name not in ROUNDED:
                largest = max(largest, abs(x - y) / max(1, abs(y)))
    return largest, n


def spans_of(repeat):
    """As `prompts repeat` writes them."""
    if repeat["first"] == 0:
        return {}
    n, ends = repeat["period"], range(repeat["period"], len(repeat["tokens"]) - 1, repeat["period"])
    return {"repeat_start": [1, 2]} | {f"repeat_end_{i // n}": [i, i + 1] for i in ends}


def capture(program, folder, model, line, *words):
    with open(os.path.join(folder, "p.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    out = os.path.join(folder, "run.h5")
    run(program, "capture", "--quiet", "--overwrite", "--model", model, "--prompts", os.path.join(folder, "p.jsonl"),
        "--record", "default", "--record", "attention_vectors", "--out", out, *words)
    return out


def check_text(program, folder, model, golden):
    text = golden["text"]
    out = capture(program, folder, model, {"tokens": text["tokens"]})
    layers = ",".join(map(str, text["js_layers"]))
    document = json.loads(run(program, "heads", "--json", out))
    largest, n = compare(document, text["heads"], golden["every"])
    document = json.loads(run(program, "heads", "--json", "--quiet", "--js", "--heads", layers, out))
    matrix = document["arrays"]["js_distance"]["values"]
    found = [x for u, row in enumerate(matrix) for x in row[u + 1 :]]
    assert len(found) == len(text["js"]), f"expected {len(text['js'])} pairs, found {len(found)}"
    n_rows = len(text["tokens"])
    worst = max(abs(x - y) for x, y in zip(found, text["js"])) / n_rows
    assert worst <= TOLERANCE, f"Jensen-Shannon distances differ by {worst} a row"
    return f"{n} values within {largest:.1e}, {len(found)} distances within {worst:.1e} a row"


def check_repeat(program, folder, model, golden, repeat):
    line = {"tokens": repeat["tokens"], "repeat": {k: repeat[k] for k in ("period", "first")}, "spans": spans_of(repeat)}
    out = capture(program, folder, model, line, "--offsets", str(len(repeat["tokens"])))
    said = []
    for source in ("statistics", "maps"):
        document = json.loads(run(program, "induction", "--json", "--from", source, out))
        may_lack = UNKNOWN_TO_STATISTICS if source == "statistics" else ()
        largest, n = compare(document, repeat["heads"], golden["every"], may_lack)
        said.append(f"{document['source']}: {n} values within {largest:.1e}")
    return "; ".join(said)


def check_the_comparison(document):
    """It must see a value that is off by ten times the tolerance, and one that is not there."""
    golden = document["gpt2"]["text"]["heads"]
    names = list(golden)
    n_layers = 2
    made = {"axes": {"measure": names}, "arrays": {"head_score": {"values": []}}}
    for name in names:
        flat = [x[0] if isinstance(x, list) else x for x in golden[name]]
        width = len(flat) // n_layers
        made["arrays"]["head_score"]["values"].append([flat[:width], flat[width:]])
    compare(made, golden, 1)
    for spoiled in (made["arrays"]["head_score"]["values"][0][0][0] + 1e-4, None):
        made["arrays"]["head_score"]["values"][0][0][0] = spoiled
        try:
            compare(made, golden, 1)
        except AssertionError:
            continue
        raise AssertionError(f"{spoiled} was accepted")
    return "both seen"


def main():
    program, folder, smollm2 = sys.argv[1], sys.argv[2], (sys.argv + [""])[3]
    with open(os.path.join(folder, "analysis", "heads.json"), encoding="utf-8") as file:
        document = json.load(file)
    models = {"gpt2": os.path.join(folder, "models", "gpt2"), "smollm2": smollm2}
    checks = [("the comparison can fail", lambda _: check_the_comparison(document), "x")]
    for name, model in models.items():
        golden = document[name]
        checks.append((f"{name}: heads", lambda f, m=model, g=golden: check_text(program, f, m, g), model))
        for repeat in golden["repeats"]:
            title = f"{name}: induction, period {repeat['period']}, {repeat['first']} in front"
            checks.append(
                (title, lambda f, m=model, g=golden, r=repeat: check_repeat(program, f, m, g, r), model))
    print(f"1..{len(checks)}")
    for i, (name, check, model) in enumerate(checks, 1):
        if not model:
            print(f"ok {i} - {name} # SKIP no SmolLM2 (meson option smollm2)")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            try:
                print(f"ok {i} - {name}\n# {check(temporary)}")
            except AssertionError as error:
                print(f"not ok {i} - {name}\n# {error}")


main()
