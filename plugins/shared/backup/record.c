/* Appending: what the last record and the newest signer are, then one INSERT with the next number.
 * Number and previous digest are unique, so whoever was slower is refused by the table, and looks
 * again. No lock is held while somebody thinks.
 */
#include "backup/record.h"

#include "backup/sign.h"

enum { TRIES = 100 };

static const char last_sql[] =
    "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
    " coalesce(r.seq, 0) + 1, coalesce(r.digest, repeat('0', 64)), s.id, s.sealed_key"
    " from (select 1) one"
    " left join (select seq, digest from athena_backup_records order by seq desc limit 1) r on true"
    " left join (select id, sealed_key from athena_backup_signers"
    " order by created_at desc, id limit 1) s on true";
static const char signer_sql[] =
    "insert into athena_backup_signers (id, public_key, sealed_key) values ($1, $2, $3)";
static const char insert_sql[] =
    "insert into athena_backup_records (seq, at, kind, backup_id, job_id, key, facts, previous,"
    " digest, signer, signature) values ($1::bigint, $2::timestamptz, $3, $4,"
    " nullif($5, '')::bigint, $6, $7::json, $8, $9, $10, $11)";

struct append {
    const ath_secrets *secrets;
    struct record record;
    unsigned tries;
    struct record_row row;
    char digest[RECORD_HEX + 1], signature[RECORD_SIGNATURE_HEX + 1];
};

static int ask(ath_task *t, const char *sql, const ath_str *param, uint32_t params, uint32_t flags,
               ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql, .param = param, .param_count = params };
    ath_query q = { .size = sizeof(q),
                    .flags = flags,
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

static ath_str kept(ath_task *t, ath_str text)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, text);
    return buf_view(&b);
}

static int look(ath_task *t, struct append *a, ath_err *e);

static int looked_again(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : look(t, d->arg, e);
}

static int make_signer(ath_task *t, struct append *a, ath_err *e)
{
    char secret[SIGN_KEY_HEX + 1], public_key[SIGN_KEY_HEX + 1], id[SIGN_ID + 1];
    ath_str *param = ath_new(ath_arena_of(t), 3 * sizeof(*param));

    sign_make(secret, public_key, id);
    param[0] = kept(t, str_of(id));
    param[1] = kept(t, str_of(public_key));
    param[2] = a->secrets->seal(ath_arena_of(t), str_of(secret));
    explicit_bzero(secret, sizeof(secret));
    return ask(t, signer_sql, param, 3, 0, looked_again, a, e);
}

static int inserted(ath_task *t, const ath_done *d, ath_err *e)
{
    struct append *a = d->arg;
    ath_done done = { .size = sizeof(done), .bytes = str_from(a->digest, RECORD_HEX) };

    if (d->rc < 0)
        return str_is(ath_host_->err->get(e, "code"), "unique_violation") && ++a->tries < TRIES
                   ? look(t, a, e)
                   : d->rc;
    if (!str_u64(a->row.seq, &done.count))
        return ath_fail(e, ATH_E_BUG, "a record has no number");
    ath_host_->task->done(t, &done);
    return 0;
}

