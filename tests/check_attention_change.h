// Calls of attention with changes, for the tests of changes.
#ifndef HW_CHECK_ATTENTION_CHANGE_H
#define HW_CHECK_ATTENTION_CHANGE_H

#include "check_attention.h"

enum { MAX_CHANGES = 4, N_CHANGE_KINDS = 8, LONGEST = ATTENTION_LONG + 64 };

// A list of changes with the sets that they point to.
struct changes {
    struct hw_attention_change list[MAX_CHANGES];
    size_t n;
    uint8_t heads[MAX_CHANGES][16];
    uint8_t queries[MAX_CHANGES][LONGEST];
    uint8_t keys[MAX_CHANGES][LONGEST];
    float *q_sinks; // of the call's size
};

static struct changes changes;

static inline struct hw_attention_change *add_change(enum hw_attention_change_kind kind) {
    ck_assert_uint_lt(changes.n, MAX_CHANGES);
    struct hw_attention_change *change = &changes.list[changes.n++];
    *change = (struct hw_attention_change){.kind = kind};
    return change;
}

static inline void take_changes(struct call *call) {
    call->args.changes = changes.list;
    call->args.n_changes = changes.n;
}

static inline void open_changed(struct call *call, struct shape shape, enum kind kind,
                                unsigned set) {
    call_open(call, shape, kind, set);
    ck_assert_uint_le(call->args.n_keys, LONGEST);
    changes.n = 0;
    free(changes.q_sinks);
    size_t n = call->args.n_queries * call->args.q_stride;
    changes.q_sinks = malloc(n * sizeof(float));
    ck_assert_ptr_nonnull(changes.q_sinks);
    uint64_t seed = n;
    check_random_normal(&seed, 1, n, changes.q_sinks);
}

// Sets are NULL (all) or hold about half of what there is, chosen by the seed.
static inline uint8_t *some(uint64_t *seed, uint8_t *set, size_t n) {
    if (check_random_bits(seed) % 3 == 0) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        set[i] = check_random_bits(seed) % 2;
    }
    return set;
}

// A change of this kind with everything else left to the seed.
static inline void add_random(const struct call *call, enum hw_attention_change_kind kind,
                              uint64_t *seed) {
    static const float factors[] = {0, .5f, 1, 2, 1e-12f}, biases[] = {0, 1.5f, -3, 40, -INFINITY};
    const struct hw_attention_args *args = &call->args;
    size_t at = changes.n;
    struct hw_attention_change *change = add_change(kind);
    change->heads = some(seed, changes.heads[at], args->n_heads);
    change->queries = some(seed, changes.queries[at], args->n_keys);
    change->keys = some(seed, changes.keys[at], args->n_keys);
    size_t x = check_random_bits(seed) % 5;
    change->amount = kind == HW_CHANGE_SCALE ? factors[x] : biases[x];
    change->is_renormalised = check_random_bits(seed) % 2;
    change->key = check_random_bits(seed) % args->n_keys / (check_random_bits(seed) % 8 + 1);
    change->n_sinks = check_random_bits(seed) % 40 / (check_random_bits(seed) % 40 + 1);
    change->n_recent = check_random_bits(seed) % (args->n_keys + 2);
    change->q_sinks = check_random_bits(seed) % 2 ? changes.q_sinks : NULL;
}

// Lists of one change of every kind, then of four of any.
static inline void make_list(const struct call *call, int list, uint64_t seed) {
    changes.n = 0;
    if (list < N_CHANGE_KINDS) {
        add_random(call, (enum hw_attention_change_kind)list, &seed);
    }
    while (list >= N_CHANGE_KINDS && changes.n < MAX_CHANGES) {
        add_random(call, check_random_bits(&seed) % N_CHANGE_KINDS, &seed);
    }
}

// |got - want| may be what float sums of n terms lose: n roundings, relative to the terms' size.
// Every term carries a few roundings of its own, of which 8 are allowed.
static inline void check_sum(float got, double want, double size, size_t n) {
    double limit = (double)(n + 8) * 0x1p-24 * size;
    if (!(fabs((double)got - want) <= limit)) {
        ck_abort_msg("%.9g instead of %.9g, limit %g", (double)got, want, limit);
    }
}

#endif
