# A changed model, by hooks on transformers' own classes: what `--edit` means, written again without
# any of our code, so that one can be held against the other.
#
# A change is a Write (columns of a site get other values) or an Attend (what a head looks at).
# Attention goes through `attend` below instead of transformers' eager function; without changes the
# two agree to rounding (check.py).  Everything works in float32 and in true float64 (reference.py).
# Sites carry our names: value, z, attn_out, mlp_post, mlp_out, resid_pre, resid_mid, resid_post.
import contextlib
import sys
from dataclasses import dataclass

import numpy as np
import torch

from reference import FAMILIES, float64_only

CHANNEL_SITES = ("attn_out", "mlp_out", "resid_pre", "resid_mid", "resid_post")
DOWN = {"llama": "down_proj", "gpt2": "c_proj", "gpt_neox": "dense_4h_to_h"}
MIDDLE_NORM = {
    "llama": "post_attention_layernorm",
    "gpt2": "ln_2",
    "gpt_neox": "post_attention_layernorm",
}


@dataclass
class Prompt:
    ids: list
    n_prompt: int  # the rest was generated
    spans: dict  # name: (first, end)
    sources: dict  # "mean", "position_mean", "from", "resample": {(site, layer): [rows, width]}


@dataclass
class Write:
    """x[rows, columns] = op.  op: set (amount), scale (amount), or the name of a source."""

    site: str
    layer: int
    columns: slice
    op: str
    amount: float = 0.0
    rows: object = "all"


@dataclass
class Attend:
    """kind: bias block window cache | uniform to identity previous | scale."""

    kind: str
    layer: int
    heads: list
    queries: object = "all"
    keys: object = "all"
    amount: float = 0.0
    renormalise: bool = True
    key: int = 0
    sinks: int = 0
    recent: int = 0


def positions(rows, prompt, n):
    """A row set as bools [n].  all, first, last, prefill, decode, generated, a span, or (first, end)."""
    where = np.zeros(n, bool)
    last = prompt.n_prompt - 1
    ranges = {
        "all": (0, n),
        "first": (0, 1),
        "last": (last, last + 1),
        "prefill": (0, prompt.n_prompt),
        "decode": (last, n),
        **prompt.spans,
    }
    first, end = ranges[rows] if isinstance(rows, str) else rows
    where[first:end] = True
    return torch.from_numpy(where)


def shape_of(model):
    """layers, heads, kv_heads, d_head, channels, neurons."""
    config = model.config
    n_heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    if config.model_type == "gpt2":
        neurons = config.n_inner or 4 * config.n_embd
    else:
        neurons = config.intermediate_size
    n_kv = getattr(config, "num_key_value_heads", None) or n_heads
    return config.num_hidden_layers, n_heads, n_kv, width, config.hidden_size, neurons


def cached_slots(n, sinks, recent):
    """StreamingLLM's cache (kv_cache.py), one token at a time: what each query sees, oldest first.  Its
    place in the list is the position that a key is rotated to, the last one is the query's own."""
    cache, seen = [], []
    for token in range(n):
        cache = cache + [token]
        seen.append(list(cache))
        if len(cache) > sinks + recent:
            cache = cache[:sinks] + cache[len(cache) - recent :]
    return seen


