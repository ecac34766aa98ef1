// The page of measures; see measures_markdown.h.
#include "tools/measures_markdown.h"

#include <string.h>

#include "analysis/measures.h"

static void print_records(FILE *out, const struct hw_measure *m) {
    for (size_t i = 0; i < HW_MEASURE_MAX_RECORDS && m->records[i] != NULL; i++) {
        (void)fprintf(out, "%s`%s`", i > 0 ? " or " : "", m->records[i]);
    }
    if (m->also != NULL) {
        (void)fprintf(out, "%s%s", m->records[0] != NULL ? "; " : "", m->also);
    }
}

void hw_measures_markdown(FILE *out) {
    size_t n;
    const struct hw_measure *measures = hw_measures(&n);
    (void)fprintf(out,
                  "# What each measure needs\n\n"
                  "Which `--record` of a capture serves which measure. This page is printed from "
                  "the table that the program itself\n"
                  "uses (`analysis/measures.c`); the same table words the message where a capture "
                  "lacks something. Where two records are named,\n"
                  "either serves: `attention_vectors` takes room that grows with T, "
                  "`attention_maps` with its square, and a\n"
                  "map rebuilt from vectors has the same bits. Formulas and their sources stand in "
                  "the headers of `analysis/`;\n"
                  "[analyses.md](analyses.md) shows what each command prints.\n\n"
                  "Maps are rebuilt under the causal mask only: vectors of a capture with a soft "
                  "cap, a window, ALiBi slopes, learned\n"
                  "sink logits or edits, which no model family of this version has, are refused by "
                  "name.\n\n"
                  "The mark is what tables, headers and tests call the definition.\n\n"
                  "| measure | mark | command | what it says | needs |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out, "| %s | %s | `headwater %s` | %s | ", measures[i].name,
                      measures[i].section, measures[i].command, measures[i].text);
        print_records(out, &measures[i]);
        (void)fprintf(out, " |\n");
    }
}
