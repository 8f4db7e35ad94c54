#include "control/migratejson.h"

#include "lib/json.h"

static void between(struct buf *b)
{
    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
}

static void put_names(struct buf *b, const char *key, const struct migration *m,
                      enum finding_kind kind)
{
    buf_json_key(b, key);
    buf_char(b, '[');
    for (const struct finding *f = m->found; f; f = f->next) {
        if (f->kind != kind)
            continue;
        between(b);
        buf_json(b, f->object);
    }
    buf_char(b, ']');
}

static void put_findings(struct buf *b, const struct migration *m)
{
    buf_json_key(b, "findings");
    buf_char(b, '[');
    for (const struct finding *f = m->found; f; f = f->next) {
        between(b);
        buf_char(b, '{');
        buf_json_str(b, "kind", str_of(finding_word(f->kind)));
        buf_json_str(b, "object", f->object);
        buf_json_str(b, "message", f->message);
        if (f->command.n)
            buf_json_str(b, "command", f->command);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void put_step(struct buf *b, const struct migrate_step *s)
{
    const struct mutation *m = s->first;

    between(b);
    buf_char(b, '{');
    buf_json_int(b, "version", s->step->version);
    buf_json_str(b, "name", str_of(s->step->name));
    buf_json_bool(b, "recorded", s->recorded);
    buf_json_bool(b, "changed", s->changed);
    buf_json_bool(b, "pending", s->wanted);
    buf_json_key(b, "statements");
    buf_char(b, '[');
    for (uint32_t i = 0; s->wanted && i < s->count; i++, m = m->next) {
        between(b);
        buf_json(b, m->sql);
    }
    buf_lit(b, "]}");
}

static void put_steps(struct buf *b, const struct migration *m)
{
    buf_json_key(b, "steps");
    buf_char(b, '[');
    for (uint32_t i = 0; i < m->component->steps; i++)
        put_step(b, &m->step[i]);
    buf_char(b, ']');
    buf_json_int(b, "statements_run", m->ran);
}

void migrate_json(struct buf *b, const struct migration *m, bool steps)
{
    buf_char(b, '{');
    buf_json_str(b, "component", str_of(m->component->name));
    buf_json_str(b, "client", m->client);
    buf_json_str(b, "state", str_of(migrate_word(m->state)));
    buf_json_int(b, "version", m->version);
    buf_json_int(b, "wanted", m->wanted);
    put_names(b, "missing_tables", m, FIND_TABLE);
    put_names(b, "missing_columns", m, FIND_COLUMN);
    put_findings(b, m);
    if (steps && m->step)
        put_steps(b, m);
    buf_json_key(b, "error");
    if (m->err.message_n)
        buf_json(b, str_from(m->err.message, m->err.message_n));
    else
        buf_lit(b, "null");
    buf_char(b, '}');
}
