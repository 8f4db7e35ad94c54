/* From label sets to the Prometheus text, format 0.0.4.
 *
 * Families with the same labels share one fold: rows of label text and a tally, sorted by the
 * text, so that the output is the same whatever the order of the threads.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "log/metric_priv.h"

void metric_head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metric_label(struct buf *b, const char *name, ath_str value)
{
    bool utf8 = str_utf8(value);

    buf_z(b, name);
    buf_lit(b, "=\"");
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"')
            buf_char(b, '\\');
        if (c == '\n')
            buf_lit(b, "\\n");
        else
            buf_char(b, (unsigned char)c >= 0x80 && !utf8 ? '?' : c);
    }
    buf_char(b, '"');
}

void number_seconds(struct buf *b, double v)
{
    buf_printf(b, "%.6f", v);
}

/* ---- label sets as named values ---- */

struct row {
    ath_str labels; /* a="x",b="y" */
    struct tally tally;
};

struct view {          /* one set's labels, and what follows from them */
    const char *names; /* of the key: "method,route" */
    ath_str value[LABELS_MOST];
    unsigned status;
};

static ath_str family_of(unsigned status)
{
    static const char *const names[] = { "5xx", "1xx", "2xx", "3xx", "4xx", "5xx" };

    return str_of(names[status >= 100 && status < 600 ? status / 100 : 0]);
}

static ath_str class_of(unsigned status)
{
    if (status >= 500)
        return ATH_S("server");
    return status >= 400 ? ATH_S("client") : ATH_S("none");
}

static void view_fill(struct view *v, const struct set *s, const char *names)
{
    ath_str rest = str_of(names), name;
    size_t at = 0;
    uint64_t status = 0;

    *v = (struct view){ .names = names };
    for (unsigned i = 0; i < LABELS_MOST && at < s->key_n && str_next(&rest, ',', &name); i++) {
        v->value[i] = str_of(s->key + at);
        at += v->value[i].n + 1;
        if (str_is(name, "status_code") && str_u64(v->value[i], &status))
            v->status = (unsigned)status;
    }
}

static ath_str view_get(const struct view *v, ath_str label)
{
    ath_str rest = str_of(v->names), name;

    for (unsigned i = 0; str_next(&rest, ',', &name); i++)
        if (str_eq(name, label))
            return v->value[i];
    return str_is(label, "status_family") ? family_of(v->status) : class_of(v->status);
}

static ath_str labels_text(ath_arena *a, const struct view *v, const char *labels)
{
    struct buf b = ARENA_BUF(a);
    ath_str rest = str_of(labels), label;

    while (labels[0] && str_next(&rest, ',', &label)) {
        ath_str name = arena_str(a, label);
        if (b.n)
            buf_char(&b, ',');
        metric_label(&b, name.p, view_get(v, label));
    }
    return buf_view(&b);
}

/* ---- folds ---- */

static int row_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct row *)a)->labels, ((const struct row *)b)->labels);
}

/* Rows in order, equal ones added up. Without labels there is always one row. */
static size_t fold(ath_arena *a, const struct table *t, const char *names, const char *labels,
                   struct row **ret)
{
    struct row *rows = arena_alloc(a, (t->n + 1) * sizeof(*rows));
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < t->cap; i++) {
        struct view v;
        if (!t->slot[i])
            continue;
        view_fill(&v, t->slot[i], names);
        rows[n].labels = labels_text(a, &v, labels);
        rows[n].tally = t->slot[i]->tally;
        rows[n].tally.client_errors = v.status >= 400 && v.status < 500 ? rows[n].tally.count : 0;
        rows[n].tally.server_errors = v.status >= 500 ? rows[n].tally.count : 0;
        n++;
    }
    if (n == 0 && labels[0] == 0)
        rows[n++].labels = ATH_S("");
    qsort(rows, n, sizeof(*rows), row_cmp);
    for (size_t i = 1; i < n; i++) {
        if (str_eq(rows[i].labels, rows[kept].labels))
            tally_add(&rows[kept].tally, &rows[i].tally);
        else
            rows[++kept] = rows[i];
    }
    *ret = rows;
    return n ? kept + 1 : 0;
}

/* ---- samples ---- */

static void sample_head(struct buf *b, const char *name, const char *suffix, ath_str labels,
                        const char *more)
{
    buf_z(b, name);
    buf_z(b, suffix);
    if (labels.n || more[0]) {
        buf_char(b, '{');
        buf_str(b, labels);
        if (labels.n && more[0])
            buf_char(b, ',');
        buf_z(b, more);
        buf_char(b, '}');
    }
    buf_char(b, ' ');
}

static void sample_int(struct buf *b, const struct derived *d, const char *suffix, ath_str labels,
                       const char *more, uint64_t v)
{
    sample_head(b, d->name, suffix, labels, more);
    buf_u64(b, v);
    buf_char(b, '\n');
}

