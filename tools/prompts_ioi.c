// Indirect object identification (Wang et al., arXiv 2211.00593): two people are named, one of them
// (the subject) is named again and gives something; it goes on with the other (the indirect
// object).
//
// The sentences are our own. Names, places and things are single tokens with a leading blank under
// the model's tokenizer, so prompts of one sentence have their parts at the same positions, and a
// counterpart, which differs in names only, has as many tokens. Both are checked on the whole text.
// `domain` is sentence and order, so that means by template are means by `domain`.
#include <stdlib.h>
#include <string.h>

#include "tools/prompts_kinds.h"
#include "tools/prompts_random.h"

enum { DEFAULT_COUNT = 16, MAX_WORDS = 256, WORD_BYTES = 64, TEXT_BYTES = 1024, N_NAMES = 3 };

// 1, 2: the two people, S: who gives, P: place, T: thing. All but the first word of a sentence have
// a blank in front, which belongs to the word put in.
static const struct form {
    const char *name;
    const char *text;
} forms[] = {
    {"went", "When$1 and$2 went to the$P,$S gave a$T to"},
    {"met", "After$1 and$2 had met at the$P,$S handed a$T to"},
    {"waited", "While$1 and$2 were waiting outside the$P,$S offered a$T to"},
    {"left", "Just before$1 and$2 left the$P,$S passed the$T to"},
    {"talked", "At the$P,$1 and$2 talked for an hour. Then$S showed the$T to"},
    {"visited", "Last week$1 and$2 visited the$P, where$S bought a$T for"},
    {"shared", "Since$1 and$2 shared a table at the$P,$S moved the$T closer to"},
    {"back", "Then$1 and$2 walked back from the$P, and$S lent a$T to"},
};

static const char *const default_names =
    "Mary,John,Tom,James,Daniel,Sarah,Anna,Emma,David,Michael,Robert,Mark,Paul,Peter,George,Alice,"
    "Henry,Jack,Laura,Martin,Simon,Adam,Kate,Lisa,Maria,Julia,Thomas,Charles,William,Richard,"
    "Joseph,Susan,Jane,Lucy,Helen,Ruth,Frank,Carl,Eric,Ryan,Kevin,Steven,Brian,Andrew,Matthew,Luke,"
    "Jason,Rachel,Amy,Emily,Oliver,Sam,Max,Grace,Claire,Alex,Chris";
static const char *const default_places =
    "store,park,school,office,station,garden,library,market,museum,hospital,church,hotel,"
    "restaurant,beach,theater,bank,farm,bakery,zoo,lake,river,gallery,harbor,airport";
static const char *const default_things =
    "drink,book,letter,ring,ball,key,gift,map,coin,bottle,basket,camera,watch,pen,picture,ticket,"
    "box,cup,flower,lamp,hat,necklace,computer,phone,sandwich,bag";

// Words that are one token, each with its blank.
struct words {
    char items[MAX_WORDS][WORD_BYTES];
    size_t n;
    size_t n_left_out;
};

struct recipe {
    bool is_used[HW_LENGTH(forms)];
    size_t n_forms;
    int order;
    int corrupt;
    uint64_t seed;
    struct words names;
    struct words places;
    struct words things;
};

enum corrupt { CORRUPT_ABC, CORRUPT_SWAP, CORRUPT_SECOND };

// A text with the places of what was put in.
struct sentence {
    char text[TEXT_BYTES];
    size_t n;
    size_t first[N_NAMES]; // bytes where 1, 2, S begin
    size_t ends[N_NAMES];
};

static enum hw_status read_words(const struct prompts_job *job, const char *option,
                                 const char *list, size_t least, struct words *words,
                                 struct hw_error *err) {
    for (const char *at = list; at != NULL;) {
        size_t n = strcspn(at, ",");
        char *word = words->items[words->n];
        struct hw_tokens tokens = {0};
        if (n == 0 || n + 2 > WORD_BYTES || words->n + 1 == MAX_WORDS) {
            return hw_fail(err, HW_USAGE,
                           "prompts: option --%s: wrong value (expected at most %d words of 1 to "
                           "%d bytes with commas between)",
                           option, MAX_WORDS - 1, WORD_BYTES - 2);
        }
        word[0] = ' ';
        memcpy(word + 1, at, n);
        word[n + 1] = '\0';
        enum hw_status status =
            hw_tokenizer_encode(job->tokenizer, word, n + 1, HW_BOS_NO, &tokens, err);
        bool is_good = tokens.n == 1 && tokens.items[0].id < job->n_vocab;
        for (size_t i = 0; i < words->n && is_good; i++) {
            is_good = strcmp(words->items[i], word) != 0;
        }
        hw_tokens_free(&tokens);
        if (status != HW_OK) {
            return hw_fail_context(err, status, "prompts: option --%s: ", option);
        }
        words->n += is_good;
        words->n_left_out += !is_good;
        at = at[n] == ',' ? at + n + 1 : NULL;
    }
    return words->n >= least
               ? HW_OK
               : hw_fail(err, HW_USAGE,
                         "prompts: too few of --%s are one token with a blank in front (expected "
                         "%zu, found %zu of %zu)",
                         option, least, words->n, words->n + words->n_left_out);
}

