# The oracle: transformers' own model classes, run in true float64, with every site caught by hooks.
#
# model.double() is not a float64 run: inside, norms, softmax and rope ask for float32.  Float64Only
# changes every such request to float64 below the Python code, whatever class asks, and raises if an
# operation still returns a narrower float; so no class needs a patch of its own, and none can be
# forgotten.  The model is built under it as well, because rope frequencies are computed in the
# constructor.
import contextlib
import sys

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from errors import ABSOLUTE, error  # noqa: F401, for those who compare

NARROW = (torch.float32, torch.float16, torch.bfloat16)


class Float64Only(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.n_widened = 0

    def _widen(self, value):
        if isinstance(value, torch.dtype) and value in NARROW:
            self.n_widened += 1
            return torch.float64
        return value

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*tree_map(self._widen, args), **tree_map(self._widen, kwargs or {}))
        for value in tree_flatten((args, out))[0]:
            if isinstance(value, torch.Tensor) and value.dtype in NARROW:
                raise TypeError(f"{func} touches {value.dtype} in a float64 run")
        return out


@contextlib.contextmanager
def float64_only():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Float64Only() as mode:
            yield mode
    finally:
        torch.set_default_dtype(before)


def as_float64(model):
    """The same model built anew in float64."""
    state = {k: v.double() for k, v in model.state_dict().items()}
    with float64_only():
        wide = type(model)(model.config)
    missing, unexpected = wide.load_state_dict(state, strict=False)
    if unexpected or any("inv_freq" not in k for k in missing):
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    wide.tie_weights()
    for name, tensor in list(wide.named_parameters()) + list(wide.named_buffers()):
        if tensor.dtype in NARROW:
            raise TypeError(f"{name} is {tensor.dtype}")
    return wide.eval()


class Family:
    """Where a family's classes keep what we look at."""

    def __init__(self, base, blocks, attention, mlp, output, norm):
        self.base, self.blocks, self.attention = base, blocks, attention
        self.mlp, self.output, self.norm = mlp, output, norm


FAMILIES = {
    "llama": Family("model", "layers", "self_attn", "mlp", "o_proj", "norm"),
    "gpt2": Family("transformer", "h", "attn", "mlp", "c_proj", "ln_f"),
    "gpt_neox": Family("gpt_neox", "layers", "attention", "mlp", "dense", "final_layer_norm"),
}


def _first(out):
    return out[0] if isinstance(out, tuple) else out


def head_outputs(model, layer, z):
    """head_result [T, H, C] from z [T, H, dh]: what each head writes, the bias left out."""
    family = FAMILIES[model.config.model_type]
    block = getattr(getattr(model, family.base), family.blocks)[layer]
    module = getattr(getattr(block, family.attention), family.output)
    n_heads, width = z.shape[1], z.shape[2]
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T  # [H dh, C]
    return torch.einsum("thd,hdc->thc", z, weight.reshape(n_heads, width, -1))


@torch.no_grad()
def run(model, ids, keep):
    """One forward pass.  keep(site, layer, tensor) takes each site without its batch axis and returns
    what to store or None; the result is {site: array [layer, ...]}.  Sites: residual (layer is
    depth), pattern and scores [H, T, T] (scores not masked), query and key after rotation, value
    [T, Hkv, dh], z [T, H, dh], head_result and value_projected [T, H, C] (W_O,h z_h, W_O,h v), attention_output, mlp_output [T, C], final, logits, token_logprob.
    """
    config = model.config
    family = FAMILIES[config.model_type]
    base = getattr(model, family.base)
    blocks = getattr(base, family.blocks)
    found = {}

    def put(site, layer, tensor):
        value = keep(site, layer, tensor[0])
        if value is not None:
            found.setdefault(site, {})[layer] = value.detach().cpu().numpy().copy()

    handles = []
    eager_module = sys.modules[type(model).__module__]
    eager = eager_module.eager_attention_forward

    def watched(module, query, key, value, *rest, **options):
        out = eager(module, query, key, value, *rest, **options)
        layer = module.layer_idx
        put("pattern", layer, out[1])
        for site, tensor in (("query", query), ("key", key), ("value", value)):
            put(site, layer, tensor.transpose(1, 2))
        n_rep = query.shape[1] // key.shape[1]
        repeated = key.repeat_interleave(n_rep, 1)
        put("scores", layer, query @ repeated.transpose(2, 3) * options["scaling"])
        spread = value[0].transpose(0, 1).repeat_interleave(n_rep, 1)
        put("value_projected", layer, head_outputs(model, layer, spread)[None])
        put("z", layer, out[0])
        put("head_result", layer, head_outputs(model, layer, out[0][0])[None])
        return out

    def hook(module, site, layer):
        handles.append(
            module.register_forward_hook(lambda m, a, out: put(site, layer, _first(out)))
        )

    handles.append(
        blocks[0].register_forward_pre_hook(
            lambda m, args, kwargs: put(
                "residual", 0, args[0] if args else kwargs["hidden_states"]
            ),
            with_kwargs=True,
        )
    )
    for layer, block in enumerate(blocks):
        hook(block, "residual", layer + 1)
        hook(getattr(block, family.attention), "attention_output", layer)
        hook(getattr(block, family.mlp), "mlp_output", layer)
    hook(getattr(base, family.norm), "final", 0)
    eager_module.eager_attention_forward = watched
    try:
        mode = (
            float64_only()
            if next(model.parameters()).dtype == torch.float64
            else contextlib.nullcontext()
        )
        with mode:
            out = model(input_ids=torch.tensor([ids]), use_cache=False)
            put("logits", 0, out.logits)
            if len(ids) > 1:
                logp = torch.log_softmax(out.logits[:, :-1], -1)
                put("token_logprob", 0, logp.gather(2, torch.tensor([ids[1:]])[..., None])[..., 0])
    finally:
        eager_module.eager_attention_forward = eager
        for handle in handles:
            handle.remove()
    return {site: np.stack([layers[l] for l in sorted(layers)]) for site, layers in found.items()}
