#!/usr/bin/python3
"""From needles to retrieval heads with the real binary on SmolLM2, against the reference script done again in torch.

Usage: cli_retrieval.py HEADWATER GOLDEN_FOLDER [SMOLLM2.gguf]. Prints TAP. The golden is analysis/retrieval.json
(analysis/retrieval.py): prompt ids, emitted tokens, the strongest key of every head in every step, and trial scores, all
from a float64 run of transformers.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

n_tests = 0


def check(claim, holds, detail=""):
    global n_tests
    n_tests += 1
    print(f"{'ok' if holds else 'not ok'} {n_tests} - {claim}" + (f"\n# {detail}" if not holds else ""))


def run(*args, code=0, folder=None):
    done = subprocess.run([HEADWATER, *args], capture_output=True, text=True, timeout=280, cwd=folder)
    if done.returncode != code:
        print(f"Bail out! headwater {' '.join(args[:2])}: exit {done.returncode}: {done.stderr[:300]}")
        sys.exit(1)
    return done.stdout


def keys_of(trial, n_layers, n_heads):
    rows = [[int(row[i : i + 3], 16) for i in range(0, len(row), 3)] for row in trial["keys"]]
    return np.array(rows).reshape(len(rows), n_layers, n_heads)


def check_prompts(folder, golden):
    """Trials of the golden among those that the command makes."""
    out = folder / "all.jsonl"
    run("prompts", "needle", "--model", MODEL, "--lengths", "400", "--depths", "3", "--template",
        golden["template"].replace("\n", "\\n"), "--out", str(out), "--quiet")
    made = {o["name"]: o for o in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    check("three needles, one length, three depths", len(made) == 9, str(list(made)))
    chosen = [made.get(t["name"], {}) for t in golden["trials"]]
    for key in ("text", "answer", "answer_tokens", "length", "depth"):
        check(f"the trials' {key} is the script's", [o.get(key) for o in chosen] == [t[key] for t in golden["trials"]])
    # The script looks for 90 % of a set of ids: its window may begin as many tokens early as ids are missing or repeated.
    spans = [(o["spans"]["needle"], t["needle"]) for o, t in zip(chosen, golden["trials"])]
    early = [len(t["answer_tokens"]) - int(np.ceil(.9 * len(set(t["answer_tokens"])))) for t in golden["trials"]]
    check("the window that the script finds is the span of the answer, or begins a little before it",
          all(0 <= s[0] - f[0] <= e for (s, f), e in zip(spans, early)), f"{spans} {early}")
    path = folder / "needle.jsonl"
    path.write_text("".join(json.dumps(o) + "\n" for o in chosen), encoding="utf-8")
    return path


def check_capture(path, golden):
    """Returns the trials in which every head chose as the golden's, {index: heads that may differ}."""
    with h5py.File(path) as f:
        start, n_prompt = f["token_start"][:], f["n_prompt_tokens"][:]
        ids, of = f["token_id"][:], f["decode/prompt"][:]
        may_differ = {}
        for i, trial in enumerate(golden["trials"]):
            prompt = ids[start[i] : start[i] + n_prompt[i]].tolist()
            check(f"{trial['name']}: the prompt's ids", prompt == trial["prompt"])
            steps = np.flatnonzero(of == i)
            outputs = f["decode/output"][steps].tolist()
            check(f"{trial['name']}: the tokens emitted", outputs == trial["outputs"], f"{outputs} {trial['outputs']}")
            check(f"{trial['name']}: step 0 is the row of the last prompt token",
                  f["decode/position"][steps[0]] == n_prompt[i] - 1 and f["decode/input"][steps[0]] == prompt[-1])
            keys = f["decode/top_key"][steps]
            want = keys_of(trial, golden["n_layers"], golden["n_heads"])
            close = {tuple(c) for c in trial["close"]}
            differ = {tuple(c) for c in np.argwhere(keys != want).tolist()} if keys.shape == want.shape else {(0, 0, 0)}
            check(f"{trial['name']}: the strongest key of every head in every step", differ <= close,
                  f"{len(differ)} differ, {sorted(differ - close)[:5]}")
            may_differ[i] = {c[1:] for c in differ}
    return may_differ


