# Golden files: safetensors with F64 tensors, readable by any safetensors reader; what each name
# means is in README.md.
import numpy as np
from safetensors.numpy import save_file

from reference import error

SITES = (
    "residual",
    "pattern",
    "value",
    "z",
    "head_result",
    "attention_output",
    "mlp_output",
    "final",
    "logits",
    "token_logprob",
)


def last_rows(n, n_rows):
    """Token 0 and the n_rows - 1 evenly spread to the last one."""
    return sorted(set(np.linspace(0, n - 1, n_rows).round().astype(int).tolist()))


def axis_of(site):
    """The axis that is narrowed to chosen rows, layer axis included; pattern: its queries."""
    return 2 if site == "pattern" else 1


def select(site, array, rows):
    return array if rows is None else np.take(array, rows, axis_of(site))


def prompt_entries(tensors, prefix, ids, exact, singles, plan):
    """Adds one prompt: ids, chosen rows of each site, and the largest error of transformers' float32
    runs over ALL rows.

    plan: {site: rows or None for all}; sites that it lacks have only their error stored."""
    tensors[f"{prefix}.ids"] = np.array(ids, np.int64)
    for site in SITES:
        if site not in exact:
            continue
        tensors[f"{prefix}.error.{site}"] = np.array(
            [max(error(site, exact[site], single[site]) for single in singles)]
        )
        if site in plan:
            rows = plan[site]
            tensors[f"{prefix}.{site}"] = np.ascontiguousarray(
                select(site, exact[site], rows), np.float64
            )
            if rows is not None:
                tensors[f"{prefix}.rows.{site}"] = np.array(rows, np.int64)


def bounds(tensors):
    """error.<site>: the largest over the prompts, which tests multiply by 3."""
    for site in SITES:
        found = [v[0] for k, v in tensors.items() if k.endswith(f".error.{site}")]
        if found:
            tensors[f"error.{site}"] = np.array([max(found)])


def write(path, tensors, note):
    path.parent.mkdir(parents=True, exist_ok=True)
    bounds(tensors)
    save_file(tensors, path, metadata={"note": note})
