/* Post-processing of a page (contract 15): buckets by a column's value or by a day, hour or minute,
 * each with its rows and the exact decimal sum of another column.
 *
 * Rows are not written again: their JSON is copied from where it stands in the answer.
 */
#include "dataplane/dataplane.h"

#include "lib/json.h"

enum { DIGITS = 1024 }; /* before and behind the point */

struct total { /* a sum of numbers of one sign; digit i stands for 10^(i - DIGITS) */
    uint8_t digit[DIGITS * 2];
    uint32_t low, high; /* digits in use: [low, high) */
};

struct sum {
    struct total up, down; /* what was added, what was taken away */
    uint32_t scale;        /* digits behind the point that are shown */
};

struct member { /* a row in its bucket */
    ath_str label;
    uint32_t row;
};

struct grouping {
    struct dp *dp;
    const struct dp_group *g;
    const struct dp_table *t;
    ath_str cache_key;
    uint32_t by, sum; /* columns */
};

static int fail(const struct grouping *x, const char *what, ath_str value, const char *rest)
{
    return ath_raise(x->dp->e, "invalid_post_processing_configuration",
                     "Post-processing failure: %s%.*s%s (cache_key=%.*s)", what, STR_ARG(value),
                     rest, STR_ARG(x->cache_key));
}

/* ---- exact sums ---- */

static void total_reset(struct total *t)
{
    memset(t, 0, sizeof(*t));
    t->low = t->high = DIGITS;
}

static void sum_reset(struct sum *s)
{
    total_reset(&s->up);
    total_reset(&s->down);
    s->scale = 0;
}

static bool carry(struct total *t, uint32_t at, unsigned v)
{
    for (; v; at++) {
        if (at >= DIGITS * 2)
            return false;
        v += t->digit[at];
        t->digit[at] = (uint8_t)(v % 10);
        v /= 10;
        if (at >= t->high)
            t->high = at + 1;
        if (at < t->low)
            t->low = at;
    }
    return true;
}

/* Adds a JSON number. False: it is none, or it has too many digits. */
static bool sum_add(struct sum *s, ath_str number)
{
    struct total *to = number.n && number.p[0] == '-' ? &s->down : &s->up;
    size_t end = 0, point, digits = 0;
    int64_t exponent = 0, scale;

    if (number.n && number.p[0] == '-')
        number = str_after(number, 1);
    while (end < number.n && (number.p[end] | 32) != 'e')
        end++;
    if (end < number.n) {
        ath_str e = str_after(number, end + 1);
        if (!str_i64(e.n && e.p[0] == '+' ? str_after(e, 1) : e, &exponent))
            return false;
    }
    point = str_find(str_from(number.p, end), '.');
    scale = (int64_t)(point < end ? end - point - 1 : 0) - exponent;
    if (scale < -DIGITS || scale > DIGITS)
        return false;
    for (size_t i = end; i > 0; i--) {
        int64_t at = DIGITS - scale + (int64_t)digits;
        if (number.p[i - 1] == '.')
            continue;
        if (number.p[i - 1] < '0' || number.p[i - 1] > '9' || at < 0 || at >= DIGITS * 2)
            return false;
        if (!carry(to, (uint32_t)at, (unsigned)(number.p[i - 1] - '0')))
            return false;
        digits++;
    }
    if (scale > (int64_t)s->scale)
        s->scale = (uint32_t)scale;
    return digits > 0;
}

static int total_cmp(const struct total *a, const struct total *b)
{
    for (uint32_t i = a->high > b->high ? a->high : b->high; i > 0; i--)
        if (a->digit[i - 1] != b->digit[i - 1])
            return a->digit[i - 1] > b->digit[i - 1] ? 1 : -1;
    return 0;
}

static void sum_write(const struct sum *s, struct buf *b)
{
    int sign = total_cmp(&s->up, &s->down);
    const struct total *more = sign >= 0 ? &s->up : &s->down, *less = sign >= 0 ? &s->down : &s->up;
    struct total t = *more;
    uint32_t top;
    int borrow = 0;

    for (uint32_t i = DIGITS - s->scale; i < DIGITS * 2 && i < more->high; i++) {
        int v = t.digit[i] - less->digit[i] - borrow;
        borrow = v < 0;
        t.digit[i] = (uint8_t)(v < 0 ? v + 10 : v);
    }
    for (top = t.high; top > DIGITS + 1 && !t.digit[top - 1]; top--)
        ;
    if (top < DIGITS + 1)
        top = DIGITS + 1;
    if (sign < 0)
        buf_char(b, '-');
    for (uint32_t i = top; i > DIGITS - s->scale; i--) {
        if (i == DIGITS)
            buf_char(b, '.');
        buf_char(b, (char)('0' + t.digit[i - 1]));
    }
}

/* ---- times ---- */