def check_scores(path, golden, may_differ):
    found = json.loads(run("retrieval", "--json", str(path), "--out", str(path) + ".r.h5", "--quiet"))
    score = np.array([[[np.nan if s is None else s for s in row] for row in layer]
                      for layer in found["arrays"]["trial_score"]["values"]], dtype=float)
    for i, trial in enumerate(golden["trials"]):
        rouge = found["arrays"]["trial_rouge"]["values"][i]
        is_kept = trial["rouge"] > 50
        check(f"{trial['name']}: ROUGE and response", (abs(rouge - trial["rouge"]) < 1e-9
              and found["trials"][i]["response"] == trial["response"]), f"{rouge} {trial['rouge']}")
        check(f"{trial['name']}: kept or not", (found["trials"][i]["state"] == "kept") == is_kept)
        want = np.zeros(score.shape[1:])
        for head, value in trial["score"].items():
            want[tuple(map(int, head.split("-")))] = value
        # A hit more or less where two keys were as good as equal; otherwise the same to rounding.
        wrong = [c for c in np.argwhere(~(abs(score[i] - want) < 1e-12)).tolist() if tuple(c) not in may_differ[i]]
        check(f"{trial['name']}: scores of all heads", (not wrong) if is_kept else bool(np.isnan(score[i]).all()), str(wrong[:5]))
    kept = [i for i, t in enumerate(golden["trials"]) if t["rouge"] > 50]
    hits = found["arrays"]["head_score"]["values"][0]
    check("head scores are means over kept trials", np.allclose(hits, score[kept].mean(0), atol=1e-12, rtol=0))
    se = score[kept].std(0, ddof=1) / len(kept) ** 0.5
    check("standard errors", np.allclose(found["arrays"]["head_score_se"]["values"][0], se, atol=1e-12, rtol=0))
    heads = [(h["score"], h["layer"], h["head"]) for h in found["heads"]]
    check("heads lists those of at least .1, the largest first",
          len(heads) == (score[kept].mean(0) >= .1).sum() and heads == sorted(heads, key=lambda h: (-h[0], h[1:])), str(heads))
    with h5py.File(str(path) + ".r.h5") as f:
        check("--out holds the same", np.allclose(f["trial_score"][:], score, rtol=0, atol=1e-12, equal_nan=True)
              and len(f["hit_step"]) == int(f["n_hits"][:].sum()) and f["n_kept"][()] == len(kept), str(list(f)))
        weights = f["hit_weight"][:]
        check("weights of hits are attention", bool(((weights > 0) & (weights <= 1)).all()))
    return score, kept


def check_published(folder, path, score, kept):
    published = json.loads(run("retrieval", "--format", "published", str(path)))
    same = all(published[f"{l}-{h}"] == score[kept, l, h].tolist() for l, h in np.ndindex(score.shape[1:]))
    check("the published format holds every head's kept trials", same and len(published) == score[0].size)
    # --heads @FILE reads both: record only what the list names.
    lists = {"json": run("retrieval", "--json", str(path)), "published": json.dumps({
        k: v for k, v in published.items() if sum(v) / len(v) >= .1})}
    sets = []
    for name, text in lists.items():
        file = folder / f"{name}.json"
        file.write_text(text, encoding="utf-8")
        out = folder / f"{name}.h5"
        run("capture", "--model", MODEL, "--text", "a", "--record", f"attention:@{file}", "--out", str(out), "--quiet")
        with h5py.File(out) as f:
            mask = f["recorded"][:] if "recorded" in f else np.ones((len(f["layer"]), len(f["head"])))
            sets.append({(int(f["layer"][l]), int(f["head"][h])) for l, h in np.argwhere(mask == 1)})
    mean = score[kept].mean(0)
    check("both lists select the retrieval heads", sets[0] == sets[1] == {tuple(c) for c in np.argwhere(mean >= .1).tolist()}, str(sets))


def check_text(path, score, kept):
    text = run("retrieval", "--trials", path.name, folder=path.parent)
    layer, head = np.unravel_index(score[kept].mean(0).argmax(), score.shape[1:])
    lines = text.splitlines()
    check("the table begins with the strongest head", any(line.split()[:1] == [f"{layer}.{head}"] for line in lines[6:7]), text[:600])
    # A pipe gets whole responses; without them the text fits a terminal.
    narrow = run("retrieval", path.name, folder=path.parent).splitlines()
    check("no line is wider than 80 columns", max(map(len, narrow)) <= 80, max(narrow, key=len))
    none = subprocess.run([HEADWATER, "retrieval", "--min-rouge", "100", str(path)], capture_output=True, text=True, timeout=60)
    check("no trial kept: says so, with the ROUGE of each", none.returncode == 0 and "no trial was kept" in none.stderr
          and "0 kept" in none.stdout and "100.0" in none.stdout, none.stdout + none.stderr)
    one, two = run("retrieval", "--json", str(path)), json.loads(
        run("retrieval", "--json", "--out", str(path) + ".two.h5", "--quiet", str(path), str(path)))
    check("several captures: a document each", len(two["runs"]) == 2 and two["runs"][0]["heads"] == json.loads(one)["heads"])
    with h5py.File(str(path) + ".two.h5") as f:
        check("several captures: an axis run in the file", f["head_score"].shape[0] == 2 and list(f["n_kept"]) == [len(kept)] * 2)


def main():
    golden = json.loads((Path(sys.argv[2]) / "analysis" / "retrieval.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = check_prompts(folder, golden)
        path = folder / "run.h5"
        run("capture", "--model", MODEL, "--prompts", str(prompts), "--out", str(path), "--record", "decode_top",
            "--generate", "50", "--stop", "\\n", "--quiet")
        score, kept = check_scores(path, golden, check_capture(path, golden))
        check_published(folder, path, score, kept)
        check_text(path, score, kept)
    print(f"1..{n_tests}")


if len(sys.argv) < 4 or not sys.argv[3]:
    print("1..0 # SKIP no SmolLM2 (option smollm2)")
    sys.exit(0)
try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"1..0 # SKIP {missing}")
    sys.exit(0)
HEADWATER, MODEL = str(Path(sys.argv[1]).resolve()), sys.argv[3]
main()
