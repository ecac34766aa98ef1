# The figures of `sinks` and `outliers` from their definitions, in numpy, on maps and activations of
# transformers' own classes in float64 (../reference.py): two prompts of SmolLM2 (its own Q4_1
# weights) and two of the tiny gpt2.
#
# Run: sinks_outliers.py SMOLLM2.gguf (torch, transformers 5, gguf). Writes sinks_outliers.json: for
# each model the prompts as token ids, and every figure as nested lists, rounded to 9 digits.
# Counts over thresholds come with `slack`, how many values lie within 2e-5 of the threshold
# (relative): float32 may count them otherwise.
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import tiny  # noqa: E402
from reference import FAMILIES, as_float64, run  # noqa: E402
from transformers import AutoTokenizer, GPT2LMHeadModel  # noqa: E402

EPSILONS = (0.3, 0.5)
KEYS = (0, 5)
LENGTHS = (8, 64, 256)
SHARE, LEAST_ROWS, NEAR = 0.1, 16, 2e-5
SITES = ("pattern", "scores", "query", "key", "value", "value_projected", "residual", "final")


def is_near(values, threshold):
    return np.abs(values - threshold) <= NEAR * threshold


def entropy(p, axis):
    total = p.sum(axis, keepdims=True)
    p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis)


def others(values, is_sink):
    """Mean over the tokens (last axis) that are no sinks and not token 0."""
    chosen = ~is_sink
    chosen[0] = False
    return values[..., chosen].mean(-1)


def down_projections(model):
    family = FAMILIES[model.config.model_type]
    name = "down_proj" if model.config.model_type == "llama" else "c_proj"
    blocks = getattr(getattr(model, family.base), family.blocks)
    return [getattr(getattr(block, family.mlp), name) for block in blocks]


class Prompt:
    """The sites of one prompt: maps [L, H, T, T] and what is computed from them."""

    def __init__(self, model, ids):
        self.neurons = []  # the input of down_proj, L times [T, N]
        hooks = [
            m.register_forward_pre_hook(lambda m, args: self.neurons.append(args[0][0].numpy().copy()))
            for m in down_projections(model)
        ]
        sites = run(model, ids, lambda site, layer, t: t if site in SITES else None)
        for hook in hooks:
            hook.remove()
        self.T = len(ids)
        self.ids = np.array(ids)
        self.maps = sites["pattern"]
        seen = self.T - np.arange(self.T)
        self.sums = self.maps.sum(2)  # columns
        self.alpha = self.sums / seen
        self.residual = sites["residual"]  # [L + 1, T, C]
        self.final = sites["final"][0]
        self.value = np.linalg.norm(sites["value"], axis=-1).transpose(0, 2, 1)  # [L, G, T]
        self.projected = np.linalg.norm(sites["value_projected"], axis=-1).transpose(0, 2, 1)
        self.scores = sites["scores"]  # not masked

    def sinks(self):
        n = max(1, self.T - LEAST_ROWS + 1)
        share = (self.alpha[:, :, :n] > EPSILONS[0]).mean((0, 1))
        out = np.zeros(self.T, bool)
        out[:n] = (share >= SHARE) & (share > 0)
        return out, n

    def gaps(self):
        toy, llm, seen = [], [], []
        for i in range(self.T):
            s = self.scores[:, :, i]
            llm.append(s[..., 0] - s.mean(-1))
            if i >= 1:
                seen.append(s[..., 0] - s[..., 1 : i + 1].mean(-1))
            if i >= 2:
                toy.append(s[..., 0] - s[..., 1:i].mean(-1))
        return [np.mean(x, 0) for x in (toy, llm, seen)]

    def secondary(self, threshold, n_first=2):
        norms = np.linalg.norm(self.residual[1:], axis=-1)
        norms[-1] = np.linalg.norm(self.final, axis=-1)
        first = int(norms[:, :n_first].mean(0).argmax())
        n = norms[:, first]
        d = np.diff(n)
        start = int(d.argmax()) + 1
        end = int(d[start:].argmin()) + start + 1 if start < len(d) else start
        states = self.residual[1:]
        unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
        cosine = (unit @ unit[:, first][..., None])[..., 0]
        inside = np.abs(cosine[start:end])
        over = inside > threshold
        lives = {
            t: [start + int(over[:, t].argmax()), int(over[:, t].sum())]
            for t in range(first + 1, self.T)
            if over[:, t].any()
        }
        slack = int(is_near(inside[:, first + 1 :], threshold).sum())
        window = [start, end] if end > start else [-1, -1]
        return dict(first=first, window=window, lives=sorted(lives.values()), slack=slack)


