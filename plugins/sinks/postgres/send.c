/* A batch, in trips.
 *
 *     look at the tables, and where the writer stands -> sums -> rows of each log -> done
 *
 * The sums are one trip, of all that was taken until then; the rows of a table are one trip, or
 * more when some of them are refused. Each trip is a transaction whose first statement moves the
 * writer's standing (standing.c), so a trip that nobody knows the outcome of is asked about, and
 * counts once. An empty batch has sums alone. A batch of an earlier process has sums of its own,
 * for when that one had not written them.
 *
 * What fails:
 *     a row (22, 23)               it is left out and counted; what is around it is written
 *     what it refers to (23503)    it is written without: the key of a request may be deleted
 * before the request's row comes a table (42)                 its rows are counted as lost; it is
 * looked at again after 10 s the disk is full             nothing is sent for a minute anything
 * else                the batch comes again, with what was committed of it remembered
 */
#include "sink.h"

#include <stdlib.h>

enum { TRIP_MS = 8000, FULL_MS = 60000, LEAST = 64, TRIES = 8, TEXT_KEPT = 4 << 20 };
enum { COMPLETE_MS = 20000, LOOK_MS = 250 }; /* the schema may be made while the first rows come */

struct work { /* one batch; in the task's arena */
    struct sink *s;
    struct standing *standing; /* of its writer */
    const ath_event *const *batch;
    size_t n;
    int part;
    uint64_t number;        /* where the trip moves the standing to */
    size_t from, to;        /* events of the trip that is under way */
    size_t rows;            /* of them its own */
    const ath_event *first; /* that the mapping was made for */
    struct mapping mapping;
    struct buf copy;
    struct gone gone;
    struct sum_stmts sums;
    bool fenced;
    uint32_t tries; /* trips that were refused */
};

/* The statistics first: they are the smallest, and what is left of a day without logs. Then what
 * operators are asked for. */
static const int order[PARTS] = { PART_SUMS, AUDITS,     KEY_CHECKS, ADMISSIONS,
                                  REQUESTS,  OPERATIONS, ROUTES };

static const char *where(const struct work *w)
{
    return place_words(w->s->tables.place);
}

static uint64_t now_of(ath_task *t)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(t));
}

void say(int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, NULL, level, fmt, ap);
    va_end(ap);
}

void count_rows(uint32_t metric, enum table_id id, const char *reason, uint64_t n)
{
    ath_str label[] = { str_of(about[id].name), str_of(reason) };

    if (n)
        ath_host_->log->put(ath_self_, metric, label, (double)n);
}

void count_lost(ath_str name, uint64_t n)
{
    for (int i = 0; i < LOGS; i++)
        if (str_is(name, about[i].event))
            count_rows(METRIC_DROPPED, (enum table_id)i, "queue", n);
}

/* ---- one trip ---- */

static int next(ath_task *t, struct work *w, ath_err *e);
static int trip_done(ath_task *t, const ath_done *d, ath_err *e);

static int trip(ath_task *t, struct work *w, ath_err *e)
{
    static const ath_pair set[] = { { ATH_S("statement_timeout"), ATH_S("5s") },
                                    { ATH_S("synchronous_commit"), ATH_S("off") } };
    bool durable = w->part != PART_SUMS && about[w->part].durable;
    ath_stmt *stmt = ath_new(ath_arena_of(t), (SUM_STMTS + 2) * sizeof(*stmt));
    ath_query q = { .size = sizeof(q),
                    .client = place_client(w->s->tables.place),
                    .timeout_ms = TRIP_MS,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .set = set,
                    .set_count = durable ? 1 : 2 };
    int rc;

    w->fenced = table_usable(&w->s->tables, WRITERS, now_of(t));
    if (w->fenced)
        stmt[q.stmt_count++] = standing_move(t, &w->s->tables, w->standing, w->part, w->number);
    for (uint32_t i = 0; w->part == PART_SUMS && i < w->sums.count; i++)
        stmt[q.stmt_count++] = w->sums.stmt[i];
    if (w->part != PART_SUMS) {
        stmt[q.stmt_count++] = (ath_stmt){ .sql = buf_view(&w->copy).p };
        q.flags = ATH_PG_COPY;
        q.from = ath_host_->stream->of(t, buf_view(&w->s->text));
    }
    rc = ath_host_->pg->query(t, &q, trip_done, w, e);
    return rc < 0 && rc != ATH_E_CANCELED ? ATH_E_RETRY : rc;
}

