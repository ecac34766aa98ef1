# The default statistics of a capture, written again from their definitions on one site of one
# layer, in whatever precision the arrays have.  Names and axes are those of the capture, with the
# leading token or prompt axis of one prompt and without the layer axis.
import numpy as np


def _neg_xlogx(p):
    return -p * np.log(np.where(p > 0, p, 1).astype(p.dtype))


def lower_median(x, axis=-1):
    n = x.shape[axis]
    return np.take(np.partition(x, (n - 1) // 2, axis), (n - 1) // 2, axis)


def norm(x):
    return np.sqrt(np.square(x).sum(-1))


def of_pattern(a, n_offsets):
    """a [H, T, T], causal."""
    n = a.shape[1]
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    seen = (n - np.arange(n)).astype(a.dtype)  # queries that may see key k
    received = a.sum(1)
    share = a / np.where(received > 0, received, 1)[:, None]
    offsets = np.full((a.shape[0], n_offsets), np.nan, a.dtype)
    for o in range(min(n, n_offsets)):
        offsets[:, o] = np.trace(a, -o, 1, 2) / (n - o)
    rows = {"all": slice(None), "first": slice(0, 1), "last": slice(n - 1, n)}
    out = {
        "attention_entropy": _neg_xlogx(a).sum(2),
        "attention_max": a.max(2),
        "attention_first": a[:, :, 0],
        "attention_row_sum": a.sum(2),
        "attention_distance": (a * np.abs(i - j).astype(a.dtype)).sum(2),
        "attention_argmax": a.argmax(2),
        "attention_received": received / seen,
        "attention_received_max": a.max(1),
        "attention_received_entropy": _neg_xlogx(share).sum(1),
    }
    out = {name: x.T for name, x in out.items()}  # [token, head]
    out["sink_score"] = a[:, :, 0].sum(1) / n
    out["attention_offset"] = offsets
    for q, queries in rows.items():
        for s, keys in rows.items():
            out[f"attention_span.{q}.{s}"] = a[:, queries, keys].sum(2).mean(1)
    return out


def of_scores(s):
    """s [H, T, T] after scale, not masked yet."""
    n = s.shape[1]
    masked = np.where(np.tri(n, dtype=bool), s, -np.inf).astype(s.dtype)
    top = masked.max(2, keepdims=True)
    total = np.exp(masked - top).sum(2)
    mean = np.where(np.tri(n, dtype=bool), s, 0).sum(2) / np.arange(1, n + 1, dtype=s.dtype)
    return {"attention_logsumexp": (np.log(total) + top[:, :, 0]).T, "attention_score_mean": mean.T}


def of_residual(x, n_rank):
    size = np.abs(x)
    flat = x.reshape(-1)
    top = np.argsort(-np.abs(flat), kind="stable")[:n_rank]
    return {
        "residual_norm": norm(x),
        "residual_max": size.max(1),
        "residual_median": lower_median(size),
        "residual_cosine_first": (x * x[0]).sum(1) / (norm(x) * norm(x[0])),
        "state_top_value": flat[top],
        "state_median": lower_median(size.reshape(-1)),
        "state_mean_abs": size.mean(),
        "state_std": x.std(),
    }


def of_logits(x, n_rank):
    shifted = x - x.max(1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return {
        "next_entropy": -(np.exp(logp) * logp).sum(1),
        "next_top_logit": -np.sort(-x, axis=1)[:, :n_rank],
    }


NORMS = {
    "value": "value_norm",
    "key": "key_norm",
    "value_projected": "value_norm_projected",
    "head_result": "head_result_norm",
    "attention_output": "attention_output_norm",
    "mlp_output": "mlp_output_norm",
    "final": "final_norm",
}


def statistics(site, x, n_offsets=64, n_rank=8):
    """{name: array} of what this site gives; empty for sites that give none."""
    if site == "pattern":
        return of_pattern(x, n_offsets)
    if site == "scores":
        return of_scores(x)
    if site == "residual":
        return of_residual(x, n_rank)
    if site == "logits":
        return of_logits(x, n_rank)
    if site == "token_logprob":
        return {"prompt_loss": -x.mean()} if len(x) else {}
    return {NORMS[site]: norm(x)} if site in NORMS else {}


PER_PROMPT = (
    "sink_score",
    "attention_offset",
    "attention_span",
    "state_top_value",
    "state_median",
    "state_mean_abs",
    "state_std",
    "prompt_loss",
)
RELATIVE = (*NORMS.values(), "residual_norm", "residual_max", "residual_median", "state_median",
            "state_mean_abs", "state_std", "state_top_value")  # fmt: skip


def statistic_error(name, reference, other):
    """Norms and magnitudes: relative.  Others: absolute, but relative where above 1.

    For attention_argmax the arrays are what the reference map holds at the key found."""
    reference = np.asarray(reference, np.float64)
    other = np.asarray(other, np.float64)
    if reference.shape != other.shape:
        raise ValueError(f"{name}: expected shape {reference.shape}, found {other.shape}")
    if np.any(np.isnan(reference) != np.isnan(other)):
        return np.inf
    size = np.abs(reference)
    scale = np.maximum(size, np.finfo(float).tiny) if name in RELATIVE else np.maximum(size, 1)
    return float(np.nanmax(np.abs(other - reference) / scale, initial=0))