def sinks_of(prompts, domains, triggers, cosine):
    n_positions = max(p.sinks()[1] for p in prompts)
    rates = np.full((len(EPSILONS), n_positions), np.nan)
    slack = np.zeros_like(rates)
    for e, epsilon in enumerate(EPSILONS):
        for k in range(n_positions):
            chosen = [p.alpha[:, :, k] for p in prompts if k < p.sinks()[1]]
            rates[e, k] = 100 * np.mean([(a > epsilon).mean() for a in chosen])
            slack[e, k] = 100 * np.mean([is_near(a, epsilon).mean() for a in chosen])
    running = np.full((len(EPSILONS), len(LENGTHS)), np.nan)
    running_slack = np.zeros_like(running)
    for i, n in enumerate(LENGTHS):
        means = [p.maps[:, :, :n, 0].mean(2) for p in prompts if p.T >= n]
        for e, epsilon in enumerate(EPSILONS):
            if means:
                running_slack[e, i] = 100 * np.mean([is_near(m, epsilon).mean() for m in means])
                running[e, i] = 100 * np.mean([(m > epsilon).mean() for m in means])
    names = list(dict.fromkeys(domains))
    dormant = {True: [], False: []}
    for name in names:
        chosen = [p for p, d in zip(prompts, domains) if d == name]
        for is_trigger in dormant:
            rows = [np.isin(p.ids, triggers) == is_trigger for p in chosen]
            dormant[is_trigger].append(
                np.mean([p.maps[:, :, r, 0].mean(2) for p, r in zip(chosen, rows)], 0)
            )
    row = [entropy(p.maps, 3) for p in prompts]
    column = [entropy(p.maps, 2) for p in prompts]
    lengths = [np.log(np.arange(1, p.T + 1)) for p in prompts]
    row = [np.where(l > 0, r / np.where(l > 0, l, 1), 0).mean(2) for r, l in zip(row, lengths)]
    column = [
        np.where(l[::-1] > 0, c / np.where(l[::-1] > 0, l[::-1], 1), 0).max(2)
        for c, l in zip(column, lengths)
    ]
    marks = [p.sinks()[0] for p in prompts]
    norms = [np.linalg.norm(p.residual, axis=-1) for p in prompts]
    gaps = np.mean([p.gaps() for p in prompts], 0)
    mean = lambda values: np.mean(list(values), 0)
    return dict(
        sink_rate=rates,
        sink_rate_slack=slack,
        sink_rate_length=running,
        sink_rate_length_slack=running_slack,
        alpha=np.stack([np.stack([p.alpha[:, :, k] for k in KEYS]) for p in prompts]),
        dormancy=np.stack(dormant[False]),
        dormancy_trigger=np.stack(dormant[True]),
        entropy_row=mean(row),
        entropy_column=mean(column),
        logit_gap=gaps,
        drain=mean(p.value[..., 0] / others(p.value, m) for p, m in zip(prompts, marks)),
        value_others=mean(others(p.value, m) for p, m in zip(prompts, marks)),
        drain_projected=mean(
            p.projected[..., 0] / others(p.projected, m) for p, m in zip(prompts, marks)
        ),
        peak=mean(n[:, 0] / others(n, m) for n, m in zip(norms, marks)),
        peak_over_max=mean(n[:, 0] / n[:, 1:].max(1) for n in norms),
        residual_excess=mean(n[:, 0] - n[:, 1:].mean(1) for n in norms),
        sink_positions=[np.flatnonzero(m) for m in marks],
        cosine=cosine,
        secondary=[p.secondary(cosine) for p in prompts],
    )