/* The others are about as long as the first one; what would be kept anyway is taken at once. */
static void room_for(struct buf *b, size_t rows)
{
    size_t most = b->n * rows;

    buf_room(b, most < TEXT_KEPT / 2 ? most : TEXT_KEPT / 2);
}

/* The rows of this part from where it stands: as many as a trip takes, and as fit one statement. */
static void compose_rows(struct work *w)
{
    ath_str name = str_of(part_name(w->part));

    w->from = w->to = w->s->at[w->part];
    w->rows = 0;
    buf_reset(&w->s->text);
    for (; w->to < w->n && w->rows < w->s->most; w->to++) {
        const ath_event *ev = w->batch[w->to];
        if (!str_same(ev->name, name))
            continue;
        if (w->rows && !mapping_fits(w->first, ev))
            break;
        if (w->rows++ == 0) {
            w->first = ev;
            mapping_make(&w->mapping, &w->s->tables, (enum table_id)w->part, ev, &w->copy);
            w->mapping.gone = &w->gone;
        }
        row_put(&w->s->text, &w->mapping, ev);
        if (w->rows == 1)
            room_for(&w->s->text, w->n - w->to);
    }
    w->number = standing_of(&w->s->pieces, w->to);
}

/* ---- what became of it ---- */

static struct sums *sums_of(const struct work *w)
{
    return w->standing == &w->s->old ? &w->s->old_sums : &w->s->sums;
}

/* The last piece that the sums are of. */
static uint64_t last_of(const struct work *w)
{
    const struct pieces *p = &w->s->pieces;

    return sums_of(w) == &w->s->sums ? w->s->sums_number : p->at[p->count - 1].number;
}

static void moved_on(struct work *w, uint64_t now)
{
    struct sink *s = w->s;

    w->standing->number[w->part] = w->number;
    if (w->part == PART_SUMS) {
        sums_written(s, sums_of(w), now);
        return;
    }
    count_rows(METRIC_WRITTEN, (enum table_id)w->part, "", w->rows);
    s->at[w->part] = w->to;
    s->most = s->most * 2 < (size_t)s->cfg->batch ? s->most * 2 : (size_t)s->cfg->batch;
}

static void lost(struct work *w, const char *reason)
{
    count_rows(METRIC_DROPPED, (enum table_id)w->part, reason, w->rows);
    w->s->at[w->part] = w->to;
}

/* The event that stands in the n-th line of the COPY, from 1; w->to: none. */
static size_t event_of_line(const struct work *w, uint64_t line)
{
    ath_str name = str_of(part_name(w->part));
    size_t i = w->from;

    for (; i < w->to; i++)
        if (str_eq(w->batch[i]->name, name) && --line == 0)
            break;
    return i;
}

/* A row that some refer to is gone: which one stands in "Key (api_key_id)=(12) is not present".
 * True: it was not known, and the rows can come without it. */
static bool reference_gone(struct work *w, const ath_err *e)
{
    static const char before[] = ")=(";
    ath_str said = ath_host_->err->get(e, "detail");
    const char *at = memmem(said.p, said.n, before, sizeof(before) - 1);
    struct gone *g = &w->gone;
    bool known = g->many;
    ath_str id;

    if (!about[w->part].refers || known || !str_is(ath_host_->err->get(e, "sqlstate"), "23503"))
        return false;
    if (at)
        id = str_after(said, (size_t)(at - said.p) + sizeof(before) - 1);
    g->many = !at || g->count == GONE_MOST ||
              !str_i64(str_from(id.p, str_find(id, ')')), &g->id[g->count]);
    g->count += !g->many;
    return true;
}

