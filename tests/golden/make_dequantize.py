#!/usr/bin/env python3
"""Makes dequantize.bin: blocks of every weight type with what gguf.dequantize (gguf-py) makes of them.

Records until the end of the file: name (8 bytes, padded with zeros), n_values and n_bytes (uint32), the bytes, the values
(float32); all little-endian. Bits of quantised values and scales are random, the half-precision factors in a block are drawn from
ordinary, negative, zero, subnormal and largest ones.
"""
import struct
import sys

import gguf
import numpy as np

# Byte offsets of the half-precision factors in a block.
FACTORS = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
           "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
SPECIAL = np.array([0.0, -0.0, 6e-8, -3e-5, 65504.0, -65504.0, 1.0, -1.0], np.float16)
PLAIN = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def factors(rng, n):
    values = (rng.standard_normal(n) * 0.1).astype(np.float16)
    chosen = rng.random(n) < 0.4
    values[chosen] = rng.choice(SPECIAL, chosen.sum())
    return values


def plain_bytes(rng, name):
    values = np.concatenate([rng.standard_normal(120), SPECIAL.astype(np.float64)])
    if name == "BF16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return values.astype(PLAIN[name]).view(np.uint8)


def block_bytes(rng, name):
    n_values, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    n_blocks = 8 if n_values == 256 else 40
    blocks = rng.integers(0, 256, (n_blocks, n_bytes), np.uint8)
    for at in FACTORS[name]:
        blocks[:, at:at + 2] = factors(rng, n_blocks).view(np.uint8).reshape(n_blocks, 2)
    return blocks.reshape(-1)


def main(path):
    rng = np.random.default_rng(1)
    with open(path, "wb") as file:
        for name in list(PLAIN) + list(FACTORS):
            data = plain_bytes(rng, name) if name in PLAIN else block_bytes(rng, name)
            kind = gguf.GGMLQuantizationType[name]
            values = data.view(np.float32) if name == "F32" else gguf.dequantize(data, kind)
            file.write(struct.pack("<8sII", name.encode(), values.size, data.size))
            file.write(data.tobytes())
            file.write(values.astype("<f4").tobytes())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "dequantize.bin")
