#!/usr/bin/env python3
# Checks hooks.py against transformers and against worked examples.  Run: check.py
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1])]
import numpy as np  # noqa: E402
import torch  # noqa: E402
from hooks import Attend, Changed, Prompt, Write, cached_slots, shape_of  # noqa: E402

import tiny  # noqa: E402
from reference import as_float64, run  # noqa: E402

NAMES = {"pattern": "pattern", "value": "value", "z": "z", "attn_out": "attention_output", "mlp_out": "mlp_output"}


def sites_of(model, ids, changes, spans=None):
    found = {}
    Changed(model, Prompt(ids, len(ids), spans or {}, {}), changes).run(
        lambda site, layer, x: found.__setitem__((site, layer), x.numpy().copy())
    )
    return found


def unchanged(name):
    """Largest difference of any site from transformers' own run, both in float64."""
    model = as_float64(tiny.build(name))
    worst = 0
    for ids in tiny.prompts(name)[1:]:
        theirs = run(model, ids, lambda site, layer, x: x)
        ours = sites_of(model, ids, [])
        n_layers = shape_of(model)[0]
        for layer in range(n_layers):
            pairs = [(ours[a, layer], theirs[b][layer]) for a, b in NAMES.items()]
            pairs.append((ours["resid_pre", layer], theirs["residual"][layer]))
            pairs.append((ours["resid_post", layer], theirs["residual"][layer + 1]))
            worst = max(worst, max(np.abs(a.reshape(b.shape) - b).max() for a, b in pairs))
        worst = max(worst, np.abs(ours["token_logprob", 0] - theirs["token_logprob"][0]).max())
    assert worst < 1e-12, f"{name}: {worst}"
    return worst


class TokenByToken:
    """StreamingLLM as its reference runs it: one token a forward pass, keys cached before rotation,
    evicted after the pass."""

    def __init__(self, model, sinks, recent):
        self.changed = Changed(model, None, [])
        self.sinks, self.recent, self.cache = sinks, recent, {}

    def attend(self, module, query, key, value, mask, scaling, **_):
        layer, changed = module.layer_idx, self.changed
        q, k = changed.unrotated[layer]
        old_k, old_v = self.cache.get(layer, (k[:, :, :0], value[:, :, :0]))
        keys, values = torch.cat([old_k, k], 2), torch.cat([old_v, value], 2)
        slots = torch.arange(keys.shape[2])
        _, turned = changed.rotate(keys, keys, slots)
        turned_q, _ = changed.rotate(q, q, slots[-1:])
        n_rep = q.shape[1] // k.shape[1]
        weights = torch.softmax(turned_q @ turned.repeat_interleave(n_rep, 1).mT * scaling, -1)
        z = weights @ values.repeat_interleave(n_rep, 1)
        if keys.shape[2] > self.sinks + self.recent:
            keys = torch.cat([keys[:, :, : self.sinks], keys[:, :, -self.recent :]], 2)
            values = torch.cat([values[:, :, : self.sinks], values[:, :, -self.recent :]], 2)
        self.cache[layer] = (keys, values)
        return z.transpose(1, 2), weights

    def logits(self, ids):
        out = []
        for token in ids:
            changed = self.changed
            changed.prompt, changed.attend = Prompt([token], 1, {}, {}), self.attend
            out.append(changed.run(lambda *_: None)[0])
        return torch.stack(out).numpy()