static void sample_real(struct buf *b, const struct derived *d, const char *suffix, ath_str labels,
                        const char *more, double v)
{
    sample_head(b, d->name, suffix, labels, more);
    number_seconds(b, v);
    buf_char(b, '\n');
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static double share(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : 0;
}

static void histogram(struct buf *b, const struct derived *d, const struct row *r)
{
    static const char *const bounds[BOUNDS + 1] = {
        "le=\"0.001\"", "le=\"0.0025\"", "le=\"0.005\"", "le=\"0.01\"",
        "le=\"0.025\"", "le=\"0.05\"",   "le=\"0.1\"",   "le=\"0.25\"",
        "le=\"0.5\"",   "le=\"1\"",      "le=\"2.5\"",   "le=\"5\"",
        "le=\"10\"",    "le=\"20\"",     "le=\"30\"",    "le=\"+Inf\"",
    };
    uint64_t sum = 0;

    for (unsigned i = 0; i <= BOUNDS; i++) {
        sum += r->tally.bucket[i];
        sample_int(b, d, "_bucket", r->labels, bounds[i], sum);
    }
    sample_real(b, d, "_sum", r->labels, "", seconds(r->tally.sum_ns));
    sample_int(b, d, "_count", r->labels, "", r->tally.count);
}

static void summary(struct buf *b, const struct derived *d, ath_str labels, double sum,
                    uint64_t count)
{
    sample_real(b, d, "_sum", labels, "", sum);
    sample_int(b, d, "_count", labels, "", count);
}

static void rates(struct buf *b, const struct derived *d, const struct row *r)
{
    const struct tally *t = &r->tally;

    sample_real(b, d, "", r->labels, "error_class=\"all\"",
                share(t->client_errors + t->server_errors, t->count));
    sample_real(b, d, "", r->labels, "error_class=\"client\"", share(t->client_errors, t->count));
    sample_real(b, d, "", r->labels, "error_class=\"server\"", share(t->server_errors, t->count));
}

static void classes(struct buf *b, const struct derived *d, const struct row *r)
{
    if (r->tally.client_errors)
        sample_int(b, d, "", r->labels, "error_class=\"client\"", r->tally.client_errors);
    if (r->tally.server_errors)
        sample_int(b, d, "", r->labels, "error_class=\"server\"", r->tally.server_errors);
}

static void value(struct buf *b, const struct derived *d, const struct row *r)
{
    double v = r->tally.value;

    if (v >= 0 && v < 1e15 && v == (double)(uint64_t)v)
        sample_int(b, d, "", r->labels, "", (uint64_t)v);
    else
        sample_real(b, d, "", r->labels, "", v);
}

static void row_write(struct buf *b, const struct derived *d, const struct row *r)
{
    const struct tally *t = &r->tally;
    uint64_t errors = t->client_errors + t->server_errors;

    switch (d->show) {
    case SHOW_COUNT:
        return sample_int(b, d, "", r->labels, "", t->count);
    case SHOW_VALUE:
        return value(b, d, r);
    case SHOW_TIME:
        return summary(b, d, r->labels, seconds(t->sum_ns), t->count);
    case SHOW_TIME_MIN:
        return sample_real(b, d, "", r->labels, "", seconds(t->min_ns));
    case SHOW_TIME_MAX:
        return sample_real(b, d, "", r->labels, "", seconds(t->max_ns));
    case SHOW_HISTOGRAM:
        return histogram(b, d, r);
    case SHOW_IN:
        return summary(b, d, r->labels, (double)t->in_bytes, t->in_count);
    case SHOW_IN_MIN:
        return sample_real(b, d, "", r->labels, "", (double)t->in_min);
    case SHOW_IN_MAX:
        return sample_real(b, d, "", r->labels, "", (double)t->in_max);
    case SHOW_OUT:
        return summary(b, d, r->labels, (double)t->out_bytes, t->out_count);
    case SHOW_OUT_MIN:
        return sample_real(b, d, "", r->labels, "", (double)t->out_min);
    case SHOW_OUT_MAX:
        return sample_real(b, d, "", r->labels, "", (double)t->out_max);
    case SHOW_HANDLER_ERRORS:
        return sample_int(b, d, "", r->labels, "", t->handler_errors);
    case SHOW_CHANGE_RATE:
        return sample_real(b, d, "", r->labels, "", share(t->handler_errors, t->in_count));
    case SHOW_ERROR_RATE:
        return sample_real(b, d, "", r->labels, "", share(errors, t->count));
    case SHOW_SERVER_RATE:
        return sample_real(b, d, "", r->labels, "", share(t->server_errors, t->count));
    case SHOW_HANDLER_RATE:
        return sample_real(b, d, "", r->labels, "", share(t->handler_errors, t->count));
    case SHOW_RATES:
        return rates(b, d, r);
    case SHOW_CLASSES:
        return classes(b, d, r);
    case SHOW_ROWS:
        return; /* of all rows together */
    }
}

static void family_write(struct buf *b, const struct derived *d, const struct row *rows, size_t n)
{
    metric_head(b, d->name, d->type, d->help);
    if (d->show == SHOW_ROWS)
        sample_int(b, d, "", ATH_S(""), "", n);
    for (size_t i = 0; i < n; i++)
        row_write(b, d, &rows[i]);
}

static void families_write(struct buf *b, const struct table *sets, const char *names,
                           const struct derived *family, size_t n)
{
    const char *labels = NULL;
    struct row *rows = NULL;
    size_t count = 0;
    ath_arena a;

    arena_init(&a);
    for (size_t i = 0; i < n; i++) {
        if (!labels || strcmp(labels, family[i].label) != 0) {
            labels = family[i].label;
            arena_free(&a);
            count = fold(&a, sets, names, labels, &rows);
        }
        family_write(b, &family[i], rows, count);
    }
    arena_free(&a);
}

void derived_write(struct buf *b, int kind, const struct derived *family, size_t n)
{
    struct table sets;

    shards_sum(kind, 0, SETS, kinds[kind].keep, &sets);
    families_write(b, &sets, kinds[kind].names, family, n);
    table_free(&sets);
}

void derived_family(struct buf *b, uint32_t id, size_t most, const struct derived *d)
{
    struct table sets;

    shards_sum(-1, id, most, 0, &sets);
    families_write(b, &sets, d->label, d, 1);
    table_free(&sets);
}