def lower_median(values):
    return np.sort(np.ravel(values))[(np.size(values) - 1) // 2]


def outliers_of(prompts, least, ratio, mean_ratio, n_rank=8, share=0.1):
    """C1 from the n_rank largest of every state, or all of them where the thresholds are the
    published ones; E1, E3."""
    n_depths, n_layers = len(prompts[0].residual), len(prompts[0].maps)
    top = np.zeros((n_depths, 3))
    figures = {k: np.zeros(n_depths) for k in ("median", "mean", "over_median", "over_mean")}
    counts = {k: np.zeros(n_depths, int) for k in ("massive", "massive_prompts", "outlier_tokens")}
    slack = 0
    joint = []
    for p in prompts:
        tokens = np.zeros((3, p.T), int)
        for d in range(n_depths):
            size = np.abs(p.residual[d])
            order = np.argsort(-size.ravel(), kind="stable")
            median, mean = lower_median(size), size.mean()
            largest = size.ravel()[order[:3]]
            top[d] += largest / len(prompts)
            for name, value in zip(
                figures, (median, mean, largest[0] / median, largest[0] / mean)
            ):
                figures[name][d] += value / len(prompts)
            known = order if least >= 100 and ratio >= 1000 else order[:n_rank]
            values = size.ravel()[known]
            is_massive = (values > least) & (values >= ratio * median)
            counts["massive"][d] += is_massive.sum()
            counts["massive_prompts"][d] += is_massive.any()
            rows = known[is_massive] // size.shape[1]
            tokens[0, np.unique(rows)] += 1
            per_token = size.max(1)
            tokens[1] += per_token > mean_ratio * mean
            counts["outlier_tokens"][d] += (per_token > mean_ratio * mean).sum()
            slack += int(is_near(values, least).sum() + is_near(values / median, ratio).sum())
            slack += int(is_near(per_token / mean, mean_ratio).sum())
        columns = p.sums.mean(1) / p.T
        tokens[2] = (columns >= share).sum(0)
        slack += int(is_near(columns, share).sum())
        joint.append([[int(t), *map(int, tokens[:, t])] for t in range(p.T) if tokens[:, t].any()])
    column = [p.sums.mean(1) / p.T for p in prompts]
    is_key = [c >= share for c in column]
    return dict(
        state_top=top,
        state_median=figures["median"],
        state_mean_abs=figures["mean"],
        median_ratio=figures["over_median"],
        mean_ratio=figures["over_mean"],
        massive_count=counts["massive"],
        massive_prompts=counts["massive_prompts"],
        outlier_tokens=counts["outlier_tokens"],
        joint=joint,
        slack=slack,
        column_sum_first=np.mean([np.sort(c, 1)[:, -1] for c in column], 0),
        column_sum_second=np.mean([np.sort(c, 1)[:, -2] for c in column], 0),
        column_sum_median=np.mean(
            [[lower_median(row) for row in c] for c in column], 0
        ),
        attention_outlier_keys=np.mean([k.sum(1) for k in is_key], 0),
        attention_outlier_share=np.mean(
            [
                (p.sums * k[:, None]).sum(2) / p.sums.sum(2)
                for p, k in zip(prompts, is_key)
            ],
            0,
        ),
        n_layers=n_layers,
    )


def neurons_of(prompts):
    """E2: three largest and lower median of |x| by layer, and the maximum of each neuron over the
    tokens; of the maxima their mean by layer and the two largest with their neurons."""
    n_layers = len(prompts[0].neurons)
    sizes = [[np.abs(x) for x in p.neurons] for p in prompts]
    maxima = np.mean([[x.max(0) for x in of] for of in sizes], 0)
    best = np.argsort(-maxima, 1, kind="stable")[:, :2]
    return dict(
        mlp_top=np.mean([[np.sort(x, None)[:-4:-1] for x in of] for of in sizes], 0),
        mlp_median=np.mean([[lower_median(x) for x in of] for of in sizes], 0),
        mlp_median_ratio=np.mean([[x.max() / lower_median(x) for x in of] for of in sizes], 0),
        first_neurons=best,
        first_maxima=[maxima[l, best[l]] for l in range(n_layers)],
        mean_maximum=maxima.mean(1),
    )


def ratios(w):
    w = np.abs(w.double().numpy())
    return [w.max(1) / (w.mean(1) + 1e-8), w.max(0) / (w.mean(0) + 1e-8)]


def weights_of(model):
    """[n_layers][7] row and column ratios of q k v o gate up down, W as [out, in]."""
    family = FAMILIES[model.config.model_type]
    rows, columns, medians = [], [], []
    for block in getattr(getattr(model, family.base), family.blocks):
        attention, mlp = getattr(block, family.attention), getattr(block, family.mlp)
        if model.config.model_type == "llama":
            modules = [getattr(attention, f"{x}_proj").weight for x in "qkvo"]
            modules += [getattr(mlp, f"{x}_proj").weight for x in ("gate", "up", "down")]
        else:  # Conv1D keeps [in, out]; q, k and v are one matrix
            modules = list(attention.c_attn.weight.T.chunk(3)) + [attention.c_proj.weight.T]
            modules += [None, mlp.c_fc.weight.T, mlp.c_proj.weight.T]
        found = [None if w is None else ratios(w.detach()) for w in modules]
        rows.append([math.nan if f is None else f[0].max() for f in found])
        columns.append([math.nan if f is None else f[1].max() for f in found])
        medians.append(lower_median(found[-1][1]))
    return dict(
        weight_row_ratio=rows, weight_column_ratio=columns, down_ratio_median=medians
    )


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return int(value) if isinstance(value, np.integer) else value


def golden(model, prompts, domains, triggers, cosine, thresholds):
    exact = as_float64(model)
    looked = [Prompt(exact, ids) for ids in prompts]
    return dict(
        prompts=[dict(tokens=ids, domain=d) for ids, d in zip(prompts, domains)],
        triggers=triggers,
        thresholds=thresholds,
        sinks=sinks_of(looked, domains, triggers, cosine),
        outliers=outliers_of(looked, *thresholds),
        neurons=neurons_of(looked),
        weights=weights_of(model),
    )


def main(path):
    from smollm2 import load

    out = dict(epsilons=EPSILONS, keys=KEYS, lengths=LENGTHS)
    gpt2 = GPT2LMHeadModel.from_pretrained(
        HERE.parent / "models" / "gpt2", attn_implementation="eager"
    ).eval()
    ids = tiny.prompts("gpt2")
    out["gpt2"] = golden(gpt2, ids[2:4], ["a", "b"], sorted(set(ids[3][4:7])), 0.1, [1.0, 4.0, 3.0])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = [(HERE.parent / "text" / f"{n}.txt").read_text(encoding="utf-8") for n in ("long", "medium")]
    ids = [tokenizer(text.rstrip("\n"))["input_ids"][:300] for text in texts]
    commas = tokenizer(",")["input_ids"]
    out["smollm2"] = golden(load(path), ids, ["law", "speech"], commas, 0.2, [100.0, 1000.0, 1000.0])
    text = json.dumps(plain(out), separators=(",", ":"))
    (HERE / "sinks_outliers.json").write_text(text + "\n", encoding="utf-8")
    print(len(text), "bytes")


main(pathlib.Path(sys.argv[1]))