def streaming(name):
    """The cache form in one pass is the reference's token by token; worked example of the definition."""
    assert cached_slots(7, 1, 2) == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 2, 3, 4], [0, 3, 4, 5], [0, 4, 5, 6]]  # fmt: skip
    model = as_float64(tiny.build(name))
    n_layers, n_heads = shape_of(model)[:2]
    ids = tiny.prompts(name)[2]
    worst = 0
    for sinks, recent in ((1, 2), (4, 7), (0, 5)):
        changes = [
            Attend("cache", layer, list(range(n_heads)), sinks=sinks, recent=recent)
            for layer in range(n_layers)
        ]
        ours = sites_of(model, ids, changes)["logits", 0]
        theirs = TokenByToken(model, sinks, recent).logits(ids)
        worst = max(worst, np.abs(ours - theirs).max())
        # As a mask (B2) the sinks are at another distance once the cache is full, and only they.
        mask = [Attend("window", c.layer, c.heads, sinks=sinks, recent=recent + 1) for c in changes]
        masked = sites_of(model, ids, mask)["logits", 0]
        full = sinks + recent + 1
        assert np.abs(masked[:full] - ours[:full]).max() < 1e-12
        assert sinks == 0 or np.abs(masked[full:] - ours[full:]).max() > 1e-3
        assert sinks > 0 or np.abs(masked - ours).max() < 1e-11
    assert worst < 1e-11, f"{name}: {worst}"
    return worst


def worked_maps():
    """Changes of the map A = [1 0 0; .6 .4 0; .5 .3 .2] (the worked examples of the definitions)."""
    a = torch.tensor([[1, 0, 0], [0.6, 0.4, 0], [0.5, 0.3, 0.2]], dtype=torch.float64)

    def made(*changes):
        changed = Changed(MODEL, Prompt([0, 0, 0], 3, {}, {}), [])
        return changed.row_maps(a.log(), 0, 0, 0, list(changes), 1.0).numpy()

    def change(kind, **more):
        return Attend(kind, 0, [0], **more)

    def same(found, expected):
        assert np.abs(found - np.array(expected)).max() < 1e-6, (found, expected)

    same(made(), a.numpy())
    same(
        made(change("scale", keys="first", amount=0.5)),
        [[1, 0, 0], [0.428571, 0.571429, 0], [0.333333, 0.4, 0.266667]],
    )
    same(
        made(change("scale", keys="first", amount=0.0, renormalise=True)),
        [[0, 0, 0], [0, 1, 0], [0, 0.6, 0.4]],
    )
    same(
        made(change("scale", amount=0.0, renormalise=False)),
        np.zeros((3, 3)),
    )
    same(made(change("uniform")), [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    same(
        made(change("uniform"), change("block", keys="first")),
        [[0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]],
    )
    same(made(change("to", key=1)), [[0, 0, 0], [0, 1, 0], [0, 1, 0]])
    same(made(change("previous")), [[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    same(made(change("identity", queries="last")), [[1, 0, 0], [0.6, 0.4, 0], [0, 0, 1]])
    same(made(change("window", sinks=1, recent=1)), [[1, 0, 0], [0.6, 0.4, 0], [5 / 7, 0, 2 / 7]])
    same(
        made(change("bias", queries="last", keys=(2, 3), amount=float(np.log(2)))),
        [[1, 0, 0], [0.6, 0.4, 0], [0.5 / 1.2, 0.3 / 1.2, 0.4 / 1.2]],
    )


def first_values():
    """Zeroing a value is the same as zeroing its column of the map (one head of one kv head)."""
    model = as_float64(tiny.build("gpt2"))
    ids, width = tiny.prompts("gpt2")[2], 12
    a = sites_of(model, ids, [Write("value", 0, slice(width, 2 * width), "set", rows="first")])
    b = sites_of(model, ids, [Attend("scale", 0, [1], keys="first", renormalise=False)])
    assert np.abs(a["logits", 0] - b["logits", 0]).max() < 1e-12


def main():
    global MODEL
    torch.set_num_threads(1)
    MODEL = as_float64(tiny.build("gpt2"))
    worked_maps()
    first_values()
    for name in tiny.MODELS:
        print(f"{name}: unchanged {unchanged(name):.1e}", end="")
        print(f", cache {streaming(name):.1e}" if not name.startswith("gpt2") else "", flush=True)


if __name__ == "__main__":
    main()
