# The same model with its residual channels in another order: the sums are the same, their rounding
# is not.  One float32 run is one draw of its rounding error; a token at a near-tie can be exact in
# it by luck.  The largest error of a few orders is what float32 does.
import copy

import torch

N_ORDERS = 8  # the model's own order among them
CHANNEL_SITES = ("residual", "head_result", "attention_output", "mlp_output", "final")

# Parameters by the end of their name: the axis along which residual channels lie.
AXES = (
    ("q_proj.weight k_proj.weight v_proj.weight gate_proj.weight up_proj.weight", 1),
    ("query_key_value.weight dense_h_to_4h.weight", 1),
    ("embed_tokens.weight embed_in.weight wte.weight wpe.weight lm_head.weight embed_out.weight", 1),
    ("attn.c_proj.weight mlp.c_proj.weight", 1),
    ("c_attn.weight c_fc.weight", 0),
    ("o_proj.weight o_proj.bias down_proj.weight down_proj.bias", 0),
    ("attention.dense.weight attention.dense.bias dense_4h_to_h.weight dense_4h_to_h.bias", 0),
    ("attn.c_proj.bias mlp.c_proj.bias", 0),
    ("layernorm.weight layernorm.bias layer_norm.weight layer_norm.bias norm.weight", 0),
    ("ln_1.weight ln_1.bias ln_2.weight ln_2.bias ln_f.weight ln_f.bias", 0),
)
UNTOUCHED = (
    "q_proj.bias k_proj.bias v_proj.bias gate_proj.bias up_proj.bias "
    "query_key_value.bias dense_h_to_4h.bias c_attn.bias c_fc.bias"
)


def axis_of(name):
    for names, axis in AXES:
        if name.endswith(tuple(names.split())):
            return axis
    if name.endswith(tuple(UNTOUCHED.split())):
        return None
    raise ValueError(f"which axis of {name} are channels?")


def reordered(model, order):
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            axis = axis_of(name)
            if axis is not None:
                parameter.copy_(parameter.detach().clone().index_select(axis, order))
    return other


def runs(model, ids, run):
    """The float32 run in each order, channels put back."""
    found = [run(model, ids)]
    for seed in range(1, N_ORDERS):
        order = torch.randperm(
            model.config.hidden_size, generator=torch.Generator().manual_seed(seed)
        )
        sites = run(reordered(model, order), ids)
        back = torch.argsort(order).numpy()
        found.append(
            {s: a[..., back] if s in CHANNEL_SITES else a for s, a in sites.items()}
        )
    return found
