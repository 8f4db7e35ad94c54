/* Events as lines of COPY ... FROM STDIN in its text format, which costs PostgreSQL less than the
 * binary one does.
 *
 * A column is written when the table has it and the event has a fact of its name. Old databases
 * have other types for two of them: `time` as a timestamp, `api_key_id` as the key store's own
 * number. That refers to a key; it is null when the key is gone. */
#include "sink.h"

#include <time.h>

#include "lib/plain.h"
#include "lib/sqlname.h"

enum { AS_IT_IS, AS_NUMBER, AS_TIME, AS_REFERENCE };

/* OIDs of types. */
enum { INT8 = 20, INT2 = 21, INT4 = 23, NUMERIC = 1700, TIMESTAMP = 1114, TIMESTAMPTZ = 1184 };

static const ath_fact *fact_named(const ath_event *ev, const char *name, uint32_t *ret_at)
{
    for (uint32_t i = 0; i < ev->fact_count; i++)
        if (str_is(ev->fact[i].key, name)) {
            *ret_at = i;
            return &ev->fact[i];
        }
    return NULL;
}

/* Which fact a column gets, and how; false: none. `refers`: the column that refers to other rows.
 */
static bool choose(const ath_event *ev, const struct column *c, const char *refers, uint32_t *at,
                   uint8_t *how)
{
    bool number = c->type == INT8 || c->type == INT4 || c->type == INT2 || c->type == NUMERIC;
    const ath_fact *f = fact_named(ev, c->name, at);

    *how = number ? AS_NUMBER : AS_IT_IS;
    if (!f)
        return false;
    if (number && refers && strcmp(c->name, refers) == 0)
        *how = AS_REFERENCE;
    if (number && strcmp(c->name, "api_key_id") == 0)
        return fact_named(ev, "internal_api_key_id", at) != NULL;
    if (strcmp(c->name, "time") == 0 && (c->type == TIMESTAMP || c->type == TIMESTAMPTZ))
        *how = AS_TIME;
    return true;
}

void mapping_make(struct mapping *m, const struct tables *k, enum table_id id, const ath_event *ev,
                  struct buf *copy)
{
    const struct table *t = &k->table[id];

    m->columns = 0;
    buf_reset(copy);
    buf_lit(copy, "copy ");
    table_put_name(copy, k, id);
    for (uint32_t i = 0; i < t->columns; i++) {
        uint32_t at;
        if (!choose(ev, &t->column[i], about[id].refers, &at, &m->how[m->columns]) ||
            at > UINT8_MAX)
            continue;
        m->fact[m->columns] = (uint8_t)at;
        buf_z(copy, m->columns++ ? ", " : " (");
        buf_ident(copy, str_of(t->column[i].name));
    }
    buf_lit(copy, ") from stdin");
}

bool mapping_fits(const ath_event *a, const ath_event *b)
{
    if (a->fact_count != b->fact_count)
        return false;
    if (a->flags & b->flags & ATH_EV_KEYS && a->fact_count && a->fact[0].key.p == b->fact[0].key.p)
        return true;
    for (uint32_t i = 0; i < a->fact_count; i++) { /* those of one record share their keys' texts */
        ath_str key = a->fact[i].key, other = b->fact[i].key;
        if ((key.p != other.p || key.n != other.n) && !str_eq(key, other))
            return false;
    }
    return true;
}

/* What COPY wants escaped; no text of PostgreSQL's may hold a NUL. */
static char *put_byte(char *to, char c)
{
    static const char from[] = "\b\t\n\v\f\r\\", into[] = "btnvfr\\";
    const char *known = c ? memchr(from, c, sizeof(from) - 1) : NULL;

    if (known)
        *to++ = '\\';
    *to++ = known ? into[known - from] : c ? c : '?';
    return to;
}

/* There is room for twice its length. */
static __attribute__((noinline)) char *put_escaped(char *to, ath_str s)
{
    const char *p = s.p, *end = p + s.n;
    char *from = to;

    while (p < end) {
        const char *run = p;
        p = plain_skip(p, end, PLAIN_COPY);
        to = str_put(to, str_from(run, (size_t)(p - run)));
        for (const char *stop = p + (end - p < 16 ? end - p : 16); p < stop; p++)
            to = put_byte(to, *p);
    }
    if (!str_utf8(s))
        utf8_mend(from, (size_t)(to - from));
    return to;
}

static bool is_number(ath_str s)
{
    size_t digits = 0;
    int64_t v;

    while (digits < s.n && (unsigned)(s.p[digits] - '0') < 10)
        digits++;
    return (digits == s.n && digits > 0 && digits < 19) || str_i64(s, &v);
}

enum { TIME_MOST = 32 };

static char *put_time(char *to, ath_str seconds)
{
    uint64_t v = 0;
    struct tm tm;
    time_t at;

    str_u64(seconds, &v);
    at = (time_t)v;
    gmtime_r(&at, &tm);
    return to + strftime(to, TIME_MOST, "%Y-%m-%d %H:%M:%S+00", &tm);
}

static bool is_gone(const struct gone *g, ath_str number)
{
    int64_t id;

    if (g->many || !str_i64(number, &id))
        return true;
    for (uint32_t i = 0; i < g->count; i++)
        if (g->id[i] == id)
            return true;
    return false;
}

static char *put_value(char *to, ath_str v, uint8_t how, const struct gone *gone)
{
    if (!v.p || (how == AS_NUMBER && !is_number(v)) || (how == AS_REFERENCE && is_gone(gone, v)))
        return str_put(to, ATH_S("\\N"));
    if (how == AS_TIME)
        return put_time(to, v);
    return plain_put(to, v, PLAIN_COPY) ? to + v.n : put_escaped(to, v);
}

void row_put(struct buf *b, const struct mapping *m, const ath_event *ev)
{
    size_t most = 0;
    char *to;

    for (uint32_t i = 0; i < m->columns; i++)
        most += 2 * ev->fact[m->fact[i]].value.n + TIME_MOST;
    to = buf_room(b, most + 1);
    for (uint32_t i = 0; i < m->columns; i++) {
        if (i)
            *to++ = '\t';
        to = put_value(to, ev->fact[m->fact[i]].value, m->how[i], m->gone);
    }
    *to++ = '\n';
    buf_end(b, to);
}
