// Bulk push-relabel on bit sets; see max_flow.h.
//
// A node is numbered layer * n_tokens + token. Distances have the parity of the layer, since every
// step changes it by one; so what lies at distance d in layer l is level (d - l) / 2 of the layer,
// the number of steps up on the way.
#include "analysis/max_flow.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum {
    WORD = 64,   // bits
    LEVELS = 24, // levels of a layer that have a bit set of their own
};

struct hw_flow_graph {
    size_t n_layers;
    size_t n_tokens;
    size_t n_words; // of a set of tokens
    const double *capacity;
    uint64_t *down; // [n_layers, n_tokens (i), n_words] keys j with an edge i -> j
    uint64_t *up;   // [n_layers, n_tokens (j), n_words] queries i with one
};

struct hw_max_flow {
    const struct hw_flow_graph *graph;
    double *flow;        // [n_layers, n_tokens, n_tokens]; 0 between calls
    uint64_t *open_down; // as in the graph: what has capacity left
    uint64_t *open_up;
    uint64_t *used_down; // what has flow, which can be taken back; empty between calls
    uint64_t *used_up;
    uint64_t *unseen;   // [n_layers + 1, n_words] nodes that the search has not met
    uint64_t *levels;   // [n_layers + 1, LEVELS, n_words]
    double *excess;     // [n_layers + 1, n_tokens]
    uint32_t *distance; // [n_layers + 1, n_tokens]
    uint32_t *queue;    // [nodes]
    uint32_t *bucket;   // [nodes + 1] first active node at a distance
    uint32_t *next;     // [nodes] the next one
    size_t first;       // tokens first .. last of each layer take part
    size_t last;
    size_t first_word;
    size_t end_word;
    size_t top;
    uint32_t farthest; // distance of an active node
};

static const uint32_t NONE = UINT32_MAX;

// Counts of everything, checked for overflow.
struct counts {
    size_t n_words;
    size_t n_nodes;
    size_t n_edges; // a place for every pair of tokens and layer
    size_t n_sets;  // words of a set per node
    size_t n_levels;
};

static bool count(size_t n_layers, size_t n_tokens, struct counts *ret) {
    size_t n_all_layers;
    ret->n_words = hw_size_div_up(n_tokens, WORD);
    return hw_size_add(n_layers, 1, &n_all_layers) &&
           hw_size_mul(n_all_layers, n_tokens, &ret->n_nodes) && ret->n_nodes < UINT32_MAX / 2 &&
           hw_size_mul(ret->n_nodes, n_tokens, &ret->n_edges) &&
           hw_size_mul(ret->n_nodes, ret->n_words, &ret->n_sets) &&
           hw_size_mul(n_all_layers, LEVELS * ret->n_words, &ret->n_levels) &&
           ret->n_edges < SIZE_MAX / 64;
}

size_t hw_flow_graph_bytes(size_t n_layers, size_t n_tokens) {
    struct counts c;
    return count(n_layers, n_tokens, &c) ? 2 * c.n_sets * sizeof(uint64_t) : SIZE_MAX;
}

size_t hw_max_flow_bytes(size_t n_layers, size_t n_tokens) {
    struct counts c;
    return count(n_layers, n_tokens, &c)
               ? c.n_edges * sizeof(double) + (4 * c.n_sets + 2 * c.n_levels) * sizeof(uint64_t) +
                     c.n_nodes * (sizeof(double) + 4 * sizeof(uint32_t))
               : SIZE_MAX;
}

static void set_bit(uint64_t *set, size_t i) {
    set[i / WORD] |= 1ull << i % WORD;
}

static void clear_bit(uint64_t *set, size_t i) {
    set[i / WORD] &= ~(1ull << i % WORD);
}

enum hw_status hw_flow_graph_open(const double *capacity, size_t n_layers, size_t n_tokens,
                                  struct hw_flow_graph **ret_graph, struct hw_error *err) {
    struct counts c;
    struct hw_flow_graph *g = calloc(1, sizeof *g);
    bool is_small = count(n_layers, n_tokens, &c);
    if (g != NULL && is_small) {
        g->down = calloc(c.n_sets + 1, sizeof *g->down);
        g->up = calloc(c.n_sets + 1, sizeof *g->up);
    }
    if (g == NULL || !is_small || g->down == NULL || g->up == NULL) {
        hw_flow_graph_close(&g);
        return hw_fail(err, HW_RESOURCE, "not enough memory for a graph of %zu layers, %zu tokens",
                       n_layers, n_tokens);
    }
    g->n_layers = n_layers;
    g->n_tokens = n_tokens;
    g->n_words = c.n_words;
    g->capacity = capacity;
    for (size_t node = 0; node < n_layers * n_tokens; node++) {
        size_t i = node % n_tokens;
        size_t layer_first = node - i;
        const double *row = capacity + node * n_tokens;
        for (size_t j = 0; j <= i; j++) {
            if (row[j] > HW_FLOW_LEAST) {
                set_bit(g->down + node * g->n_words, j);
                set_bit(g->up + (layer_first + j) * g->n_words, i);
            }
        }
    }
    *ret_graph = g;
    return HW_OK;
}

