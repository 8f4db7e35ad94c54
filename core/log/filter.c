/* RUST_LOG: which lines are wanted. A filter is built whole and then swapped in; the ones before
 * are kept, because another thread may be reading them and a process changes its filter a few times
 * at most. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/text.h"
#include "log/log.h"

enum { DIRECTIVES = 64 };

struct directive {
    ath_str target; /* a prefix; points into `text` */
    int level;
};

struct filter {
    struct filter *older;
    char *text;
    int plain;           /* what no directive names */
    int lowest, highest; /* of all of them: most lines need no look at the directives */
    uint32_t n;
    struct directive directive[DIRECTIVES];
};

static struct filter start = { .plain = ATH_INFO, .lowest = ATH_INFO, .highest = ATH_INFO };
static _Atomic(struct filter *) current = &start;

static bool level_of(ath_str word, int *ret)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = { { "off", 0 },         { "error", ATH_ERROR }, { "warn", ATH_WARN },
                   { "info", ATH_INFO }, { "debug", ATH_DEBUG }, { "trace", ATH_DEBUG } };

    for (size_t i = 0; i < ATH_COUNT(levels); i++)
        if (str_ieq(word, str_of(levels[i].name))) {
            *ret = levels[i].level;
            return true;
        }
    return false;
}

static bool target_ok(ath_str t)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:.-";

    for (size_t i = 0; i < t.n; i++)
        if (!memchr(allowed, t.p[i], sizeof(allowed) - 1))
            return false;
    return t.n > 0;
}

static int directive_add(struct filter *f, ath_str piece, ath_err *e)
{
    size_t eq = str_find(piece, '=');
    struct directive d = { .target = str_trim(str_from(piece.p, eq)), .level = ATH_DEBUG };

    if (eq == piece.n && level_of(piece, &f->plain))
        return 0;
    if (!target_ok(d.target) ||
        (eq < piece.n && !level_of(str_trim(str_after(piece, eq + 1)), &d.level)))
        return err_fail(e, ATH_E_CONFIG,
                        "log filter: \"%.*s\" is neither a level nor \"target=level\"",
                        STR_ARG(piece));
    if (f->n == DIRECTIVES)
        return err_fail(e, ATH_E_CONFIG, "log filter: more than %d directives", DIRECTIVES);
    f->directive[f->n++] = d;
    return 0;
}

static int filter_fill(struct filter *f, ath_err *e)
{
    ath_str rest = str_of(f->text), piece;
    int rc;

    f->plain = ATH_ERROR;
    while (str_next(&rest, ',', &piece)) {
        piece = str_trim(piece);
        if (piece.n && (rc = directive_add(f, piece, e)) < 0)
            return rc;
    }
    f->lowest = f->highest = f->plain;
    for (uint32_t i = 0; i < f->n; i++) {
        int level = f->directive[i].level;
        f->lowest = level < f->lowest ? level : f->lowest;
        f->highest = level > f->highest ? level : f->highest;
    }
    return 0;
}

int log_filter(const char *directives, ath_err *e)
{
    struct filter *f = MEM_NEW(struct filter);
    int rc;

    f->text = mem_dup_z(directives);
    if ((rc = filter_fill(f, e)) < 0) {
        free(f->text);
        free(f);
        return rc;
    }
    f->older = atomic_load(&current);
    atomic_store(&current, f);
    return 0;
}

/* The most exact directive decides. */
static int level_for(const struct filter *f, ath_str source)
{
    size_t best = 0;
    int level = f->plain;

    for (uint32_t i = 0; i < f->n; i++) {
        ath_str t = f->directive[i].target;
        if (t.n >= best && source.n >= t.n && memcmp(source.p, t.p, t.n) == 0) {
            best = t.n;
            level = f->directive[i].level;
        }
    }
    return level;
}

bool log_wants(int level, ath_str source)
{
    const struct filter *f = atomic_load_explicit(&current, memory_order_acquire);

    if (level <= f->lowest)
        return true;
    return level <= f->highest && level <= level_for(f, source);
}
