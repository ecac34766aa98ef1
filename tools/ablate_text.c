// An ablation as tables, a line a unit; see ablate_report.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ablate_report.h"
#include "tools/report.h"
#include "tools/table.h"

static void print_number(struct hw_table *table, double value) {
    if (isnan(value)) {
        hw_table_cell(table, "-");
    } else {
        hw_table_cell(table, "%.4f", value);
    }
}

static void print_head(const struct ablate_view *view) {
    const struct hw_ablation *a = view->ablation;
    size_t n_run = 0;
    for (size_t p = 0; p < view->prompts->n; p++) {
        n_run += view->errors[p] == NULL;
    }
    hw_print_text(view->model);
    printf(": %zu changed runs of each of %zu prompt%s", a->n_runs, n_run, n_run == 1 ? "" : "s");
    if (n_run < view->prompts->n) {
        printf(" (%zu failed)", view->prompts->n - n_run);
    }
    bool is_first = true;
    for (int k = 0; k < HW_N_METRICS; k++) {
        struct hw_mean mean = ablate_mean_baseline(view, (enum hw_metric)k);
        if (!a->wanted[k] || k == HW_METRIC_LOSS_CHANGE || k == HW_METRIC_KL ||
            k == HW_METRIC_TOP1_CHANGE) {
            continue;
        }
        printf("%s%s %.4f", is_first ? "\nunchanged: " : ", ", hw_metric_rows[k].name,
               hw_mean_value(&mean));
        is_first = false;
    }
    (void)putchar('\n');
}

static enum hw_status print_arm(const struct ablate_view *view, size_t arm, struct hw_error *err) {
    const struct hw_ablation *a = view->ablation;
    char columns[400] = "<unit|effect|se";
    size_t n = 0;
    for (int k = 0; k < HW_N_METRICS; k++) {
        if (a->wanted[k]) {
            size_t at = strlen(columns);
            (void)snprintf(columns + at, sizeof columns - at, "|%s", hw_metric_rows[k].name);
        }
    }
    size_t *order = ablate_order(view, arm, &n);
    if (order == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the table");
    }
    struct hw_table *table = hw_table_open(columns);
    for (size_t i = 0; i < n && i < view->top; i++) {
        struct hw_mean effect = ablate_mean_effect(view, arm, order[i]);
        hw_table_cell(table, "%s", a->units->items[order[i]].name);
        print_number(table, hw_mean_value(&effect));
        print_number(table, hw_mean_se(&effect));
        for (int k = 0; k < HW_N_METRICS; k++) {
            if (a->wanted[k]) {
                struct hw_mean mean = ablate_mean(view, arm, order[i], (enum hw_metric)k);
                print_number(table, hw_mean_value(&mean));
            }
        }
    }
    (void)putchar('\n');
    hw_print_line("%s", a->arms[arm]->spec);
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    if (n > view->top) {
        printf("  ... %zu more (--top)\n", n - view->top);
    }
    hw_table_close(&table);
    free(order);
    return status;
}

enum hw_status hw_ablate_print(const struct ablate_view *view, struct hw_error *err) {
    print_head(view);
    enum hw_status status = HW_OK;
    for (size_t arm = 0; arm < view->ablation->n_arms && status == HW_OK; arm++) {
        status = print_arm(view, arm, err);
    }
    return status;
}
