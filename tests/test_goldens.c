// Every tiny model, folder and GGUF, on every level of kernels, against the float64 run of its
// family's own implementation: every site within 3 times the error of transformers' float32, which
// the golden stores (tests/golden/README.md). The log has the ratios.
#include <check.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "golden_sites.h"

enum { MAX_MODELS = 64, N_PROMPTS = 4, ALLOWED_RATIO = 3, LEAST_MODELS = 20 };

static char *models[MAX_MODELS];
static int n_models;

static int is_model(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void find_models(void) {
    struct dirent **entries;
    int n = scandir(HW_TEST_DATA "/models", &entries, is_model, alphasort);
    for (int i = 0; i < n && i < MAX_MODELS; i++) {
        models[n_models++] = strdup(entries[i]->d_name);
        free(entries[i]);
    }
    free(n >= 0 ? entries : NULL);
}

// The folder's golden is also that of its f32 twin; twins of other types have their own.
static void open_golden(struct golden *golden, const char *model) {
    char name[256];
    char path[1024];
    snprintf(name, sizeof name, "%s", model);
    char *end = strstr(name, "-f32.gguf");
    end = end != NULL ? end : strstr(name, ".gguf");
    if (end != NULL) {
        *end = '\0';
    }
    snprintf(path, sizeof path, "%s/tiny/%s.safetensors", HW_TEST_DATA, name);
    golden_open(golden, path);
}

static void read_prompts(const struct golden *golden, struct hw_prompts *prompts) {
    for (int p = 0; p < N_PROMPTS; p++) {
        struct golden_tensor ids = golden_read(golden, "p%d.ids", p);
        uint32_t *numbers = malloc((ids.n + 1) * sizeof *numbers);
        ck_assert_ptr_nonnull(numbers);
        for (size_t i = 0; i < ids.n; i++) {
            numbers[i] = (uint32_t)ids.values[i];
        }
        run_prompts_add(prompts, numbers, ids.n);
        free(numbers);
        golden_free(&ids);
    }
    ck_assert_uint_eq(prompts->items[3].n_ids, 70);
}

static double largest_error(const struct golden_site *site, const struct run *run,
                            enum hw_level level, const struct golden *golden) {
    double largest = -1.0;
    for (size_t p = 0; p < N_PROMPTS; p++) {
        char prefix[8];
        snprintf(prefix, sizeof prefix, "p%zu", p);
        double error = site->dataset == HW_N_DATASETS
                           ? golden_final_error(run, p, level, golden, prefix)
                           : golden_site_error(site, run, p, golden, prefix, NULL);
        largest = fmax(largest, error);
    }
    ck_assert_msg(largest >= 0, "the golden has nothing at %s", site->name);
    return largest;
}

START_TEST(sites_are_as_exact_as_float32_allows) {
    const char *name = models[_i / HW_N_LEVELS];
    enum hw_level level = (enum hw_level)(_i % HW_N_LEVELS);
    if (level > hw_cpu_level()) {
        return;
    }
    struct golden golden;
    struct hw_prompts prompts = {0};
    struct run run;
    struct hw_model *model = run_model(name);
    struct run_options options = {.level = level,
                                  .records = {"default", "attention_maps", "residual", "z",
                                              "head_result", "value", "attention_output",
                                              "mlp_output", "logits"}};
    char failed[256] = "";
    open_golden(&golden, name);
    read_prompts(&golden, &prompts);
    run_capture(model, &prompts, &options, &run);
    printf("%-24s %-7s", name, hw_level_name(level));
    for (size_t s = 0; s < N_GOLDEN_SITES; s++) {
        double error = largest_error(&golden_sites[s], &run, level, &golden);
        double theirs = golden_number(&golden, "error.%s", golden_sites[s].name);
        ck_assert_msg(theirs > 0, "the stored error of %s is %g", golden_sites[s].name, theirs);
        printf(" %s %.2f", golden_sites[s].name, error / theirs);
        if (!(error <= ALLOWED_RATIO * theirs)) {
            size_t at = strlen(failed);
            snprintf(failed + at, sizeof failed - at, " %s %.3g (float32: %.3g)",
                     golden_sites[s].name, error, theirs);
        }
    }
    printf("\n");
    fflush(stdout);
    ck_assert_msg(failed[0] == '\0', "%s, %s:%s", name, hw_level_name(level), failed);
    run_close(&run);
    run_prompts_free(&prompts);
    golden_close(&golden);
    hw_model_close(&model);
}
END_TEST

START_TEST(all_models_are_there) {
    ck_assert_int_ge(n_models, LEAST_MODELS);
}
END_TEST

int main(void) {
    find_models();
    Suite *suite = suite_create("goldens");
    TCase *tcase = tcase_create("models");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, all_models_are_there);
    tcase_add_loop_test(tcase, sites_are_as_exact_as_float32_allows, 0, n_models * HW_N_LEVELS);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    for (int level = hw_cpu_level() + 1; level < HW_N_LEVELS; level++) {
        printf("skipped: %s: this processor lacks it\n", hw_level_name((enum hw_level)level));
    }
    printf("error over that of transformers' float32:\n");
    fflush(stdout);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