void hw_flow_graph_close(struct hw_flow_graph **graph) {
    if (*graph != NULL) {
        free((*graph)->down);
        free((*graph)->up);
        free(*graph);
        *graph = NULL;
    }
}

enum hw_status hw_max_flow_open(const struct hw_flow_graph *graph, struct hw_max_flow **ret_flow,
                                struct hw_error *err) {
    struct counts c;
    struct hw_max_flow *f = calloc(1, sizeof *f);
    bool is_small = count(graph->n_layers, graph->n_tokens, &c);
    if (f != NULL && is_small) {
        f->graph = graph;
        f->flow = calloc(c.n_edges + 1, sizeof *f->flow);
        f->open_down = calloc(c.n_sets + 1, sizeof *f->open_down);
        f->open_up = calloc(c.n_sets + 1, sizeof *f->open_up);
        f->used_down = calloc(c.n_sets + 1, sizeof *f->used_down);
        f->used_up = calloc(c.n_sets + 1, sizeof *f->used_up);
        f->unseen = calloc(c.n_levels + 1, sizeof *f->unseen);
        f->levels = calloc(c.n_levels + 1, sizeof *f->levels);
        f->excess = calloc(c.n_nodes + 1, sizeof *f->excess);
        f->distance = calloc(c.n_nodes + 1, sizeof *f->distance);
        f->queue = calloc(c.n_nodes + 1, sizeof *f->queue);
        f->bucket = calloc(c.n_nodes + 2, sizeof *f->bucket);
        f->next = calloc(c.n_nodes + 1, sizeof *f->next);
    }
    if (f == NULL || !is_small || f->flow == NULL || f->open_down == NULL || f->open_up == NULL ||
        f->used_down == NULL || f->used_up == NULL || f->unseen == NULL || f->levels == NULL ||
        f->excess == NULL || f->distance == NULL || f->queue == NULL || f->bucket == NULL ||
        f->next == NULL) {
        hw_max_flow_close(&f);
        return hw_fail(err, HW_RESOURCE, "not enough memory for a flow of %zu layers, %zu tokens",
                       graph->n_layers, graph->n_tokens);
    }
    memset(f->bucket, 0xff, (c.n_nodes + 2) * sizeof *f->bucket);
    memcpy(f->open_down, graph->down, c.n_sets * sizeof *f->open_down);
    memcpy(f->open_up, graph->up, c.n_sets * sizeof *f->open_up);
    *ret_flow = f;
    return HW_OK;
}

void hw_max_flow_close(struct hw_max_flow **flow) {
    struct hw_max_flow *f = *flow;
    if (f != NULL) {
        free(f->flow);
        free(f->open_down);
        free(f->open_up);
        free(f->used_down);
        free(f->used_up);
        free(f->unseen);
        free(f->levels);
        free(f->excess);
        free(f->distance);
        free(f->queue);
        free(f->bucket);
        free(f->next);
        free(f);
        *flow = NULL;
    }
}

static void activate(struct hw_max_flow *f, size_t node) {
    uint32_t d = f->distance[node];
    f->next[node] = f->bucket[d];
    f->bucket[d] = (uint32_t)node;
}

static uint64_t *level_of(const struct hw_max_flow *f, size_t layer, size_t level) {
    return f->levels + (layer * LEVELS + level) * f->graph->n_words;
}

// Takes nodes that reach a node at distance d - 1 in one step into the queue.
static void meet(struct hw_max_flow *f, const uint64_t *from, size_t layer, uint32_t d,
                 size_t *n_queue) {
    size_t n_tokens = f->graph->n_tokens;
    size_t level = (d - layer) / 2;
    uint64_t *unseen = f->unseen + layer * f->graph->n_words;
    for (size_t w = f->first_word; w < f->end_word; w++) {
        uint64_t found = from[w] & unseen[w];
        unseen[w] &= ~found;
        if (level < LEVELS) {
            level_of(f, layer, level)[w] |= found;
        }
        for (; found != 0; found &= found - 1) {
            size_t node = layer * n_tokens + w * WORD + (size_t)__builtin_ctzll(found);
            f->distance[node] = d;
            f->queue[(*n_queue)++] = (uint32_t)node;
        }
    }
}

