/* Numbers in a header are octal digits, or, where these do not suffice (files of 8 GiB and more),
 * big-endian bytes behind a first one of 0x80. Behind the last file stand two blocks of zeros, and
 * only zeros follow, within TAR_ROOM.
 */
#include "backup/tar.h"

struct head {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
    char magic[8], owner[32], group[32], device[16], prefix[155], rest[12];
};
_Static_assert(sizeof(struct head) == TAR_BLOCK, "a header is one block");

static const char gnu[8] = "ustar  ", posix[8] = { 'u', 's', 't', 'a', 'r', 0, '0', '0' };

static unsigned sum_of(const struct head *h)
{
    const uint8_t *p = (const uint8_t *)h;
    unsigned sum = 8 * ' '; /* its own field counts as blanks */

    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (i < offsetof(struct head, sum) || i >= offsetof(struct head, type))
            sum += p[i];
    return sum;
}

/* ---- writing ---- */

static void put_number(char *at, size_t n, uint64_t v)
{
    bool fits = v >> (3 * (n - 1)) == 0;

    at[n - 1] = 0;
    for (size_t i = n - (fits ? 1 : 0); i-- > 0; v >>= fits ? 3 : 8)
        at[i] = (char)(fits ? '0' + (v & 7) : v & 255);
    if (!fits)
        at[0] = (char)0x80;
}

int tar_put_head(struct buf *b, ath_str name, const struct stat *st, ath_err *e)
{
    struct head h = { 0 };
    bool folder = S_ISDIR(st->st_mode);

    if (name.n > sizeof(h.name))
        return ath_fail(e, ATH_E_INPUT, "the name \"%.*s\" is too long for an archive",
                        STR_ARG(name));
    memcpy(h.name, name.p, name.n);
    put_number(h.mode, sizeof(h.mode), st->st_mode);
    put_number(h.uid, sizeof(h.uid), st->st_uid);
    put_number(h.gid, sizeof(h.gid), st->st_gid);
    put_number(h.size, sizeof(h.size), folder ? 0 : (uint64_t)st->st_size);
    put_number(h.mtime, sizeof(h.mtime), st->st_mtime > 0 ? (uint64_t)st->st_mtime : 0);
    h.type = folder ? '5' : '0';
    memcpy(h.magic, gnu, sizeof(gnu));
    put_number(h.device, 8, 0);
    put_number(h.device + 8, 8, 0);
    put_number(h.sum, sizeof(h.sum), sum_of(&h));
    buf_mem(b, (const char *)&h, sizeof(h));
    return 0;
}

static void put_zeros(struct buf *b, size_t n)
{
    memset(buf_room(b, n), 0, n);
    buf_end(b, b->p + b->n + n);
}

void tar_put_pad(struct buf *b, uint64_t bytes)
{
    put_zeros(b, (size_t)(-bytes % TAR_BLOCK));
}

void tar_put_end(struct buf *b)
{
    put_zeros(b, 2 * TAR_BLOCK);
}

/* ---- reading: a header ---- */

static bool get_number(const char *at, size_t n, uint64_t *ret)
{
    size_t i = 0;

    *ret = 0;
    if ((uint8_t)at[0] == 0x80) {
        for (i = 1; i < n; i++) {
            if (*ret >> 54)
                return false;
            *ret = *ret << 8 | (uint8_t)at[i];
        }
        return true;
    }
    while (i < n && at[i] == ' ')
        i++;
    if (i == n || at[i] < '0' || at[i] > '7')
        return false;
    for (; i < n && at[i] >= '0' && at[i] <= '7'; i++)
        *ret = *ret << 3 | (uint64_t)(at[i] - '0');
    for (; i < n; i++)
        if (at[i] != ' ' && at[i] != 0)
            return false;
    return true;
}

static ath_str field(const char *at, size_t n)
{
    return str_from(at, strnlen(at, n));
}

/* "dump", or below it: no empty part, no ".", no "..", nothing that does not show. */
static bool is_ours(ath_str name)
{
    ath_str part, rest = name;
    unsigned depth = 0;

    if (name.n == 0 || name.p[name.n - 1] == '/' || str_has_control(name) ||
        str_find(name, '\\') < name.n || str_find(name, '\t') < name.n || !str_utf8(name))
        return false;
    while (str_next(&rest, '/', &part)) {
        if (depth++ == 0 ? !str_is(part, "dump")
                         : part.n == 0 || str_is(part, ".") || str_is(part, ".."))
            return false;
    }
    return depth <= TAR_DEPTH;
}