/* Some row is refused. What stands before it is tried alone, then it is left out. */
static void refused_row(struct work *w, const ath_err *e)
{
    uint64_t line = 0;
    size_t at;

    if (reference_gone(w, e))
        return;
    str_u64(ath_host_->err->get(e, "line"), &line);
    at = line ? event_of_line(w, line) : w->to;
    if (at == w->to && w->rows > 1) { /* nobody knows which one: half of them */
        w->s->most = w->rows / 2;
        return;
    }
    if (at > w->from && line > 1) {
        w->s->most = line - 1;
        return;
    }
    say(ATH_WARN, "a row of table \"%s\" was refused: %s", about[w->part].name,
        ath_host_->err->get(e, "sqlstate").p);
    count_rows(METRIC_DROPPED, (enum table_id)w->part, "data", 1);
    w->s->at[w->part] = (at < w->to ? at : w->from) + 1;
}

/* Which table the statement that failed was about; d->count statements were answered before. */
static enum table_id blamed(const struct work *w, uint64_t count)
{
    uint64_t i = count - w->fenced;

    if (w->fenced && count == 0)
        return WRITERS;
    if (w->part == PART_SUMS)
        return i < w->sums.count ? w->sums.table[i] : WRITERS;
    return (enum table_id)w->part;
}

static bool of_class(ath_str state, const char *two)
{
    return state.n == 5 && memcmp(state.p, two, 2) == 0;
}

static int full(ath_task *t, struct work *w, ath_err *e)
{
    w->s->paused_until_ms = now_of(t) + FULL_MS;
    ath_fail(e, ATH_E_RETRY, "the disk of %s is full", where(w));
    return ATH_E_RETRY;
}

static int too_slow(struct work *w, ath_err *e)
{
    if (w->rows / 2 >= LEAST)
        w->s->most = w->rows / 2;
    ath_fail(e, ATH_E_RETRY, "%s took longer than 5 s for %zu rows", where(w), w->rows);
    return ATH_E_RETRY;
}

/* A table is not as it was, or its statements are not allowed. */
static void refused_table(ath_task *t, struct work *w, enum table_id id, ath_str state)
{
    struct sink *s = w->s;
    uint64_t now = now_of(t);

    if (str_is(state, "42P01") || str_is(state, "42703"))
        s->tables.known = now < s->tables.read_ms + PROBE_MS;
    if (s->tables.known) {
        table_off(&s->tables, id, now + PROBE_MS);
        say(ATH_WARN, "table \"%s\" of %s refuses rows: %.*s", about[id].name, where(w),
            STR_ARG(state));
    }
}

/* The server has said no, so nothing of the trip has happened. */
static int refused(ath_task *t, struct work *w, const ath_done *d, ath_str state, ath_err *e)
{
    enum table_id id = blamed(w, d->count);

    if (str_is(state, "53100"))
        return full(t, w, e);
    if (str_is(state, "57014"))
        return too_slow(w, e);
    if (of_class(state, "42") || of_class(state, "0A") || str_is(state, "55000"))
        refused_table(t, w, id, state);
    else if ((of_class(state, "22") || of_class(state, "23")) && id < LOGS)
        refused_row(w, e);
    else if (of_class(state, "22") || of_class(state, "23"))
        table_off(&w->s->tables, id, now_of(t) + PROBE_MS);
    else
        return ATH_E_RETRY;
    return next(t, w, e);
}

static int trip_done(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    ath_str state = d->rc < 0 ? ath_host_->err->get(e, "sqlstate") : ATH_S("");

    if (d->rc == 0) {
        moved_on(w, now_of(t));
        return next(t, w, e);
    }
    if (w->fenced && d->count == 0 && standing_refused(e)) {
        w->standing->known = false;
        return next(t, w, e);
    }
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (state.n)
        return refused(t, w, d, state, e);
    if (w->fenced || str_is(ath_host_->err->get(e, "outcome"), "none"))
        return ATH_E_RETRY;
    if (w->part == PART_SUMS) /* it may have happened, and nothing would tell twice from once */
        sums_written(w->s, sums_of(w), now_of(t));
    else
        lost(w, "unknown");
    return next(t, w, e);
}

/* ---- the batch ---- */