class Changed:
    """A model with changes, for one prompt.  order: the model's channels are in this order
    (reorder.py); sites are shown, and changes act, as if they were not."""

    def __init__(self, model, prompt, changes, order=None):
        self.model, self.prompt, self.changes = model, prompt, changes
        self.family = FAMILIES[model.config.model_type]
        self.base = getattr(model, self.family.base)
        self.blocks = getattr(self.base, self.family.blocks)
        self.modeling = sys.modules[type(model).__module__]
        self.order = order
        self.back = None if order is None else torch.argsort(order)
        self.unrotated, self.middle, self.mlp_out = {}, {}, {}

    # Writes.

    def write(self, site, layer, x):
        """x [1, T, width] with all writes to this site, in their order."""
        mine = [
            c for c in self.changes if isinstance(c, Write) and (c.site, c.layer) == (site, layer)
        ]
        if not mine:
            return x
        turned = site in CHANNEL_SITES and self.order is not None
        x = x[..., self.back] if turned else x.clone()
        for change in mine:
            self.apply(change, x[0])
        return x[..., self.order] if turned else x

    def apply(self, change, x):
        rows = positions(change.rows, self.prompt, len(x))
        at = (rows, change.columns)
        if change.op == "set":
            x[at] = change.amount
        elif change.op == "scale":
            x[at] = x[at] * change.amount
        else:
            values = self.prompt.sources[change.op][change.site, change.layer].to(x.dtype)
            if len(values) == 1:
                values = values.expand(len(x), -1)
            rows[len(values) :] = False
            full = torch.zeros_like(x)
            full[: len(values)] = values[: len(x)]
            x[rows, change.columns] = full[rows, change.columns]

    def show(self, site, layer, x):
        if site in CHANNEL_SITES and self.order is not None:
            x = x[..., self.back]
        self.keep(site, layer, x[0])

    # Attention.

    def rotate(self, q, k, where):
        cos, sin = self.base.rotary_emb(k, torch.as_tensor(where)[None])
        return self.modeling.apply_rotary_pos_emb(q, k, cos, sin)

    def cached_scores(self, layer, head, kv_head, change, scale):
        """[T, T] of one head, as the cache form has them; -inf where the cache has no such key."""
        q, k = (x[0, h] for x, h in zip(self.unrotated[layer], (head, kv_head)))
        n = len(q)
        scores = torch.full((n, n), -torch.inf)
        for i, seen in enumerate(cached_slots(n, change.sinks, change.recent)):
            slots = torch.arange(len(seen))
            _, keys = self.rotate(k[seen][None, None], k[seen][None, None], slots)
            query, _ = self.rotate(q[i][None, None, None], q[i][None, None, None], slots[-1:])
            scores[i, seen] = (keys[0, 0] @ query[0, 0, 0]) * scale
        return scores

    def attend(self, module, query, key, value, mask, scaling, **_):
        layer = module.layer_idx
        n_rep, n = query.shape[1] // key.shape[1], query.shape[2]
        n_kv, width = value.shape[1], value.shape[3]
        flat = value.transpose(1, 2).reshape(1, n, n_kv * width)
        flat = self.write("value", layer, flat)
        self.show("value", layer, flat)
        value = flat.reshape(1, n, n_kv, width)[0].transpose(0, 1).repeat_interleave(n_rep, 0)
        scores = query[0] @ key[0].repeat_interleave(n_rep, 0).transpose(1, 2) * scaling
        mine = [c for c in self.changes if isinstance(c, Attend) and c.layer == layer]
        maps = torch.stack([self.row_maps(s, layer, h, h // n_rep, mine, scaling)
                            for h, s in enumerate(scores)])  # fmt: skip
        self.show("pattern", layer, maps[None])
        z = (maps @ value).transpose(0, 1).reshape(1, n, -1)
        z = self.write("z", layer, z)
        self.show("z", layer, z)
        return z.reshape(1, n, len(maps), width), maps[None]

    def row_maps(self, scores, layer, head, kv_head, changes, scaling):
        """The map [T, T] of one head from its scores."""
        n = len(scores)
        sees = torch.ones(n, n, dtype=torch.bool).tril()
        mine = [c for c in changes if head in c.heads]
        for c in mine:
            if c.kind == "cache":
                cached = self.cached_scores(layer, head, kv_head, c, scaling)
                scores = torch.where(positions(c.queries, self.prompt, n)[:, None], cached, scores)
        for c in mine:
            queries = positions(c.queries, self.prompt, n)[:, None]
            edges = queries & positions(c.keys, self.prompt, n)[None, :]
            if c.kind == "bias":
                scores = torch.where(edges, scores + c.amount, scores)
            elif c.kind == "block":
                sees = sees & ~edges
            elif c.kind == "window":
                i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
                sees = sees & (~queries | (j < c.sinks) | (i - j <= c.recent - 1))
        scores = scores.masked_fill(~sees, -torch.inf)
        sees = scores > -torch.inf
        maps = torch.softmax(scores, -1).masked_fill(~sees.any(-1, keepdim=True), 0)
        given = maps
        for c in mine:
            queries = positions(c.queries, self.prompt, n)[:, None]
            fixed = self.fixed_maps(c, sees, given)
            if fixed is not None:
                maps = torch.where(queries, fixed, maps)
        for c in mine:
            if c.kind == "scale":
                edges = positions(c.queries, self.prompt, n)[:, None]
                edges = edges & positions(c.keys, self.prompt, n)[None, :]
                scaled = torch.where(edges, maps * c.amount, maps)
                total = scaled.sum(-1, keepdim=True)
                if c.renormalise:
                    scaled = torch.where(total > 0, scaled / total.where(total > 0, 1), scaled)
                touched = positions(c.queries, self.prompt, n)[:, None]
                maps = torch.where(touched, scaled, maps)
        return maps

    @staticmethod
    def fixed_maps(change, sees, given):
        """What uniform, to, identity and previous put in the place of a map; None: another kind."""
        n = len(sees)
        if change.kind == "uniform":
            count = sees.sum(-1, keepdim=True)
            return sees.to(given.dtype) / count.clamp(min=1)
        targets = {
            "to": torch.full((n,), change.key),
            "identity": torch.arange(n),
            "previous": (torch.arange(n) - 1).clamp(min=0),
        }.get(change.kind)
        if targets is None:
            return None
        fixed = torch.zeros_like(given)
        if change.kind != "to" or change.key < n:
            fixed[torch.arange(n), targets] = 1
        return fixed.masked_fill(~sees, 0)

    # Hooks.

    def hooks(self):
        """Registers everything; returns the handles."""
        kind = self.model.config.model_type
        found = []
        parallel = getattr(self.model.config, "use_parallel_residual", False)
        for layer, block in enumerate(self.blocks):
            attention = getattr(block, self.family.attention)
            mlp = getattr(block, self.family.mlp)
            found.append(block.register_forward_pre_hook(self.before_block(layer), with_kwargs=True))
            found.append(attention.register_forward_hook(self.output("attn_out", layer)))
            found.append(mlp.register_forward_hook(self.output("mlp_out", layer)))
            found.append(getattr(mlp, DOWN[kind]).register_forward_pre_hook(self.neurons(layer)))
            if not parallel:
                norm = getattr(block, MIDDLE_NORM[kind])
                found.append(norm.register_forward_pre_hook(self.before_norm(layer)))
            found.append(block.register_forward_hook(self.after_block(layer)))
            if kind == "llama":
                for name in ("q_proj", "k_proj"):
                    projection = getattr(attention, name)
                    found.append(projection.register_forward_hook(self.split_llama(layer, name)))
            if kind == "gpt_neox":
                fused = attention.query_key_value
                found.append(fused.register_forward_hook(self.split_neox(layer)))
        return found

    def before_block(self, layer):
        def hook(module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            x = self.write("resid_pre", layer, x)
            self.show("resid_pre", layer, x)
            if args:
                return (x, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": x}

        return hook

    def output(self, site, layer):
        def hook(module, args, out):
            x = self.write(site, layer, out[0] if isinstance(out, tuple) else out)
            self.show(site, layer, x)
            if site == "mlp_out":
                self.mlp_out[layer] = x
            return (x, *out[1:]) if isinstance(out, tuple) else x

        return hook

    def neurons(self, layer):
        def hook(module, args):
            x = self.write("mlp_post", layer, args[0])
            self.show("mlp_post", layer, x)
            return (x,)

        return hook

    def before_norm(self, layer):
        def hook(module, args):
            x = self.write("resid_mid", layer, args[0])
            self.show("resid_mid", layer, x)
            self.middle[layer] = x
            return (x,)

        return hook

    def after_block(self, layer):
        def hook(module, args, out):
            x = out[0] if isinstance(out, tuple) else out
            if layer in self.middle:  # the block added to what was there before a write in its middle
                x = self.middle[layer] + self.mlp_out[layer]
            x = self.write("resid_post", layer, x)
            self.show("resid_post", layer, x)
            return (x, *out[1:]) if isinstance(out, tuple) else x

        return hook

    def split_llama(self, layer, name):
        def hook(module, args, out):
            width = shape_of(self.model)[3]
            split = out.reshape(1, out.shape[1], -1, width).transpose(1, 2)
            pair = self.unrotated.setdefault(layer, [None, None])
            pair[name == "k_proj"] = split

        return hook

    def split_neox(self, layer):
        def hook(module, args, out):
            _, n_heads, _, width = shape_of(self.model)[:4]
            split = out.reshape(1, out.shape[1], n_heads, 3, width).transpose(1, 2)
            self.unrotated[layer] = [split[..., 0, :], split[..., 1, :]]

        return hook

    @torch.no_grad()
    def run(self, keep):
        """keep(site, layer, tensor without batch axis); logits and token_logprob have layer 0."""
        self.keep = keep
        ids = self.prompt.ids
        wide = next(self.model.parameters()).dtype == torch.float64
        eager = self.modeling.eager_attention_forward
        handles = self.hooks()
        self.modeling.eager_attention_forward = self.attend
        try:
            with float64_only() if wide else contextlib.nullcontext():
                logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits
                keep("logits", 0, logits[0])
                if len(ids) > 1:
                    logp = torch.log_softmax(logits[0, :-1], -1)
                    next_ids = torch.tensor(ids[1:])[:, None]
                    keep("token_logprob", 0, logp.gather(1, next_ids)[:, 0])
        finally:
            self.modeling.eager_attention_forward = eager
            for handle in handles:
                handle.remove()
        return logits[0]


def collect(model, ids, sites, order=None):
    """{(site, layer): [T, width]} of the unchanged model."""
    found = {}

    def keep(site, layer, x):
        if site in sites:
            found[site, layer] = x.clone()

    Changed(model, Prompt(ids, len(ids), {}, {}), [], order).run(keep)
    return found


def mean_of(runs):
    """Sources over prompts: one row, the mean over all their positions."""
    return {k: torch.cat([r[k].double() for r in runs]).mean(0, keepdim=True) for k in runs[0]}


def position_mean_of(runs):
    """One row a position: the mean over the prompts that reach it."""
    out = {}
    for k in runs[0]:
        n = max(len(r[k]) for r in runs)
        out[k] = torch.stack(
            [torch.stack([r[k][t].double() for r in runs if len(r[k]) > t]).mean(0) for t in range(n)]
        )
    return out


def generate(model, prompt, changes, n_new, order=None):
    """The prompt with n_new tokens chosen greedily by the changed model; the smallest lead of a winner."""
    ids, lead = list(prompt.ids), np.inf
    for _ in range(n_new):
        longer = Prompt(ids, prompt.n_prompt, prompt.spans, prompt.sources)
        last = Changed(model, longer, changes, order).run(lambda *_: None)[-1]
        best = torch.topk(last, 2).values
        lead = min(lead, float(best[0] - best[1]))
        ids = ids + [int(last.argmax())]
    return ids, lead
