#!/usr/bin/env python3
"""Largest flows by igraph (its C library, push-relabel) on graphs that tests/test_max_flow.c makes
for itself from the same integers: flow.bin.

    flow.py OUT            needs python-igraph and numpy

flow.bin: for each graph of GRAPHS, for each of its pairs, source and target as u4 and the value as
f8, little-endian.
"""
import sys

import igraph
import numpy as np

# layers, tokens, pairs, how sharp the attention is, weight of the residual stream in 256ths
GRAPHS = [(2, 6, 21, 1, 128), (6, 24, 100, 1, 128), (12, 70, 200, 3, 128), (30, 40, 100, 2, 128),
          (8, 50, 79, 3, 0)]


def weights(n_layers, n_tokens, sharp, residual):
    """Rows of integers from one linear congruential generator, over their sums."""
    state, mask = 12345, (1 << 32) - 1
    maps = np.zeros((n_layers, n_tokens, n_tokens))
    for layer in range(n_layers):
        for i in range(n_tokens):
            row = []
            for j in range(i + 1):
                state = (state * 1664525 + 1013904223) & mask
                value = state >> 22
                row.append(float(value**sharp + (4096**sharp // 16 if j == 0 else 0)))
            row = np.array(row)
            total = 0.0
            for value in row:
                total += value
            mixed = row / total * ((256 - residual) / 256)
            mixed[i] += residual / 256
            maps[layer, i, : i + 1] = mixed
    return maps


def main():
    out = bytearray()
    for number, (n_layers, n_tokens, n_pairs, sharp, residual) in enumerate(GRAPHS):
        maps = weights(n_layers, n_tokens, sharp, residual)
        edges, capacities = [], []
        for layer in range(n_layers):
            i, j = np.nonzero(maps[layer])
            edges += zip(((layer + 1) * n_tokens + i).tolist(), (layer * n_tokens + j).tolist())
            capacities += maps[layer][i, j].tolist()
        graph = igraph.Graph(n=(n_layers + 1) * n_tokens, edges=edges, directed=True)
        pairs = [(s, t) for s in range(n_tokens) for t in range(s + 1)]
        rng = np.random.default_rng(number)
        for k in sorted(rng.choice(len(pairs), n_pairs, replace=False).tolist()):
            source, target = pairs[k]
            value = graph.maxflow_value(n_layers * n_tokens + source, target, capacities)
            out += np.array([source, target], "<u4").tobytes() + np.array([value], "<f8").tobytes()
    with open(sys.argv[1], "wb") as file:
        file.write(out)


main()