static int sums_run(ath_task *t, struct work *w, ath_err *e)
{
    struct sums *sums = sums_of(w);

    w->sums.count = 0;
    w->rows = 0;
    w->number = standing_of_sums(last_of(w));
    sums_statements(t, w->s, sums, now_of(t), &w->sums);
    if (w->sums.count)
        return trip(t, w, e);
    sums_written(w->s, sums, now_of(t)); /* no table takes any */
    return next(t, w, e);
}

/* The files take the rows in its stead. */
static bool in_files(const struct work *w)
{
    return w->s->cfg->files && about[w->part].in_files;
}

/* The rest of this part has no table. */
static void skip(struct work *w, const char *reason)
{
    uint64_t n = 0;

    for (size_t i = w->s->at[w->part]; i < w->n; i++)
        n += str_is(w->batch[i]->name, part_name(w->part));
    if (!in_files(w))
        count_rows(METRIC_DROPPED, (enum table_id)w->part, reason, n);
    w->s->at[w->part] = w->n;
}

static bool has_rows(const struct work *w)
{
    ath_str name = str_of(part_name(w->part));

    for (size_t i = w->s->at[w->part]; i < w->n; i++)
        if (str_same(w->batch[i]->name, name))
            return true;
    return false;
}

/* What is in the tables is not written again. */
static void rows_place(const struct work *w)
{
    struct sink *s = w->s;

    for (int i = 0; i < LOGS; i++) {
        size_t at = standing_at(w->standing, i, &s->pieces), rows = 0;
        for (size_t k = s->at[i]; s->placed && k < at; k++)
            rows += str_is(w->batch[k]->name, part_name(i));
        count_rows(METRIC_WRITTEN, (enum table_id)i, "", rows);
        s->at[i] = at > s->at[i] ? at : s->at[i];
    }
}

/* Those of a batch that an earlier process took, as far as it has not written them. */
static void sums_make(const struct work *w)
{
    const struct pieces *p = &w->s->pieces;
    size_t at = 0;

    for (uint32_t i = 0; i < p->count; at += p->at[i++].events)
        if (!standing_has_sums(w->standing, p->at[i].number))
            sums_add(&w->s->old_sums, w->batch + at, p->at[i].events);
}

/* Where the writer stands is known, or known anew. */
static void place(struct work *w, uint64_t now)
{
    struct sink *s = w->s;

    if (w->n)
        rows_place(w);
    if (w->standing == &s->old && !s->placed)
        sums_make(w);
    else if (sums_any(sums_of(w)) && standing_has_sums(w->standing, last_of(w)))
        sums_written(s, sums_of(w), now);
    s->placed = true;
}

static int probed(ath_task *t, const ath_done *d, ath_err *e);
static int stands(ath_task *t, const ath_done *d, ath_err *e);

static int next(ath_task *t, struct work *w, ath_err *e)
{
    struct sink *s = w->s;

    if (w->tries++ > TRIES * w->n + TRIES) {
        ath_fail(e, ATH_E_RETRY, "%s refuses too much", where(w));
        return ATH_E_RETRY;
    }
    if (!s->tables.known)
        return tables_ask(t, &s->tables, probed, w, e) < 0 ? ATH_E_RETRY : 0;
    if (!w->standing->known && table_usable(&s->tables, WRITERS, now_of(t)))
        return standing_ask(t, &s->tables, w->standing, stands, w, e) < 0 ? ATH_E_RETRY : 0;
    if (!s->placed)
        place(w, now_of(t));
    for (int i = 0; i < PARTS; i++) {
        w->part = order[i];
        if (w->part == PART_SUMS && sums_any(sums_of(w)))
            return sums_run(t, w, e);
        if (w->part == PART_SUMS || s->at[w->part] >= w->n)
            continue;
        if (in_files(w) || !has_rows(w) ||
            !table_usable(&s->tables, (enum table_id)w->part, now_of(t))) {
            skip(w, "missing");
            continue;
        }
        compose_rows(w);
        return trip(t, w, e);
    }
    if (s->text.cap > TEXT_KEPT)
        buf_free(&s->text);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    if (d->rc < 0)
        return d->rc;
    return tables_ask(t, &w->s->tables, probed, w, e) < 0 ? ATH_E_RETRY : 0;
}