static int64_t days_of(int64_t y, int64_t m, int64_t d) /* since 1970-01-01, proleptic Gregorian */
{
    int64_t era, of_era, of_year;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    of_era = y - era * 400;
    of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool number_at(ath_str s, size_t at, size_t n, int64_t *ret)
{
    return at + n <= s.n && str_i64(str_from(s.p + at, n), ret) && s.p[at] >= '0';
}

/* "Z", "+02", "+02:00", "" behind a time. */
static bool zone_of(ath_str s, int64_t *ret_seconds)
{
    int64_t h, m = 0;

    *ret_seconds = 0;
    if (!s.n || str_is(s, "Z") || str_is(s, "z"))
        return true;
    if ((s.p[0] != '+' && s.p[0] != '-') || !number_at(s, 1, 2, &h))
        return false;
    if (s.n > 3 && !(s.p[3] == ':' && s.n == 6 && number_at(s, 4, 2, &m)))
        return false;
    *ret_seconds = (h * 60 + m) * (s.p[0] == '-' ? -60 : 60);
    return true;
}

/* "2024-01-01", "2024-01-01T10:00:00.5+00:00", "2024-01-01 10:00:00"; without a zone UTC. */
static bool time_of(ath_str s, int64_t *ret)
{
    int64_t y, mo, d, h = 0, mi = 0, sec = 0, zone = 0;
    size_t at = 16;

    if (!number_at(s, 0, 4, &y) || !number_at(s, 5, 2, &mo) || !number_at(s, 8, 2, &d) ||
        s.p[4] != '-' || s.p[7] != '-' || mo < 1 || mo > 12 || d < 1 || d > 31)
        return false;
    if (s.n > 10) {
        if ((s.p[10] != 'T' && s.p[10] != 't' && s.p[10] != ' ') || !number_at(s, 11, 2, &h) ||
            !number_at(s, 14, 2, &mi) || s.p[13] != ':')
            return false;
        if (at < s.n && s.p[at] == ':') {
            if (!number_at(s, 17, 2, &sec))
                return false;
            at = 19;
        }
        if (at < s.n && s.p[at] == '.')
            for (at++; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++)
                ;
        if (!zone_of(str_after(s, at), &zone))
            return false;
    }
    *ret = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - zone;
    return true;
}

static void two(struct buf *b, int64_t v)
{
    buf_char(b, (char)('0' + v / 10));
    buf_char(b, (char)('0' + v % 10));
}

static void time_label(struct buf *b, int64_t t, enum dp_grain grain)
{
    int64_t days = t / 86400, rest = t % 86400, era, of_era, y, of_year, m;

    if (rest < 0) {
        rest += 86400;
        days--;
    }
    days += 719468; /* the inverse of days_of() */
    era = (days >= 0 ? days : days - 146096) / 146097;
    of_era = days - era * 146097;
    y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * y + y / 4 - y / 100);
    m = (5 * of_year + 2) / 153;
    buf_printf(b, "%04lld-", (long long)(y + era * 400 + (m >= 10)));
    two(b, m < 10 ? m + 3 : m - 9);
    buf_char(b, '-');
    two(b, of_year - (153 * m + 2) / 5 + 1);
    if (grain == DP_GRAIN_DAY)
        return;
    buf_char(b, ' ');
    two(b, rest / 3600);
    buf_char(b, ':');
    two(b, grain == DP_GRAIN_MINUTE ? rest / 60 % 60 : 0);
}

/* ---- buckets ---- */

/* A cell as a JSON value; *ret_text: a string decoded, anything else as JSON text. */
static const struct json *cell(const struct grouping *x, uint32_t row, uint32_t column,
                               ath_str *ret_text)
{
    struct buf b = dp_buf(x->dp);
    struct json_error why;
    const struct json *v;

    buf_typed(&b, x->t->type[column],
              ath_cell(x->t->rows, x->t->first + row, x->t->column + column));
    v = json_read(buf_view(&b), JSON_ARENA(x->dp->arena), DP_VALUES, &why);
    *ret_text = v && v->type == JSON_STRING ? v->text : buf_view(&b);
    return v;
}

static int label_of(const struct grouping *x, uint32_t row, ath_str *ret)
{
    const struct json *v = cell(x, row, x->by, ret);
    struct buf b = dp_buf(x->dp);
    double seconds;
    int64_t t;

    if (x->g->grain == DP_GRAIN_NONE)
        return 0;
    if (v && v->type == JSON_STRING) {
        if (!time_of(*ret, &t))
            return fail(x, "Failed to parse datetime string: '", *ret, "'");
    } else if (v && v->type == JSON_NUMBER) {
        if (!str_double(*ret, &seconds) || !(seconds > -62135596800.0 && seconds < 253402300800.0))
            return fail(x, "Invalid unix timestamp: ", *ret, "");
        t = (int64_t)seconds - (seconds < 0 && seconds != (double)(int64_t)seconds);
    } else {
        return fail(x, "Value must be a string (RFC3339/datetime) or number (unix timestamp)",
                    (ath_str){ "", 0 }, "");
    }
    time_label(&b, t, x->g->grain);
    *ret = buf_view(&b);
    return 0;
}

