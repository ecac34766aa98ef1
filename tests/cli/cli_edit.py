#!/usr/bin/python3
"""Captures of a changed model: what an edit leaves, what it writes, where its values come from; prints TAP.

cli_edit.py PROGRAM TRACE_EQUAL MODELS

Everything is compared bit for bit with captures of the unchanged model, or with numpy on them, except means (within half a
unit of 2^-30 and a float's rounding) and weights that numpy changes (a few roundings of f32).
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import h5py
import numpy as np

MODELS = ["llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel"]
RECORDS = "default,z,value,residual,attention_output,mlp_output,attention_maps,attention_vectors,logits"
count = 0
failed = 0


def check(ok, name, note=""):
    global count, failed
    count += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if note and not ok:
        print(f"# {note}")


class Runs:
    def __init__(self, program, model, folder):
        self.program = program
        self.model = model
        self.folder = pathlib.Path(folder)
        self.n = 0
        draw = random.Random(7)
        self.prompts = []
        for i, n in enumerate([9, 14, 9, 23, 14, 5, 23]):
            ids = [draw.randrange(3, 90) for _ in range(n)]
            spans = {"a": [2, 4]}
            self.prompts.append({"tokens": ids, "name": f"p{i}", "kind": "xy"[i % 2], "n": i % 3, "spans": spans})
        self.file = self.write("prompts.jsonl", self.prompts)

    def write(self, name, prompts):
        path = self.folder / name
        path.write_text("".join(json.dumps(p) + "\n" for p in prompts))
        return path

    def start(self, *arguments, out=None, prompts=None, records=RECORDS):
        if out is None:
            self.n += 1
            out = self.folder / f"run{self.n}.h5"
        command = [self.program, "capture", "--model", self.model, "--prompts", prompts or self.file, "--out", out,
                   "--record", records, "--attention-dtype", "f32", *arguments]
        return out, subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)

    def capture(self, *edits, more=(), **named):
        arguments = [a for edit in edits for a in ("--edit", edit)]
        out, done = self.start(*arguments, *more, **named)
        if done.returncode != 0:
            raise RuntimeError(f"{edits} {more}: {done.returncode}: {done.stderr}")
        return out

    def verify(self, path):
        done = subprocess.run([self.program, "verify", "--json", str(path)], capture_output=True, text=True, timeout=300)
        return done.returncode, json.loads(done.stdout)


def datasets(path):
    found = {}
    with h5py.File(path) as f:
        def add(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith("provenance") and not name.endswith("edits_json"):
                found[name] = item[()]
        f.visititems(add)
    return found


def differing(a, b):
    a, b = datasets(a), datasets(b)
    def raw(x):
        return x.tobytes() if x.dtype.kind != "O" else repr(x.tolist()).encode()
    return [name for name in sorted(a.keys() | b.keys())
            if name not in a or name not in b or a[name].shape != b[name].shape or raw(a[name]) != raw(b[name])]


def read(path, name):
    with h5py.File(path) as f:
        return f[name][()]


def starts(path):
    with h5py.File(path) as f:
        n = f["n_tokens"][()]
    return np.concatenate([[0], np.cumsum(n)])


def same(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def edits_of(path):
    with h5py.File(path) as f:
        text = f["provenance/edits_json"][()].decode() if "edits_json" in f["provenance"] else "[]"
        vectors = f["attention_vectors/edits_json"][()].decode() if "edits_json" in f["attention_vectors"] else "[]"
    return json.loads(text), json.loads(vectors)


def test_zero(runs, plain, name):
    out = runs.capture("zero:head=1.1")
    z, before = read(out, "activations/z"), read(plain, "activations/z")
    others = [h for h in range(z.shape[2]) if h != 1]
    check(not z[:, 1, 1].any() and before[:, 1, 1].any() and same(z[:, 1][:, others], before[:, 1][:, others]),
          f"{name}: zero writes z of its head alone")
    check(same(read(out, "attention/pattern")[:, :2], read(plain, "attention/pattern")[:, :2]),
          f"{name}: attention up to the edited layer stays")
    check(not same(read(out, "logits/logits"), read(plain, "logits/logits")), f"{name}: logits do not")
    code, report = runs.verify(out)
    check(code == 0 and report["left_out"] > 0 and report["edits"] == ["zero:head=1.1"], f"{name}: verify reads its edits",
          str(report))
    check(edits_of(out) == (["zero:head=1.1"], ["zero:head=1.1"]), f"{name}: edits are in the file", str(edits_of(out)))


def test_neutral(runs, plain, name):
    cases = [["scale:head=0.1:by=1"], ["bias:head=all:by=0"], ["window:head=all:sinks=0:recent=1000"],
             ["scale:head=all:at=pattern:by=1"], ["scale:mlp=all:by=1", "scale:attn=0:by=1"],
             [f"from:head=all:source={plain}", f"from:mlp=1:source={plain}"]]
    for edits in cases:
        out, done = runs.start("--verbose", *[a for e in edits for a in ("--edit", e)])
        different = differing(out, plain) if done.returncode == 0 else [done.stderr]
        applied = [line for line in done.stderr.splitlines() if "rows written or changed" in line]
        n = int(applied[0].split()[2]) if applied else 0
        check(not different and n > 0 and len(edits_of(out)[0]) == len(edits),
              f"{name}: {edits[0].split(':source')[0]} is applied and changes no bit", f"{different}, {n} rows")


# What each makes of a row of layer 0, [i + 1] in double.
def uniform(row):
    return np.full(len(row), 1 / len(row))


def block(row):
    row[2:4] = 0
    return row / max(row.sum(), 1e-300)


def to(row):
    return np.eye(len(row))[1] if len(row) > 1 else 0 * row


def scale(row):
    row[0] *= 0.5
    return row / row.sum()


def scale_plainly(row):
    row[0] *= 2
    return row


ATTENTION = {"uniform:head=0.0": uniform, "block:head=0.0:key=a": block, "to:head=0.0:key=1": to,
             "scale:head=0.0:at=pattern:key=0:by=0.5": scale, "zero:head=0.0:at=pattern": lambda row: 0 * row,
             "scale:head=0.0:at=pattern:key=first:by=2:renormalise=no": scale_plainly}


def test_attention(runs, plain, name):
    pattern = read(plain, "attention/pattern")
    first = starts(plain)
    for edit, expect in ATTENTION.items():
        out = runs.capture(edit)
        found, sums, worst = read(out, "attention/pattern"), read(out, "attention_row_sum"), 0.0
        for p in range(len(runs.prompts)):
            for i in range(first[p + 1] - first[p]):
                expected = expect(pattern[p, 0, 0, i, :i + 1].astype(np.float64))
                worst = max(worst, np.abs(found[p, 0, 0, i, :i + 1] - expected).max())
                worst = max(worst, abs(sums[first[p] + i, 0, 0] - expected.sum()))
        check(worst < 2e-6, f"{name}: maps and sums under {edit}", f"{worst:g}")
        check(same(found[:, 0, 1:], pattern[:, 0, 1:]), f"{name}: other heads under {edit}")
        if expect is to:
            check(read(out, "attention_argmax")[first[0], 0, 0] == -1 and read(out, "attention_entropy")[first[0], 0, 0] == 0,
                  f"{name}: an empty row has argmax -1 and entropy 0")
        code, report = runs.verify(out)
        check(code == 0, f"{name}: verify holds under {edit}", str(report["message"]))
    # The same maps from vectors alone.
    edits = ["uniform:head=0.0", "block:head=0.1:key=a", "to:head=1.0:key=1", "scale:head=1.1:at=pattern:key=0:by=0.5",
             "window:head=all:sinks=1:recent=7", "zero:head=1.1:rows=3-5"]
    same_maps(runs, edits, f"{name}: maps under edits are rebuilt with the same bits")
    same_maps(runs, ["zero:head=0.1", "zero:mlp=0"], f"{name}: maps are rebuilt where edits leave attention alone")


def same_maps(runs, edits, title):
    arrays = []
    for record in ["attention_maps", "attention_vectors"]:
        path = runs.capture(*edits, records=record)
        done = subprocess.run([runs.program, "rollout", "--json", "--reduce", "mean", "--raw", str(path)],
                              capture_output=True, text=True, timeout=300)
        arrays.append(json.loads(done.stdout)["arrays"]["rollout"]["values"] if done.returncode == 0 else done.stderr)
    check(isinstance(arrays[0], list) and arrays[0] == arrays[1], title, str(arrays)[:300])


def test_means(runs, plain, name):
    z, first = read(plain, "activations/z"), starts(plain)
    def close(a, b):
        return np.all(np.abs(a - b) <= 2.0 ** -31 + np.abs(b) * 2.0 ** -23)
    for layer, by, title in [(0, None, "all prompts"), (0, "kind", "groups by text"), (0, "n", "groups by number")]:
        more = ["--means-by", by] if by else []
        out = runs.capture(f"mean:head={layer}.1", more=more)
        found, ok = read(out, "activations/z"), True
        for p, prompt in enumerate(runs.prompts):
            rows = [q for q, other in enumerate(runs.prompts) if by is None or other[by] == prompt[by]]
            mean = np.concatenate([z[first[q]:first[q + 1], layer, 1] for q in rows]).astype(np.float64).mean(axis=0)
            ok = ok and close(found[first[p]:first[p + 1], layer, 1].astype(np.float64), mean)
        check(ok, f"{name}: mean over {title}")
        again = runs.capture(f"mean:head={layer}.1:source={plain}", more=more)
        check(not differing(out, again), f"{name}: the same bits from a capture, {title}")
    out = runs.capture("position_mean:mlp=0")
    mlp, found, ok = read(plain, "activations/mlp_output"), read(out, "activations/mlp_output"), True
    for p in range(len(runs.prompts)):
        for i in range(first[p + 1] - first[p]):
            rows = [mlp[first[q] + i, 0] for q in range(len(runs.prompts)) if i < first[q + 1] - first[q]]
            ok = ok and close(found[first[p] + i, 0].astype(np.float64), np.mean(np.float64(rows), axis=0))
    check(ok, f"{name}: position_mean at each position")
    check(not differing(out, runs.capture(f"position_mean:mlp=0:source={plain}")), f"{name}: the same from a capture")
    out = runs.capture("mean:head=0.1:group=y", more=["--means-by", "kind"])
    mean = np.concatenate([z[first[q]:first[q + 1], 0, 1] for q in (1, 3, 5)]).astype(np.float64).mean(axis=0)
    check(close(read(out, "activations/z")[:, 0, 1].astype(np.float64), mean), f"{name}: group= picks a group")
    for by in (None, "kind"):
        more = ["--means-by", by] if by else []
        kept = runs.capture(more=[*more, "--means-per-position"], records="means")
        narrow = runs.capture(more=[*more, "--means-per-position"], records="means:0.1")
        for edit in ["mean:head=0.1", "mean:attn=1", "position_mean:mlp=0", "position_mean:head=0.1",
                     "mean:channel=3:layer=0:site=resid_post"]:
            out = runs.capture(edit, more=more)
            sources = [kept, narrow] if "head=" in edit else [kept]
            check(not any(differing(out, runs.capture(f"{edit}:source={source}")) for source in sources),
                  f"{name}: the same bits from means, {edit} by {by}")
    narrow = runs.capture(records="z:0.1")
    out = runs.capture("mean:head=0.1")
    check(not differing(out, runs.capture(f"mean:head=0.1:source={narrow}")), f"{name}: from a capture of one head")


def splitmix(seed, n):
    mask = (1 << 64) - 1
    x = (seed + (n + 1) * 0x9e3779b97f4a7c15) & mask
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & mask
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & mask
    return x ^ x >> 31


def test_others(runs, plain, name):
    z, first = read(plain, "activations/z"), starts(plain)
    file = runs.write("short.jsonl", runs.prompts[:3] + [{**runs.prompts[4], "name": "q"}, {**runs.prompts[6], "name": "r", "tokens": runs.prompts[6]["tokens"][:14]}])
    short = runs.capture(prompts=file)
    zs, fs = read(short, "activations/z"), starts(short)
    lengths = fs[1:] - fs[:-1]
    out = runs.capture("resample:head=0.1:seed=5", prompts=file)
    found, ok = read(out, "activations/z"), True
    for p, n in enumerate(lengths):
        others = [q for q in range(len(lengths)) if q != p and lengths[q] >= n]
        q = others[splitmix(5, p) * len(others) >> 64]
        ok = ok and same(found[fs[p]:fs[p + 1], 0, 1], zs[fs[q]:fs[q] + n, 0, 1])
    check(ok, f"{name}: resample takes the prompt that the generator draws")
    # Counterparts are text, tokenised like the prompt.
    pairs = [{"text": "ab cd ef", "counterpart": "ba dc fe"}, {"text": "abcabc", "counterpart": "cbacba"}]
    file = runs.write("pairs.jsonl", pairs)
    clean = runs.capture(prompts=file)
    other = runs.capture(prompts=runs.write("turned.jsonl", [{"text": p["counterpart"]} for p in pairs]))
    if same(starts(clean), starts(other)):
        out = runs.capture("from:head=0.1", "from:channel=3:layer=1:site=resid_pre", prompts=file)
        check(same(read(out, "activations/z")[:, 0, 1], read(other, "activations/z")[:, 0, 1]) and
              same(read(out, "activations/z")[:, 0, 0], read(clean, "activations/z")[:, 0, 0]),
              f"{name}: from takes z of the counterpart")
        whole = runs.capture("from:attn=all", "from:mlp=all", "from:channel=0:layer=0:site=resid_pre",
                             *[f"from:channel={c}:layer=0:site=resid_pre" for c in range(1, 4)], prompts=file)
        check(same(read(whole, "activations/mlp_output"), read(other, "activations/mlp_output")),
              f"{name}: from takes outputs of the counterpart")
    else:
        check(False, f"{name}: pairs of equal length", str((starts(clean), starts(other))))


def test_decode(runs, plain, name):
    more = ["--generate", "6"]
    records = "default,z,decode_attention,decode_top"
    plain = runs.capture(more=more, records=records)
    out = runs.capture("zero:head=1.1:rows=decode", "uniform:head=0.0:rows=decode", more=more, records=records)
    with h5py.File(out) as f:
        n, n_prompt = f["n_tokens"][()], f["n_prompt_tokens"][()]
        step_pattern, positions = f["decode/pattern"][()], f["decode/position"][()]
    first, z, before = np.concatenate([[0], np.cumsum(n)]), read(out, "activations/z"), read(plain, "activations/z")
    ok, ahead = True, starts(plain)
    for p in range(len(n)):
        at = first[p] + n_prompt[p] - 1
        ok = ok and not z[at:first[p + 1], 1, 1].any() and z[at - 1, 1, 1].any()
        ok = ok and same(z[first[p]:at, 1], before[ahead[p]:ahead[p] + n_prompt[p] - 1, 1])
    check(ok, f"{name}: rows=decode writes from the last token of the prompt on")
    worst = max(np.abs(step_pattern[s, 0, 0, :q + 1].astype(np.float64) - 1 / (q + 1)).max() for s, q in enumerate(positions))
    check(worst < 1e-6, f"{name}: attention of generated tokens is changed", f"{worst:g}")
    neutral = runs.capture("scale:head=all:by=1", "bias:head=all:by=0", more=more, records=records)
    check(not differing(neutral, plain), f"{name}: neutral edits leave what is generated")


def test_protocol(runs, trace_equal, name):
    edits = ["--edit", "mean:head=0.1", "--edit", "zero:head=1.1", "--edit", "resample:head=0.1:seed=3"]
    more = ["--commit-every", "1"]
    whole, done = runs.start(*edits, *more)
    check(done.returncode == 0, f"{name}: a run to compare with", done.stderr)
    equal = lambda path: subprocess.run([trace_equal, str(whole), str(path)], capture_output=True, text=True)
    for point in ["part-renamed:2", "journalled:4", "part-built:6", "merge-written:1"]:
        out, done = runs.start(*edits, *more, "--fault", point)
        killed = done.returncode
        if point.startswith("part-renamed"):
            other = runs.start("--edit", "zero:head=1.0", *more, out=out)[1]
            check(other.returncode == 5 and "edits" in other.stderr, f"{name}: a run goes on with its own edits only",
                  other.stderr)
        done = runs.start(*edits, *more, out=out)[1]
        result = equal(out)
        check(killed != 0 and done.returncode == 0 and result.returncode == 0, f"{name}: killed at {point}, continued, equal",
              f"{killed} {done.stderr} {result.stderr}")
    out = runs.folder / "shards.h5"
    codes = [runs.start(*edits, *more, "--shard", f"{i}/3", out=out)[1].returncode for i in (2, 0, 1)]
    merged = subprocess.run([runs.program, "merge", f"{out}.parts", "--out", str(out)], capture_output=True, text=True)
    result = equal(out)
    check(codes == [0, 0, 0] and merged.returncode == 0 and result.returncode == 0, f"{name}: shards merge to the same file",
          f"{codes} {merged.stderr} {result.stderr}")
    one = runs.start(*edits, *more, "--threads", "1")[0]
    check(equal(one).returncode == 0, f"{name}: the same file by one thread")


def main():
    program, trace_equal, models = sys.argv[1:4]
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            runs = Runs(program, pathlib.Path(models) / name, folder)
            plain = runs.capture()
            for test in [test_zero, test_neutral, test_attention, test_means, test_others, test_decode]:
                try:
                    test(runs, plain, name)
                except (RuntimeError, KeyError, IndexError, ValueError) as error:
                    check(False, f"{name}: {test.__name__}", repr(error))
            if name == MODELS[0]:
                test_protocol(runs, trace_equal, name)
    print(f"1..{count}")
    sys.exit(failed != 0)


main()