// Distances to the target of all nodes that reach it, up to the farthest with excess; puts those
// with excess into their buckets. False where there are none.
static bool search(struct hw_max_flow *f, size_t target) {
    const struct hw_flow_graph *g = f->graph;
    size_t n_active = 0;
    for (size_t layer = 0; layer < f->top; layer++) {
        uint64_t *unseen = f->unseen + layer * g->n_words;
        memset(level_of(f, layer, 0), 0, LEVELS * g->n_words * sizeof *f->levels);
        for (size_t w = f->first_word; w < f->end_word; w++) {
            unseen[w] = 0;
        }
        for (size_t i = f->first; i <= f->last && layer > 0; i++) {
            set_bit(unseen, i);
            n_active += f->excess[layer * g->n_tokens + i] > HW_FLOW_LEAST;
        }
    }
    size_t n_queue = 0;
    size_t n_reached = 0;
    f->farthest = 0;
    f->queue[n_queue++] = (uint32_t)target;
    f->distance[target] = 0;
    set_bit(level_of(f, 0, 0), target);
    for (size_t at = 0; at < n_queue && n_reached < n_active; at++) {
        size_t node = f->queue[at];
        size_t layer = node / g->n_tokens;
        uint32_t d = f->distance[node];
        if (layer > 0 && f->excess[node] > HW_FLOW_LEAST) {
            activate(f, node);
            f->farthest = d;
            n_reached++;
        }
        if (layer + 1 < f->top) {
            meet(f, f->open_up + node * g->n_words, layer + 1, d + 1, &n_queue);
        }
        if (layer > 1) {
            meet(f, f->used_down + (node - g->n_tokens) * g->n_words, layer - 1, d + 1, &n_queue);
        }
    }
    return n_reached > 0;
}

// Nodes of a layer at the distance that are in the word.
static uint64_t at_distance(const struct hw_max_flow *f, size_t layer, uint32_t d, size_t w,
                            uint64_t candidates) {
    size_t level = (d - layer) / 2;
    if (level < LEVELS) {
        return candidates & level_of(f, layer, level)[w];
    }
    const uint64_t *unseen = f->unseen + layer * f->graph->n_words;
    uint64_t found = 0;
    for (uint64_t rest = candidates & ~unseen[w]; rest != 0; rest &= rest - 1) {
        size_t i = w * WORD + (size_t)__builtin_ctzll(rest);
        bool is_there =
            i >= f->first && i <= f->last && f->distance[layer * f->graph->n_tokens + i] == d;
        found |= is_there ? rest & -rest : 0;
    }
    return found;
}

// Gives a node more excess; it has its turn in this sweep.
static void receive(struct hw_max_flow *f, size_t node, double amount) {
    bool was_active = f->excess[node] > HW_FLOW_LEAST;
    f->excess[node] += amount;
    if (!was_active && f->excess[node] > HW_FLOW_LEAST && node >= f->graph->n_tokens) {
        activate(f, node);
    }
}

// From token i of `layer` down to tokens one step nearer.
static double push_down(struct hw_max_flow *f, size_t layer, size_t i, uint32_t d, double excess) {
    const struct hw_flow_graph *g = f->graph;
    size_t below = (layer - 1) * g->n_tokens;
    size_t row = below + i; // of the edges between the two layers
    uint64_t *open = f->open_down + row * g->n_words;
    for (size_t w = f->first_word; w < f->end_word; w++) {
        uint64_t found = at_distance(f, layer - 1, d - 1, w, open[w]);
        for (; found != 0; found &= found - 1) {
            size_t j = w * WORD + (size_t)__builtin_ctzll(found);
            double capacity = g->capacity[row * g->n_tokens + j];
            double *flow = f->flow + row * g->n_tokens + j;
            double amount = capacity - *flow;
            if (*flow == 0) {
                set_bit(f->used_down + row * g->n_words, j);
                set_bit(f->used_up + (below + j) * g->n_words, i);
            }
            bool is_all = excess <= amount;
            amount = is_all ? excess : amount;
            *flow = is_all ? *flow + amount : capacity;
            if (capacity - *flow <= HW_FLOW_LEAST) {
                clear_bit(open, j);
                clear_bit(f->open_up + (below + j) * g->n_words, i);
            }
            receive(f, below + j, amount);
            if (is_all) {
                return 0;
            }
            excess -= amount;
        }
    }
    return excess;
}