static int by_label(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int c = str_cmp(x->label, y->label);

    return c ? c : (x->row > y->row) - (x->row < y->row);
}

struct value { /* a number as it came, and in the one spelling that it compares by */
    ath_str text, same;
};

static int by_value(const void *a, const void *b)
{
    return str_cmp(((const struct value *)a)->same, ((const struct value *)b)->same);
}

/* The same number in one spelling, so that 1.0 and 1 are one value. */
static ath_str canonical(const struct grouping *x, ath_str number, struct sum *scratch)
{
    struct buf b = dp_buf(x->dp);

    sum_reset(scratch);
    sum_add(scratch, number);
    sum_write(scratch, &b);
    if (str_find(buf_view(&b), '.') < b.n)
        while (b.p[b.n - 1] == '0' || b.p[b.n - 1] == '.')
            if (b.p[--b.n] == '.')
                break;
    return buf_view(&b);
}

/* Adds a bucket's values to `s`. With dedup equal values count once. */
static int bucket_sum(const struct grouping *x, const struct member *m, uint32_t n, struct sum *s)
{
    struct value *seen = dp_new(x->dp, (n + 1) * sizeof(*seen));
    ath_str text;
    struct sum *scratch = x->g->dedup ? dp_new(x->dp, sizeof(*scratch)) : NULL;
    uint32_t values = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct json *v = cell(x, m[i].row, x->sum, &text);
        if (v && v->type == JSON_NULL)
            continue;
        if (!v || v->type != JSON_NUMBER || (!x->g->dedup && !sum_add(s, text)))
            return fail(x, "Aggregation column '", x->g->sum, "' contains non-numeric data");
        if (x->g->dedup)
            seen[values++] = (struct value){ text, canonical(x, text, scratch) };
    }
    qsort(seen, values, sizeof(*seen), by_value);
    for (uint32_t i = 0; i < values; i++)
        if ((i == 0 || !str_eq(seen[i].same, seen[i - 1].same)) && !sum_add(s, seen[i].text))
            return fail(x, "Aggregation column '", x->g->sum, "' contains non-numeric data");
    return 0;
}

static int bucket_write(const struct grouping *x, const struct member *m, uint32_t n, struct sum *s,
                        struct buf *b)
{
    int rc = 0;

    if (!x->g->cumulative && s)
        sum_reset(s);
    if (s && (rc = bucket_sum(x, m, n, s)) < 0)
        return rc;
    buf_lit(b, "{\"aggregation\":");
    if (s) {
        buf_char(b, '"');
        sum_write(s, b);
        buf_char(b, '"');
    } else {
        buf_lit(b, "null");
    }
    buf_json_str(b, "label", m->label);
    buf_lit(b, ",\"rows\":[");
    for (uint32_t i = 0; i < n; i++) {
        size_t from = x->t->at[m[i].row], size = x->t->at[m[i].row + 1] - from - 1;
        if (i)
            buf_char(b, ',');
        buf_grow(b, size);
        buf_mem(b, b->p + from, size);
    }
    buf_lit(b, "]}");
    return 0;
}

static bool column_named(const struct dp_table *t, ath_str key, uint32_t *ret)
{
    for (uint32_t i = 0; i < t->columns; i++) {
        if (str_eq(t->key[i], key)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static int buckets(const struct grouping *x, struct member *m, struct sum *s, struct buf *b)
{
    for (uint32_t i = 0, n; i < x->t->count; i += n) {
        int rc;
        for (n = 1; i + n < x->t->count && str_eq(m[i].label, m[i + n].label); n++)
            ;
        if (i)
            buf_char(b, ',');
        if ((rc = bucket_write(x, m + i, n, s, b)) < 0)
            return rc;
    }
    return 0;
}

int dp_group_write(struct dp *dp, const struct dp_group *g, const struct dp_table *t,
                   ath_str cache_key, struct buf *b)
{
    struct grouping x = { .dp = dp, .g = g, .t = t, .cache_key = cache_key };
    struct member *m = dp_new(dp, (t->count + 1) * sizeof(*m));
    struct sum *s = g->sum.n ? dp_new(dp, sizeof(*s)) : NULL;
    int rc;

    if (g->cumulative && !g->sum.n)
        return fail(&x, "aggregation_strategy requires aggregation_column", (ath_str){ "", 0 }, "");
    if (t->count && !column_named(t, g->by, &x.by))
        return fail(&x, "Missing group_by column '", g->by, "'");
    if (t->count && s && !column_named(t, g->sum, &x.sum))
        return fail(&x, "Missing aggregation column '", g->sum, "'");
    for (uint32_t i = 0; i < t->count; i++) {
        m[i].row = i;
        if ((rc = label_of(&x, i, &m[i].label)) < 0)
            return rc;
    }
    qsort(m, t->count, sizeof(*m), by_label);
    if (s)
        sum_reset(s);
    buf_lit(b, ",\"post_processing\":{\"grouped\":[");
    if ((rc = buckets(&x, m, s, b)) < 0)
        return rc;
    buf_lit(b, "]}");
    return 0;
}
