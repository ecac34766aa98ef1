# How far a result is from the float64 one: one number a site, by the rules of README.md.  No torch.
import numpy as np

# Massive activations hide errors, so the 8 channels that are largest in the reference are left out.
N_LEFT_OUT = 8
ABSOLUTE = ("pattern", "token_logprob")


def activation_error(reference, other):
    """Largest |other - reference| / |reference| of a row, without its 8 largest channels."""
    a = np.asarray(reference, np.float64).reshape(-1, reference.shape[-1])
    b = np.asarray(other, np.float64).reshape(a.shape)
    n_left_out = min(N_LEFT_OUT, a.shape[1] - 1)
    order = np.argsort(-np.abs(a), axis=1, kind="stable")[:, n_left_out:]
    a, b = np.take_along_axis(a, order, 1), np.take_along_axis(b, order, 1)
    norm = np.maximum(np.linalg.norm(a, axis=1), np.finfo(float).tiny)
    return float((np.linalg.norm(b - a, axis=1) / norm).max())


def error(site, reference, other):
    """The one number of a site; the last two axes of z, query, key and value are one row."""
    if site in ABSOLUTE:
        return float(np.abs(np.asarray(other, np.float64) - reference).max(initial=0))
    if site in ("z", "query", "key", "value"):
        shape = (*reference.shape[:-2], -1)
        reference, other = reference.reshape(shape), np.asarray(other).reshape(shape)
    return activation_error(reference, other)