static enum hw_status read_forms(const char *list, struct recipe *recipe, struct hw_error *err) {
    for (size_t k = 0; k < HW_LENGTH(forms); k++) {
        recipe->is_used[k] = list == NULL;
    }
    for (const char *at = list; at != NULL;) {
        size_t n = strcspn(at, ",");
        size_t k = 0;
        while (k < HW_LENGTH(forms) &&
               (strlen(forms[k].name) != n || memcmp(forms[k].name, at, n) != 0)) {
            k++;
        }
        if (k == HW_LENGTH(forms)) {
            char shown[100];
            return hw_fail(err, HW_USAGE,
                           "prompts: option --forms: wrong value (expected names of sentences with "
                           "commas between, found '%s')",
                           hw_escape(shown, sizeof shown, list, strlen(list)));
        }
        recipe->is_used[k] = true;
        at = at[n] == ',' ? at + n + 1 : NULL;
    }
    for (size_t k = 0; k < HW_LENGTH(forms); k++) {
        recipe->n_forms += recipe->is_used[k];
    }
    return HW_OK;
}

static void put(struct sentence *s, const char *text, size_t n) {
    memcpy(s->text + s->n, text, n); // at most 5 words and a form, far below TEXT_BYTES
    s->n += n;
    s->text[s->n] = '\0';
}

static struct sentence write_sentence(const struct form *form, const char *const names[N_NAMES],
                                      const char *place, const char *thing) {
    static const char marks[N_NAMES] = {'1', '2', 'S'};
    struct sentence s = {.n = 0};
    for (const char *at = form->text; *at != '\0'; at++) {
        if (*at != '$') {
            put(&s, at, 1);
            continue;
        }
        at++;
        const char *mark = memchr(marks, *at, N_NAMES);
        const char *word = mark != NULL ? names[mark - marks] : *at == 'P' ? place : thing;
        if (mark != NULL) {
            s.first[mark - marks] = s.n;
        }
        put(&s, word, strlen(word));
        if (mark != NULL) {
            s.ends[mark - marks] = s.n;
        }
    }
    return s;
}

// Tokens of a sentence; each name is checked to be one of them. 0: it is not.
static enum hw_status count_tokens(const struct prompts_job *job, const struct sentence *s,
                                   size_t *ret_n, struct hw_error *err) {
    struct hw_tokens tokens = {0};
    enum hw_status status =
        hw_tokenizer_encode(job->tokenizer, s->text, s->n, HW_BOS_AUTO, &tokens, err);
    size_t n_found = 0;
    for (size_t i = 0; i < tokens.n && status == HW_OK; i++) {
        for (size_t k = 0; k < N_NAMES; k++) {
            n_found += tokens.items[i].first == s->first[k] && tokens.items[i].end == s->ends[k];
        }
    }
    if (status == HW_OK && n_found != N_NAMES) {
        status =
            hw_fail(err, HW_INPUT,
                    "prompts: a name is not one token inside '%s' (expected %d that are, found "
                    "%zu)",
                    s->text, N_NAMES, n_found);
    }
    *ret_n = tokens.n;
    hw_tokens_free(&tokens);
    return status;
}

// The span that begins at a byte, as text and occurrence: it holds with BOS and without.
static json_t *make_span(const struct sentence *s, size_t first, size_t end) {
    char word[WORD_BYTES];
    size_t n = end - first;
    int occurrence = 1;
    memcpy(word, s->text + first, n);
    word[n] = '\0';
    for (const char *at = s->text; (at = strstr(at, word)) != s->text + first; at++) {
        occurrence++;
    }
    return json_pack("{s:s, s:i}", "text", word, "occurrence", occurrence);
}

static json_t *make_spans(const struct sentence *s, bool is_abba) {
    size_t subject = is_abba ? 1 : 0;
    const char *end = strrchr(s->text, ' ');
    size_t last = (size_t)(end - s->text);
    return json_pack("{s:o, s:o, s:o, s:o}", "IO",
                     make_span(s, s->first[1 - subject], s->ends[1 - subject]), "S1",
                     make_span(s, s->first[subject], s->ends[subject]), "S2",
                     make_span(s, s->first[2], s->ends[2]), "end", make_span(s, last, s->n));
}

// n different names that are not among those before.
static void draw_names(const struct recipe *recipe, uint64_t *state, const char **names,
                       size_t n_before, size_t n) {
    for (size_t i = n_before; i < n_before + n; i++) {
        bool is_new;
        do {
            names[i] = recipe->names.items[hw_prompts_random_below(state, recipe->names.n)];
            is_new = true;
            for (size_t k = 0; k < i; k++) {
                is_new = is_new && names[k] != names[i];
            }
        } while (!is_new);
    }
}

