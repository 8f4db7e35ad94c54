/* Collecting what is wrong, and printing it in order. */
#include "config/report.h"

#define NOTES_MAX 300

void config_report_init(struct config_report *rep)
{
    *rep = (struct config_report){ 0 };
    arena_init(&rep->arena);
}

void config_report_free(struct config_report *rep)
{
    arena_free(&rep->arena);
    config_report_init(rep);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_place(const struct config_place *a, const struct config_place *b)
{
    return a->line == b->line && a->column == b->column && same_text(a->file, b->file) &&
           same_text(a->name, b->name);
}

static bool known(const struct config_report *rep, int level, const struct config_place *at,
                  const char *text)
{
    for (size_t i = 0; i < rep->n; i++)
        if (rep->note[i].level == level && same_place(&rep->note[i].at, at) &&
            same_text(rep->note[i].text, text))
            return true;
    return false;
}

static uint32_t group_of(const struct config_report *rep, const char *file)
{
    uint32_t most = 0;

    if (!file)
        return UINT32_MAX;
    for (size_t i = 0; i < rep->n; i++) {
        if (rep->note[i].at.file && strcmp(rep->note[i].at.file, file) == 0)
            return rep->note[i].group;
        if (rep->note[i].at.file && rep->note[i].group >= most)
            most = rep->note[i].group + 1;
    }
    return most;
}

static void keep(struct config_report *rep, const struct config_note *note)
{
    if (rep->n == rep->cap) {
        size_t cap = rep->cap ? rep->cap * 2 : 16;
        struct config_note *more = arena_alloc(&rep->arena, cap * sizeof(*more));
        if (rep->n)
            memcpy(more, rep->note, rep->n * sizeof(*more));
        rep->note = more;
        rep->cap = cap;
    }
    rep->note[rep->n] = *note;
    rep->note[rep->n].group = group_of(rep, note->at.file);
    rep->n++;
}

ATH_PRINTF(4, 0)
static void add(struct config_report *rep, int level, const struct config_place *at,
                const char *fmt, va_list ap)
{
    struct buf text = ARENA_BUF(&rep->arena);
    struct config_note note = { .level = level };

    if (at)
        note.at = *at;
    buf_vprintf(&text, fmt, ap);
    note.text = text.p;
    rep->muted = known(rep, level, &note.at, note.text);
    if (rep->muted)
        return;
    if (rep->n < NOTES_MAX)
        keep(rep, &note);
    else
        rep->left_out++;
    rep->muted = rep->left_out > 0;
    rep->errors += level == ATH_ERROR;
    rep->warnings += level == ATH_WARN;
}

#define ADD(level)                                                                                 \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        add(rep, (level), at, fmt, ap);                                                            \
        va_end(ap);                                                                                \
    } while (0)

void config_error(struct config_report *rep, const struct config_place *at, const char *fmt, ...)
{
    ADD(ATH_ERROR);
}

void config_warn(struct config_report *rep, const struct config_place *at, const char *fmt, ...)
{
    ADD(ATH_WARN);
}

void config_info(struct config_report *rep, const struct config_place *at, const char *fmt, ...)
{
    ADD(ATH_INFO);
}

void config_hint(struct config_report *rep, const char *fmt, ...)
{
    struct buf text = ARENA_BUF(&rep->arena);
    va_list ap;

    if (rep->muted || rep->n == 0)
        return;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    rep->note[rep->n - 1].hint = text.p;
}

static void format_place(const struct config_place *at, struct buf *b)
{
    if (at->file)
        buf_z(b, at->file);
    if (at->file && at->line)
        buf_printf(b, ":%u:%u", at->line, at->column);
    if (!at->file && at->name)
        buf_z(b, at->name);
}

void config_note_format(const struct config_note *note, struct buf *b)
{
    format_place(&note->at, b);
    if (note->at.file || note->at.name)
        buf_lit(b, ": ");
    buf_z(b, note->text);
    if (note->hint)
        buf_printf(b, "\n    hint: %s", note->hint);
}

void config_note_line(const struct config_note *note, struct buf *b)
{
    buf_z(b, note->text);
    if (note->at.file || note->at.name) {
        buf_lit(b, " (");
        format_place(&note->at, b);
        buf_char(b, ')');
    }
    if (note->hint)
        buf_printf(b, ". %s", note->hint);
}

static bool before(const struct config_note *a, const struct config_note *b)
{
    if (a->group != b->group)
        return a->group < b->group;
    return a->at.line != b->at.line ? a->at.line < b->at.line : a->at.column < b->at.column;
}

/* Files in the order in which they were met, then what has no file; within a file by line. Few
 * notes: insertion.
 */
static void sort(struct config_report *rep)
{
    for (size_t i = 1; i < rep->n; i++) {
        struct config_note note = rep->note[i];
        size_t j = i;
        for (; j > 0 && before(&note, &rep->note[j - 1]); j--)
            rep->note[j] = rep->note[j - 1];
        rep->note[j] = note;
    }
}

void config_report_print(struct config_report *rep, int level, FILE *out)
{
    struct buf b = BUF_HEAP;

    sort(rep);
    for (size_t i = 0; i < rep->n; i++) {
        if (rep->note[i].level > level)
            continue;
        buf_reset(&b);
        if (rep->note[i].level == ATH_WARN)
            buf_lit(&b, "warning: ");
        config_note_format(&rep->note[i], &b);
        fprintf(out, "%s\n", b.p);
    }
    if (rep->left_out)
        fprintf(out, "and %zu more\n", rep->left_out);
    if (rep->summary)
        fprintf(out, "athena: %s\n", rep->summary);
    else if (rep->errors)
        fprintf(out, "%zu error%s; configuration not accepted\n", rep->errors,
                rep->errors == 1 ? "" : "s");
    buf_free(&b);
}

void nearest_begin(struct config_nearest *n, ath_str word)
{
    /* A third of the letters may be wrong: "prot" finds "port", "abc" does not find "xyz". */
    *n = (struct config_nearest){ .word = word, .distance = (unsigned)(word.n / 3 + 2) };
}

void nearest_try(struct config_nearest *n, ath_str candidate)
{
    unsigned d;

    if (candidate.n == 0 || n->distance == 0)
        return;
    d = str_distance(n->word, candidate, n->distance - 1);
    if (d < n->distance && d < candidate.n) {
        n->distance = d;
        n->best = candidate;
    }
}
