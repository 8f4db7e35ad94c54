/* A segment's bytes as records, whatever stands in them. */
#include "wal/wal.h"

#include <stddef.h>

#include "lib/check.h"
#include "lib/text.h"

static const char magic[8] = "ATHWAL01";

void wal_head_make(struct wal_head *h, const char *id)
{
    *h = (struct wal_head){ 0 };
    memcpy(h->magic, magic, sizeof(magic));
    memcpy(h->id, id, UUID_TEXT);
    h->check = check_of(1, h, offsetof(struct wal_head, check));
}

static uint64_t record_check(const struct wal_record *r, const char *bytes)
{
    return check_of(check_of(1, r, offsetof(struct wal_record, check)), bytes, r->n);
}

void wal_record_make(struct wal_record *r, enum wal_kind kind, uint64_t seq, ath_str bytes)
{
    *r = (struct wal_record){ .mark = WAL_MARK, .kind = kind, .seq = seq, .n = (uint32_t)bytes.n };
    r->check = record_check(r, bytes.p);
}

static bool head_read(const char *bytes, size_t n, char id[UUID_TEXT])
{
    struct wal_head h;

    if (n < sizeof(h))
        return false;
    memcpy(&h, bytes, sizeof(h));
    if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.id[UUID_TEXT - 1] != 0 ||
        h.check != check_of(1, &h, offsetof(struct wal_head, check)))
        return false;
    memcpy(id, h.id, UUID_TEXT);
    return true;
}

/* A whole record at `at`. */
static bool record_read(const char *bytes, size_t n, size_t at, struct wal_record *r)
{
    if (n - at < sizeof(*r))
        return false;
    memcpy(r, bytes + at, sizeof(*r));
    return r->mark == WAL_MARK && (r->kind == WAL_IS_ENTRY || r->kind == WAL_IS_DONE) &&
           r->n <= WAL_ENTRY && wal_padded(r->n) <= n - at - sizeof(*r) &&
           r->check == record_check(r, bytes + at + sizeof(*r));
}

/* Records begin at multiples of 8, so what stands behind wrong bytes is found again. Those bytes
 * are the tail when nothing whole is behind them. */
bool wal_read(const char *bytes, size_t n, struct wal_read *ret, wal_each *each, void *arg)
{
    struct wal_record r;
    size_t at = sizeof(struct wal_head), wrong = 0;

    *ret = (struct wal_read){ 0 };
    if (!head_read(bytes, n, ret->id))
        return false;
    while (at < n) {
        if (!record_read(bytes, n, at, &r)) {
            size_t step = n - at < 8 ? n - at : 8;
            wrong += step;
            at += step;
            continue;
        }
        ret->damaged += wrong;
        wrong = 0;
        each(arg, &r, bytes + at + sizeof(r));
        at += sizeof(r) + wal_padded(r.n);
    }
    ret->torn = wrong;
    return true;
}