// From token j of `layer` back up to tokens that had sent flow here and are one step nearer.
static double push_back(struct hw_max_flow *f, size_t layer, size_t j, uint32_t d, double excess) {
    const struct hw_flow_graph *g = f->graph;
    size_t here = layer * g->n_tokens;
    uint64_t *used = f->used_up + (here + j) * g->n_words;
    for (size_t w = f->first_word; w < f->end_word; w++) {
        uint64_t found = at_distance(f, layer + 1, d - 1, w, used[w]);
        for (; found != 0; found &= found - 1) {
            size_t i = w * WORD + (size_t)__builtin_ctzll(found);
            size_t row = here + i;
            double *flow = f->flow + row * g->n_tokens + j;
            bool is_all = excess < *flow;
            double amount = is_all ? excess : *flow;
            *flow = is_all ? *flow - amount : 0;
            if (*flow == 0) {
                clear_bit(used, i);
                clear_bit(f->used_down + row * g->n_words, j);
            }
            if (g->capacity[row * g->n_tokens + j] - *flow > HW_FLOW_LEAST) {
                set_bit(f->open_down + row * g->n_words, j);
                set_bit(f->open_up + (here + j) * g->n_words, i);
            }
            receive(f, here + g->n_tokens + i, amount);
            if (is_all) {
                return 0;
            }
            excess -= amount;
        }
    }
    return excess;
}

// Every active node, the farthest first, pushes what it has one step nearer.
static void sweep(struct hw_max_flow *f) {
    size_t n_tokens = f->graph->n_tokens;
    for (uint32_t d = f->farthest; d > 0; d--) {
        while (f->bucket[d] != NONE) {
            size_t node = f->bucket[d];
            size_t layer = node / n_tokens;
            f->bucket[d] = f->next[node];
            double excess = push_down(f, layer, node % n_tokens, d, f->excess[node]);
            if (excess > 0 && d >= layer + 2 && layer + 1 < f->top) {
                excess = push_back(f, layer, node % n_tokens, d, excess);
            }
            f->excess[node] = excess;
        }
    }
}

// Makes everything as it is between calls.
static void reset(struct hw_max_flow *f) {
    const struct hw_flow_graph *g = f->graph;
    size_t n_rows = f->last - f->first + 1;
    for (size_t layer = 0; layer < f->top; layer++) {
        size_t first = layer * g->n_tokens + f->first;
        for (size_t row = first; row < first + n_rows; row++) {
            uint64_t *used = f->used_down + row * g->n_words;
            for (size_t w = f->first_word; w < f->end_word; w++) {
                for (; used[w] != 0; used[w] &= used[w] - 1) {
                    f->flow[row * g->n_tokens + w * WORD + (size_t)__builtin_ctzll(used[w])] = 0;
                }
            }
            f->excess[row] = 0;
        }
        size_t at = first * g->n_words;
        size_t n_bytes = n_rows * g->n_words * sizeof(uint64_t);
        memcpy(f->open_down + at, g->down + at, n_bytes);
        memcpy(f->open_up + at, g->up + at, n_bytes);
        memset(f->used_up + at, 0, n_bytes);
    }
}

double hw_max_flow(struct hw_max_flow *flow, size_t top, size_t source, size_t target) {
    struct hw_max_flow *f = flow;
    const struct hw_flow_graph *g = f->graph;
    size_t n = g->n_tokens;
    if (target > source) {
        return 0;
    }
    const double *out = g->capacity + ((top - 1) * n + source) * n;
    if (top == 1) {
        return out[target];
    }
    f->first = target;
    f->last = source;
    f->first_word = target / WORD;
    f->end_word = source / WORD + 1;
    f->top = top;
    double sum_out = 0;
    double sum_in = 0;
    for (size_t i = target; i <= source; i++) {
        bool is_edge = out[i] > HW_FLOW_LEAST;
        f->excess[(top - 1) * n + i] = is_edge ? out[i] : 0;
        sum_out += is_edge ? out[i] : 0;
        double in = g->capacity[i * n + target];
        sum_in += in > HW_FLOW_LEAST ? in : 0;
    }
    double bound = sum_out < sum_in ? sum_out : sum_in;
    double least = bound - bound * 1e-14; // as good as reached: rounding of the sums
    while (f->excess[target] < least && search(f, target)) {
        sweep(f);
    }
    double value = f->excess[target];
    reset(f);
    return value;
}
