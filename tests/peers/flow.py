#!/usr/bin/env python3
"""All-pairs attention flow: headwater against igraph's C library on the same graph, one thread each.

    flow.py HEADWATER RUN.h5 [--pairs N]      needs h5py, numpy, python-igraph; RUN.h5 with attention_maps in f32

The first 128 tokens of the first prompt (a capture with --max-tokens 128) are taken, or all where there are fewer. igraph
solves N pairs at random (its time is that of the solver: what python needs to hand the capacities over is measured apart, by
a flow over a single edge, and taken off); headwater solves all pairs. Prints both times per pair in CPU seconds, their ratio
and the largest difference of the values.
"""
import argparse
import json
import resource
import subprocess
import time

import h5py
import igraph
import numpy as np


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def headwater(program, capture, query):
    before = children()
    done = subprocess.run([program, "flow", "--quiet", "--json", "--threads", "1", "--query", query, capture],
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["arrays"]["flow"]["values"][0][0], children() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("capture")
    parser.add_argument("--pairs", type=int, default=60)
    options = parser.parse_args()
    with h5py.File(options.capture) as file:
        n = int(file["n_prompt_tokens"][0])
        maps = file["attention/pattern"][0, :, :, :n, :n].astype(float).mean(1)
    maps += np.eye(n)
    maps /= maps.sum(-1, keepdims=True)
    n_layers = len(maps)
    edges, capacities = [], []
    for layer in range(n_layers):
        i, j = np.nonzero(maps[layer])
        edges += zip(((layer + 1) * n + i).tolist(), (layer * n + j).tolist())
        capacities += maps[layer][i, j].tolist()
    graph = igraph.Graph(n=(n_layers + 1) * n + 2, edges=edges, directed=True)
    graph.add_edges([((n_layers + 1) * n, (n_layers + 1) * n + 1)])  # apart from the rest
    graph.es["capacity"] = capacities + [1.0]
    begin = time.process_time()
    for _ in range(10):
        igraph.Graph(n=3, edges=[(0, 1)]).maxflow_value(0, 1, [1.0])
        list(graph.es["capacity"])
    handing = (time.process_time() - begin) / 10
    values, whole = headwater(options.program, options.capture, "all")
    _, start = headwater(options.program, options.capture, "0")  # opening, reading the maps
    n_pairs = n * (n + 1) // 2
    ours = (whole - start) / n_pairs
    rng = np.random.default_rng(1)
    worst, theirs = 0.0, 0.0
    for _ in range(options.pairs):
        source = int(rng.integers(n))
        target = int(rng.integers(source + 1))
        begin = time.process_time()
        value = graph.maxflow_value(n_layers * n + source, target, "capacity")
        theirs += (time.process_time() - begin - handing) / options.pairs
        worst = max(worst, abs(value - values[source][target]))
    print(f"T = {n}, {n_layers} layers, {n_pairs} pairs: headwater {ours * 1e3:.3f} ms a pair ({whole - start:.1f} s for all), "
          f"igraph {igraph.__igraph_version__} {theirs * 1e3:.3f} ms: {theirs / ours:.1f} x; largest difference {worst:.2g}")


main()