static int read_name(struct tar *t, const struct head *h, bool folder, ath_err *e)
{
    struct buf b = BUF_HEAP;
    ath_str name;

    if (memcmp(h->magic, posix, sizeof(posix)) == 0 && h->prefix[0]) {
        buf_str(&b, field(h->prefix, sizeof(h->prefix)));
        buf_char(&b, '/');
    }
    buf_str(&b, field(h->name, sizeof(h->name)));
    name = buf_view(&b);
    if (folder && name.n && name.p[name.n - 1] == '/')
        name.n--;
    bool ours = name.n < TAR_NAME && is_ours(name) && (folder || !str_is(name, "dump"));
    if (ours) {
        memcpy(t->name, name.p, name.n);
        t->name[name.n] = 0;
    }
    buf_free(&b);
    return ours ? 0
                : ath_fail(e, ATH_E_INPUT,
                           "the archive holds an entry whose name is not a file's "
                           "or folder's in \"dump/\"");
}

static int read_head(struct tar *t, ath_err *e)
{
    const struct head *h = (const struct head *)(const void *)t->block;
    uint64_t sum, bytes;
    bool folder = h->type == '5';
    int rc;

    if (!get_number(h->sum, sizeof(h->sum), &sum) || sum != sum_of(h))
        return ath_fail(e, ATH_E_INPUT, "the archive has a header that is damaged");
    if (memcmp(h->magic, gnu, sizeof(gnu)) != 0 && memcmp(h->magic, posix, sizeof(posix)) != 0)
        return ath_fail(e, ATH_E_INPUT, "the archive is a tar of another kind");
    if (!folder && h->type != '0' && h->type != 0)
        return ath_fail(e, ATH_E_INPUT, "the archive holds an entry that is no file or folder");
    if (!get_number(h->size, sizeof(h->size), &bytes) || (folder && bytes))
        return ath_fail(e, ATH_E_INPUT, "the archive holds an entry of no length");
    if ((rc = read_name(t, h, folder, e)) < 0)
        return rc;
    t->left = bytes;
    t->pad = -bytes % TAR_BLOCK;
    rc = t->sink->entry(t->arg, str_of(t->name), folder, bytes, e);
    return rc < 0 || folder || bytes ? rc : t->sink->done(t->arg, e);
}

/* ---- reading: pieces ---- */

static bool all_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int read_block(struct tar *t, ath_err *e)
{
    if (all_zero(t->block, TAR_BLOCK)) {
        t->zeros++;
        return t->zeros <= TAR_ROOM / TAR_BLOCK
                   ? 0
                   : ath_fail(e, ATH_E_INPUT, "the archive goes on behind its end");
    }
    if (t->zeros)
        return ath_fail(e, ATH_E_INPUT, "the archive goes on behind its end");
    return read_head(t, e);
}

static size_t least(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* Takes what belongs together off the front of *bytes. */
static int take(struct tar *t, ath_str *bytes, ath_err *e)
{
    size_t n;
    int rc = 0;

    if (t->left) {
        n = least(t->left, bytes->n);
        t->left -= n;
        rc = t->sink->data(t->arg, str_from(bytes->p, n), e);
        if (rc == 0 && t->left == 0)
            rc = t->sink->done(t->arg, e);
    } else if (t->pad) {
        n = least(t->pad, bytes->n);
        t->pad -= n;
        if (!all_zero(bytes->p, n))
            rc = ath_fail(e, ATH_E_INPUT, "the archive holds bytes between two entries");
    } else {
        n = least(TAR_BLOCK - t->n, bytes->n);
        memcpy(t->block + t->n, bytes->p, n);
        t->n += n;
        if (t->n == TAR_BLOCK) {
            t->n = 0;
            rc = read_block(t, e);
        }
    }
    *bytes = str_after(*bytes, n);
    return rc;
}

void tar_begin(struct tar *t, const struct tar_sink *sink, void *arg)
{
    *t = (struct tar){ .sink = sink, .arg = arg };
}

int tar_feed(struct tar *t, ath_str bytes, ath_err *e)
{
    int rc = 0;

    while (rc == 0 && bytes.n)
        rc = take(t, &bytes, e);
    return rc;
}

int tar_end(struct tar *t, ath_err *e)
{
    if (t->left || t->pad || t->n || t->zeros < 2)
        return ath_fail(e, ATH_E_INPUT, "the archive ends too early");
    return 0;
}