static int probed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : ATH_E_RETRY;
    tables_take(&w->s->tables, d->rows, now_of(t));
    if (now_of(t) < w->s->begun_ms + COMPLETE_MS && tables_being_made(t, &w->s->tables))
        return ath_host_->task->after(t, LOOK_MS, looked, w, e);
    return next(t, w, e);
}

static int stands(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;
    ath_str state = d->rc < 0 ? ath_host_->err->get(e, "sqlstate") : ATH_S("");

    if (d->rc < 0 && !of_class(state, "42"))
        return d->rc == ATH_E_CANCELED ? d->rc : ATH_E_RETRY;
    if (d->rc < 0) {
        refused_table(t, w, WRITERS, state);
    } else {
        standing_take(w->standing, d->rows);
        place(w, now_of(t));
    }
    return next(t, w, e);
}

/* A table that was missing may have been made meanwhile. */
static void look_again(struct sink *s, uint64_t now)
{
    for (int i = 0; i < TABLES; i++)
        if (table_is_here(&s->tables, (enum table_id)i) &&
            (!s->tables.table[i].schema[0] || s->tables.table[i].lacks) &&
            now >= s->tables.read_ms + PROBE_MS)
            s->tables.known = false;
}

/* Nobody has ever written under the name of this process: where that stands is known. */
static void writer_is(struct standing *g, ath_str writer, bool known)
{
    if (str_is(writer, g->writer))
        return;
    *g = (struct standing){ .known = known };
    snprintf(g->writer, sizeof(g->writer), "%.*s", STR_ARG(writer));
}

void sink_begin(struct sink *s, const ath_batch *b)
{
    s->again = b->flags & ATH_BATCH_AGAIN;
    writer_is(s->again ? &s->old : &s->own, b->writer, !s->again);
    for (int i = 0; i < PARTS; i++)
        s->at[i] = 0;
    for (int i = 0; i < SUMS; i++)
        sum_map_clear(&s->old_sums.map[i]);
    s->pieces.count = b->piece_count < ATH_PIECES_MOST ? b->piece_count : ATH_PIECES_MOST;
    memcpy(s->pieces.at, b->piece, s->pieces.count * sizeof(*b->piece));
    s->placed = false;
}

void sink_taken(struct sink *s, const ath_batch *b, const ath_event *const *event, size_t n)
{
    struct taken *k = &s->taken;

    pthread_mutex_lock(&k->lock);
    snprintf(k->writer, sizeof(k->writer), "%.*s", STR_ARG(b->writer));
    k->number = b->piece[0].number;
    sums_add(&k->sums, event, n);
    pthread_mutex_unlock(&k->lock);
}

/* What was taken until now is written with this batch, unless what was taken before still is. */
static void sums_take(struct sink *s)
{
    struct taken *k = &s->taken;

    if (sums_any(&s->sums))
        return;
    pthread_mutex_lock(&k->lock);
    sums_move(&s->sums, &k->sums);
    s->sums_number = k->number;
    if (k->writer[0]) /* the key store's sink adds nothing up */
        writer_is(&s->own, str_of(k->writer), true);
    pthread_mutex_unlock(&k->lock);
}

static int send(ath_task *t, struct sink *s, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct work *w = ath_new(ath_arena_of(t), sizeof(*w));
    uint64_t now = now_of(t);

    if (!s->begun_ms)
        s->begun_ms = now;
    *w = (struct work){ .s = s, .batch = batch, .n = n };
    w->standing = n && s->again ? &s->old : &s->own;
    w->copy = BUF_ARENA(ath_arena_of(t));
    if (w->standing == &s->own)
        sums_take(s);
    if (now < s->paused_until_ms) {
        ath_fail(e, ATH_E_RETRY, "the disk of %s is full", where(w));
        return ATH_E_RETRY;
    }
    if (n == 0 && !sums_any(&s->sums)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    look_again(s, now);
    return next(t, w, e);
}

int control_send(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct sink *s = ath_state_of(t);

    return send(t, &s[CONTROL], batch, n, e);
}

int auth_send(ath_task *t, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct sink *s = ath_state_of(t);

    return send(t, &s[AUTH], batch, n, e);
}
