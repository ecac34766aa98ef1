// Largest flow through a layered graph, from one node of the top layer to one of the bottom layer:
// the graph of attention flow (Abnar & Zuidema 2020).
//
// Layers of nodes 0 (bottom) to n_layers (top), each of n_tokens nodes; the edge from node i of
// layer l + 1 to node j <= i of layer l has capacity[l, i, j] >= 0. Causality keeps all flow
// between the two tokens, so only the nodes target .. source of each layer matter.
//
// Method: push-relabel (Goldberg & Tarjan 1988) in bulk. Distances to the target in the residual
// graph are found exactly by a breadth-first search over bit sets, then every node with excess, the
// farthest first, pushes it one step nearer; until no excess reaches the target, or the flow has
// reached what the edges of source or target alone let through. Excess that cannot go on stays
// where it is: the value is that of a largest preflow, which is the largest flow.
//
// Capacities up to HW_FLOW_LEAST are nothing: with at most 2^24 edges in a cut the value is less
// than 1e-8 of a unit capacity below the true one, in practice 1e-12.
#ifndef HW_MAX_FLOW_H
#define HW_MAX_FLOW_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HW_FLOW_LEAST 1e-15

struct hw_flow_graph; // capacities and which edges there are; never changes once it is made
struct hw_max_flow;   // one thread's work on one graph

// Bytes of a graph, and of the work of one thread; SIZE_MAX where that overflows.
size_t hw_flow_graph_bytes(size_t n_layers, size_t n_tokens);
size_t hw_max_flow_bytes(size_t n_layers, size_t n_tokens);

// capacity [n_layers, n_tokens, n_tokens] stays the caller's, lives as long as the graph and holds
// finite numbers of at least 0 where j <= i; the rest is not read. HW_RESOURCE.
enum hw_status hw_flow_graph_open(const double *capacity, size_t n_layers, size_t n_tokens,
                                  struct hw_flow_graph **ret_graph, struct hw_error *err);
void hw_flow_graph_close(struct hw_flow_graph **graph);

enum hw_status hw_max_flow_open(const struct hw_flow_graph *graph, struct hw_max_flow **ret_flow,
                                struct hw_error *err);
void hw_max_flow_close(struct hw_max_flow **flow);

// The largest flow from token `source` of layer `top` (1 .. n_layers) to token `target` of layer 0;
// 0 where target > source.
double hw_max_flow(struct hw_max_flow *flow, size_t top, size_t source, size_t target);

#ifdef __cplusplus
}
#endif
#endif
