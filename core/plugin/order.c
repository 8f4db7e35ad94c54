/* Sorting by needs.
 *
 * Refusals spread: who needs a refused item is refused too, and the words say why. What is left is
 * taken one by one, each time the first item whose providers are all taken; when there is none, the
 * rest holds a circle, which is walked to name it.
 */
#include "plugin/order.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "lib/buf.h"

enum { NOBODY = UINT32_MAX };

struct sorter {
    struct order_item *item;
    uint32_t n;
    const char *core;
    bool *taken;
    order_refuse *refuse;
    void *arg;
};

bool order_word(ath_str *rest, ath_str *ret_word, bool *ret_optional)
{
    bool optional = false;

    while (str_next(rest, ' ', ret_word)) {
        if (ret_word->n && ret_word->p[0] == '?') {
            optional = true;
            *ret_word = str_after(*ret_word, 1);
        }
        if (ret_word->n) {
            if (ret_optional)
                *ret_optional = optional;
            return true;
        }
    }
    return false;
}

bool order_has(const char *list, ath_str word)
{
    ath_str rest = str_of(list), w;

    while (order_word(&rest, &w, NULL))
        if (str_eq(w, word))
            return true;
    return false;
}

bool order_gives(const char *name, const char *offers, ath_str word)
{
    return order_has(offers, word) || str_is(word, name);
}

static void refuse(struct sorter *s, uint32_t i, ath_str need, const ath_err *e)
{
    s->item[i].refused = true;
    s->refuse(s->arg, i, need, e);
}

/* The item that offers `word`, refused or not. */
static uint32_t provider(const struct sorter *s, ath_str word)
{
    uint32_t found = NOBODY;

    for (uint32_t i = 0; i < s->n; i++)
        if (order_gives(s->item[i].name, s->item[i].offers, word)) {
            if (!s->item[i].refused)
                return i;
            found = i;
        }
    return found;
}

static void refuse_doubles(struct sorter *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        ath_str rest = str_of(s->item[i].offers), word;
        while (!s->item[i].refused && order_word(&rest, &word, NULL))
            for (uint32_t k = 0; k < i; k++)
                if (!s->item[k].refused && order_has(s->item[k].offers, word)) {
                    ath_err e;
                    err_fail(&e, ATH_E_CONFIG,
                             "plugin \"%s\" offers \"%.*s\", which plugin \"%s\" offers already",
                             s->item[i].name, STR_ARG(word), s->item[k].name);
                    refuse(s, i, (ath_str){ 0 }, &e);
                    break;
                }
    }
}

/* Refuses item i if one of its needs cannot be met. True: it did. */
static bool refuse_unmet(struct sorter *s, uint32_t i)
{
    ath_str rest = str_of(s->item[i].needs), word;
    bool optional;
    ath_err e;

    while (order_word(&rest, &word, &optional)) {
        uint32_t who = provider(s, word);
        if (optional || (who != NOBODY && !s->item[who].refused) || order_has(s->core, word))
            continue;
        if (who == NOBODY)
            err_fail(&e, ATH_E_CONFIG, "plugin \"%s\" needs \"%.*s\", which nothing enabled offers",
                     s->item[i].name, STR_ARG(word));
        else
            err_fail(&e, ATH_E_CONFIG,
                     "plugin \"%s\" needs \"%.*s\" of plugin \"%s\", which was refused",
                     s->item[i].name, STR_ARG(word), s->item[who].name);
        refuse(s, i, word, &e);
        return true;
    }
    return false;
}

/* A provider of item i that is not taken yet; NOBODY: it may go. */
static uint32_t waits_for(const struct sorter *s, uint32_t i)
{
    ath_str rest = str_of(s->item[i].needs), word;

    while (order_word(&rest, &word, NULL)) {
        uint32_t who = provider(s, word);
        if (who != NOBODY && !s->item[who].refused && !s->taken[who])
            return who;
    }
    return NOBODY;
}

/* From any waiting item, n steps along "waits for" end inside a circle. All in it are refused. */
static void refuse_circle(struct sorter *s, uint32_t from)
{
    uint32_t *circle = mem_new(s->n * sizeof(*circle)), n = 0, at = from;
    struct buf path = BUF_HEAP;
    ath_err e;

    for (uint32_t k = 0; k < s->n; k++)
        at = waits_for(s, at);
    do {
        circle[n++] = at;
        buf_printf(&path, "%s -> ", s->item[at].name);
        at = waits_for(s, at);
    } while (at != circle[0]);
    buf_z(&path, s->item[at].name);
    for (uint32_t k = 0; k < n; k++) {
        err_fail(&e, ATH_E_CONFIG, "plugin \"%s\" needs itself: %s", s->item[circle[k]].name,
                 path.p);
        refuse(s, circle[k], (ath_str){ 0 }, &e);
    }
    buf_free(&path);
    free(circle);
}

/* The order of what is not refused; false: a circle was found and refused, so look again. */
static bool take(struct sorter *s, uint32_t *ret_order, uint32_t *ret_count)
{
    uint32_t i, waiting;

    *ret_count = 0;
    memset(s->taken, 0, s->n);
    for (;;) {
        waiting = NOBODY;
        for (i = 0; i < s->n; i++) {
            if (s->taken[i] || s->item[i].refused)
                continue;
            if (waits_for(s, i) == NOBODY)
                break;
            waiting = i;
        }
        if (i == s->n)
            break;
        s->taken[i] = true;
        ret_order[(*ret_count)++] = i;
    }
    if (waiting != NOBODY)
        refuse_circle(s, waiting);
    return waiting == NOBODY;
}

uint32_t order_sort(struct order_item *item, uint32_t n, const char *core, uint32_t *ret_order,
                    order_refuse *refuse_fn, void *arg)
{
    struct sorter s = { item, n, core, mem_new(n + 1), refuse_fn, arg };
    uint32_t count;
    bool again;

    refuse_doubles(&s);
    do {
        do {
            again = false;
            for (uint32_t i = 0; i < n; i++)
                if (!item[i].refused && refuse_unmet(&s, i))
                    again = true;
        } while (again);
    } while (!take(&s, ret_order, &count));
    free(s.taken);
    return count;
}