static int insert(ath_task *t, struct append *a, ath_err *e)
{
    const struct record_row *r = &a->row;
    const ath_str value[] = { r->seq,   r->at,       r->kind,   r->backup_id, r->job_id,   r->key,
                              r->facts, r->previous, r->digest, r->signer,    r->signature };
    ath_str *param = ath_new(ath_arena_of(t), sizeof(value));

    memcpy(param, value, sizeof(value));
    return ask(t, insert_sql, param, ATH_COUNT(value), a->record.flags, inserted, a, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct append *a = d->arg;
    ath_str secret;
    bool held;
    int rc;

    if (d->rc < 0)
        return d->rc;
    if (!ath_cell(d->rows, 0, 3).p)
        return make_signer(t, a, e);
    a->row.at = kept(t, ath_cell(d->rows, 0, 0));
    a->row.seq = kept(t, ath_cell(d->rows, 0, 1));
    a->row.previous = kept(t, ath_cell(d->rows, 0, 2));
    a->row.signer = kept(t, ath_cell(d->rows, 0, 3));
    rc = a->secrets->open(ath_arena_of(t), ath_cell(d->rows, 0, 4), &secret, e);
    if (rc < 0)
        return rc;
    sign_digest(&a->row, a->digest);
    a->row.digest = str_of(a->digest);
    held = sign(secret, a->row.digest, a->signature);
    explicit_bzero((char *)(uintptr_t)secret.p, secret.n);
    if (!held)
        return ath_fail(e, ATH_E_CONFIG, "the key of signer \"%.*s\" is none",
                        STR_ARG(a->row.signer));
    a->row.signature = str_of(a->signature);
    return insert(t, a, e);
}

static int look(ath_task *t, struct append *a, ath_err *e)
{
    return ask(t, last_sql, NULL, 0, 0, looked, a, e);
}

static int append_begin(ath_task *t, void *arg, ath_err *e)
{
    return look(t, arg, e);
}

ath_str record_backup_id(ath_str key)
{
    ath_str rest = key, name;

    while (str_next(&rest, '/', &name))
        key = name;
    return str_from(key.p, str_find(key, '.'));
}

int record_append(ath_task *t, const ath_secrets *secrets, const struct record *r, ath_then *then,
                  void *arg, ath_err *e)
{
    struct append *a = ath_new(ath_arena_of(t), sizeof(*a));
    ath_fork f = { .size = sizeof(f), .run = append_begin, .arg = a };
    struct buf job = BUF_ARENA(ath_arena_of(t));
    int64_t number;

    if (r->job_id.n && !str_i64(r->job_id, &number))
        return ath_fail(e, ATH_E_BUG, "a record is of job \"%.*s\"", STR_ARG(r->job_id));
    if (r->job_id.n)
        buf_i64(&job, number);
    a->secrets = secrets;
    a->record = *r;
    a->row = (struct record_row){ .kind = str_of(r->kind),
                                  .backup_id = r->backup_id,
                                  .job_id = buf_view(&job),
                                  .key = r->key,
                                  .facts = r->facts };
    return ath_host_->task->fork(t, &f, then, arg, e);
}

/* ---- verifying ---- */

enum { PAGE = 50 }; /* a signature takes a tenth of a millisecond, on this loop */

static const char signers_sql[] = "select id, public_key, sealed_key from athena_backup_signers"
                                  " order by created_at desc, id limit 1000";
static const char page_sql[] =
    "select seq, to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), kind,"
    " backup_id, coalesce(job_id::text, ''), key, facts::text, previous, digest, signer, signature"
    " from athena_backup_records where seq > $1::bigint and ($2 = '' or backup_id = $2)"
    " order by seq limit 50";

struct signer {
    ath_str id, public_key;
};

struct verify {
    const ath_secrets *secrets;
    ath_str backup_id;
    struct record_verdict *verdict;
    struct signer *signer; /* those whose secret half is known to be ours */
    uint32_t signers;
    uint64_t seq; /* of the last that was looked at */
    char room[STR_U64_ROOM];
    ath_str param[2];
};

static int ask_page(ath_task *t, struct verify *v, ath_err *e);

static int verified(ath_task *t)
{
    ath_host_->task->done(t, NULL);
    return 0;
}

static bool broken(struct verify *v, uint64_t seq, const char *why)
{
    v->verdict->broken = seq ? seq : 1;
    snprintf(v->verdict->why, sizeof(v->verdict->why), "record %llu %s", (unsigned long long)seq,
             why);
    return false;
}

static const struct signer *signer_of(const struct verify *v, ath_str id)
{
    for (uint32_t i = 0; i < v->signers; i++)
        if (str_eq(v->signer[i].id, id))
            return &v->signer[i];
    return NULL;
}

static bool row_holds(struct verify *v, const struct record_row *r)
{
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    struct record_verdict *verdict = v->verdict;
    const struct signer *s = signer_of(v, r->signer);
    char digest[RECORD_HEX + 1];
    uint64_t seq = 0;

    if (!str_u64(r->seq, &seq) || seq == 0)
        return broken(v, seq, "has no number");
    if (!v->backup_id.n && seq != v->seq + 1)
        return broken(v, v->seq + 1, "is missing");
    if (!v->backup_id.n && !str_is(r->previous, v->seq ? verdict->head : zeros))
        return broken(v, seq, "does not follow the one before it");
    sign_digest(r, digest);
    if (!str_is(r->digest, digest))
        return broken(v, seq, "is not what was signed");
    if (!s)
        return broken(v, seq, "is signed by a key that is not ours");
    if (!sign_holds(s->public_key, r->digest, r->signature))
        return broken(v, seq, "has a signature that does not hold");
    v->seq = seq;
    verdict->records++;
    memcpy(verdict->head, digest, sizeof(digest));
    return true;
}

static int paged(ath_task *t, const ath_done *d, ath_err *e)
{
    struct verify *v = d->arg;
    uint32_t n;

    if (d->rc < 0)
        return d->rc;
    n = ath_host_->pg->count(d->rows);
    for (uint32_t i = 0; i < n; i++) {
        ath_str cell[11];
        for (uint32_t j = 0; j < ATH_COUNT(cell); j++)
            cell[j] = ath_cell(d->rows, i, j);
        struct record_row r = { cell[0], cell[1], cell[2], cell[3], cell[4], cell[5],
                                cell[6], cell[7], cell[8], cell[9], cell[10] };
        if (!row_holds(v, &r))
            return verified(t);
    }
    return n < PAGE ? verified(t) : ask_page(t, v, e);
}

static int ask_page(ath_task *t, struct verify *v, ath_err *e)
{
    v->param[0] = str_from_u64(v->seq, v->room);
    v->param[1] = v->backup_id.n ? v->backup_id : ATH_S("");
    return ask(t, page_sql, v->param, 2, ATH_PG_READ, paged, v, e);
}

/* A signer is ours when its secret half opens with our key, and its public half belongs to it: who
 * can only write the table has no such pair to put there. */
static int signers_came(ath_task *t, const ath_done *d, ath_err *e)
{
    struct verify *v = d->arg;
    uint32_t n;

    if (d->rc < 0)
        return d->rc;
    n = ath_host_->pg->count(d->rows);
    v->signer = ath_new(ath_arena_of(t), (n + 1) * sizeof(*v->signer));
    for (uint32_t i = 0; i < n; i++) {
        ath_str sealed = ath_cell(d->rows, i, 2), secret;
        char public_key[SIGN_KEY_HEX + 1];
        v->verdict->unsealed += !str_starts(sealed, "enc:");
        if (v->secrets->open(ath_arena_of(t), sealed, &secret, NULL) < 0 ||
            !sign_public(secret, public_key) || !str_is(ath_cell(d->rows, i, 1), public_key))
            continue;
        v->signer[v->signers].id = kept(t, ath_cell(d->rows, i, 0));
        v->signer[v->signers++].public_key = kept(t, str_of(public_key));
    }
    return ask_page(t, v, e);
}

static int verify_begin(ath_task *t, void *arg, ath_err *e)
{
    return ask(t, signers_sql, NULL, 0, ATH_PG_READ, signers_came, arg, e);
}

int record_verify(ath_task *t, const ath_secrets *secrets, ath_str backup_id,
                  struct record_verdict *ret, ath_then *then, void *arg, ath_err *e)
{
    struct verify *v = ath_new(ath_arena_of(t), sizeof(*v));
    ath_fork f = { .size = sizeof(f), .run = verify_begin, .arg = v };

    *ret = (struct record_verdict){ 0 };
    v->secrets = secrets;
    v->backup_id = backup_id;
    v->verdict = ret;
    return ath_host_->task->fork(t, &f, then, arg, e);
}