static const struct form *pick_form(const struct recipe *recipe, size_t index) {
    size_t left = index % recipe->n_forms;
    size_t k = 0;
    while (!recipe->is_used[k] || left-- > 0) {
        k++;
    }
    return &forms[k];
}

// Sentences take turns, and every second round has the other order.
static enum hw_status make_prompt(struct prompts_job *job, const struct recipe *recipe,
                                  size_t index, struct hw_error *err) {
    static const char *const corrupts[] = {"abc", "swap", "second"};
    const struct form *form = pick_form(recipe, index);
    bool is_abba = recipe->order == 1 || (recipe->order == 0 && index / recipe->n_forms % 2 == 0);
    uint64_t state = hw_prompts_random(recipe->seed, index);
    const char *drawn[2 + N_NAMES]; // indirect object, subject, and those of abc
    const char *place = recipe->places.items[hw_prompts_random_below(&state, recipe->places.n)];
    const char *thing = recipe->things.items[hw_prompts_random_below(&state, recipe->things.n)];
    draw_names(recipe, &state, drawn, 0, 2);
    if (recipe->corrupt == CORRUPT_ABC) {
        draw_names(recipe, &state, drawn, 2, N_NAMES);
    }
    const char *io = drawn[0];
    const char *subject = drawn[1];
    const char *names[N_NAMES] = {is_abba ? io : subject, is_abba ? subject : io, subject};
    const char *others[N_NAMES] = {names[0], names[1], io};
    if (recipe->corrupt == CORRUPT_ABC) {
        memcpy(others, drawn + 2, sizeof others);
    } else if (recipe->corrupt == CORRUPT_SWAP) {
        others[0] = names[1];
        others[1] = names[0];
    }
    struct sentence text = write_sentence(form, names, place, thing);
    struct sentence other = write_sentence(form, others, place, thing);
    size_t n_tokens = 0, n_other = 0;
    enum hw_status status = count_tokens(job, &text, &n_tokens, err);
    status = status == HW_OK ? count_tokens(job, &other, &n_other, err) : status;
    if (status == HW_OK && n_tokens != n_other) {
        status =
            hw_fail(err, HW_INPUT, "prompts: the counterpart of '%s' has %zu tokens (expected %zu)",
                    text.text, n_other, n_tokens);
    }
    if (status != HW_OK) {
        return status;
    }
    char name[32], domain[32];
    (void)snprintf(name, sizeof name, "ioi-%zu", index);
    (void)snprintf(domain, sizeof domain, "%s-%s", form->name, is_abba ? "abba" : "baba");
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:{s:s, s:I}}", "name", name, "domain",
                  domain, "text", text.text, "target", io, "foil", subject, "counterpart",
                  other.text, "spans", make_spans(&text, is_abba), "ioi", "corrupt",
                  corrupts[recipe->corrupt], "seed", (json_int_t)recipe->seed);
    return hw_prompts_emit(job, line, n_tokens, err);
}

static void tell_left_out(const struct prompts_job *job, const char *what,
                          const struct words *words) {
    if (words->n_left_out > 0) {
        hw_note(job->in,
                "%zu of %zu %s are left out (not one token with a blank in front, or twice)",
                words->n_left_out, words->n + words->n_left_out, what);
    }
}

static enum hw_status make(struct prompts_job *job, struct hw_error *err) {
    const struct prompts_ioi_options *own = &job->options->ioi;
    size_t count = job->options->count > 0 ? job->options->count : DEFAULT_COUNT;
    struct recipe *recipe = calloc(1, sizeof *recipe);
    if (recipe == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the names");
    }
    recipe->order = own->order;
    recipe->corrupt = own->corrupt;
    recipe->seed = job->options->seed;
    enum hw_status status = read_forms(own->forms, recipe, err);
    if (status == HW_OK) {
        size_t least = own->corrupt == CORRUPT_ABC ? 2 + N_NAMES : 2;
        status = read_words(job, "names", own->names != NULL ? own->names : default_names, least,
                            &recipe->names, err);
    }
    if (status == HW_OK) {
        status = read_words(job, "places", own->places != NULL ? own->places : default_places, 1,
                            &recipe->places, err);
    }
    if (status == HW_OK) {
        status = read_words(job, "things", own->things != NULL ? own->things : default_things, 1,
                            &recipe->things, err);
    }
    if (status == HW_OK) {
        tell_left_out(job, "names", &recipe->names);
        tell_left_out(job, "places", &recipe->places);
        tell_left_out(job, "things", &recipe->things);
    }
    for (size_t i = 0; status == HW_OK && i < count; i++) {
        status = make_prompt(job, recipe, i, err);
    }
    free(recipe);
    return status;
}

static const char *const honoured[] = {"count", "seed",   "corrupt", "order", "forms",
                                       "names", "places", "things",  NULL};

const struct prompts_kind hw_prompts_ioi = {"ioi", honoured, make};
