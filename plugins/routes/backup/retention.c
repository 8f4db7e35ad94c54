/* GET /admin/backups/retention: what the rules of keeping say of each backup now, before anything is
 * removed by them. The rules are the worker's; a process that is configured otherwise shows its own. */
#include "backup.h"

#include <time.h>

#include "backup/stored.h"

enum { SHOWN = 1000 };

struct preview {
    ath_str client;              /* p NULL: of all */
    struct keep_rules rules;
    uint32_t shown, all, gone;
};

static struct keep_rules rules_of(const struct backups_config *c)
{
    return (struct keep_rules){ .age_s = c->retain_age_ms / 1000,
                                .count = (uint32_t)c->retain_count,
                                .daily = (uint32_t)c->retain_daily,
                                .weekly = (uint32_t)c->retain_weekly,
                                .monthly = (uint32_t)c->retain_monthly };
}

static void put_rules(struct buf *b, const struct keep_rules *rules)
{
    buf_json_key(b, "rules");
    buf_char(b, '{');
    buf_json_int(b, "age_seconds", (int64_t)rules->age_s);
    buf_json_int(b, "count", rules->count);
    buf_json_int(b, "daily", rules->daily);
    buf_json_int(b, "weekly", rules->weekly);
    buf_json_int(b, "monthly", rules->monthly);
    buf_char(b, '}');
}

static void put_backup(struct buf *b, const ath_rows *rows, const struct stored *s)
{
    int64_t made = 0;

    str_i64(ath_cell(rows, s->row, STORED_MADE), &made);
    buf_char(b, '{');
    buf_json_key(b, "job_id");
    buf_str(b, ath_cell(rows, s->row, STORED_ID));
    buf_json_str(b, "client_name", ath_cell(rows, s->row, STORED_CLIENT));
    buf_json_str(b, "s3_key", ath_cell(rows, s->row, STORED_KEY));
    buf_json_time(b, "completed_at", (uint64_t)made * 1000000000u);
    buf_json_bool(b, "proven", str_is(ath_cell(rows, s->row, STORED_PROVEN), "t"));
    buf_json_bool(b, "kept", s->why != KEEP_NOT);
    buf_json_str(b, "why", str_of(keep_why_name(s->why)));
    buf_char(b, '}');
}

static void put_backups(struct buf *b, struct preview *x, const ath_rows *rows,
                        const struct stored *all)
{
    uint32_t n = ath_host_->pg->count(rows);

    for (uint32_t i = 0; i < n; i++) {
        if (x->client.p && !str_eq(x->client, ath_cell(rows, all[i].row, STORED_CLIENT)))
            continue;
        x->all++;
        x->gone += all[i].why == KEEP_NOT;
        if (x->shown == SHOWN)
            continue;
        if (x->shown++)
            buf_char(b, ',');
        put_backup(b, rows, &all[i]);
    }
}

static int decided(ath_task *t, const ath_done *d, ath_err *e)
{
    struct preview *x = d->arg;
    const struct stored *all =
        stored_decide(ath_arena_of(t), d->rows, &x->rules, (int64_t)time(NULL));
    struct buf b = admin_answer(t, "What is kept of backups");

    (void)e;
    put_rules(&b, &x->rules);
    buf_json_key(&b, "backups");
    buf_char(&b, '[');
    put_backups(&b, x, d->rows, all);
    buf_char(&b, ']');
    buf_json_int(&b, "total", x->all);
    buf_json_int(&b, "to_be_deleted", x->gone);
    return admin_reply(t, 200, &b);
}

int backups_retention(ath_req *r, ath_err *e)
{
    struct preview *x = ath_new(ath_arena_of(r), sizeof(*x));
    int rc = backups_filter(r, "client_name", &x->client, e);

    if (rc < 0 || (rc = backups_ready(r, false, e)) < 0)
        return rc;
    x->rules = rules_of(ath_config_of(r));
    return backups_read(r, "Failed to load backups", stored_sql, NULL, 0, decided, x, e);
}
