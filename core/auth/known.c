/* Keys that a loop has just seen.
 *
 * A table of the thread's own, one place for each value of a hash: what is not there is looked up
 * in the shards as ever. Names are compared eight bytes at a time, the last eight may overlap.
 */
#include "auth/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { WORD = sizeof(uint64_t) };

static _Thread_local struct known *table;

static uint64_t word_at(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* The end of the id is where ids differ; the same key may be used for many clients. */
static struct known *place_of(ath_str before, ath_str client)
{
    uint64_t h = word_at(before.p + before.n - WORD) ^ client.n;

    if (client.n)
        h += (uint64_t)(unsigned char)client.p[client.n - 1] << 32;
    return &table[h * 0x9e3779b97f4a7c15u >> 56];
}
_Static_assert(KNOWN_MOST == 256, "a place is chosen by eight bits");

/* Of eight bytes or more. */
static bool is_same(const char *a, const char *b, size_t n)
{
    uint64_t differs = word_at(a + n - WORD) ^ word_at(b + n - WORD);

    for (size_t i = 0; i + WORD < n; i += WORD)
        differs |= word_at(a + i) ^ word_at(b + i);
    return differs == 0;
}

/* "ath_<id>." of a key as keys are made; shorter than a word: it has no such form. */
static ath_str before_secret(ath_str given)
{
    return str_from(given.p, given.n > KEY_SECRET ? given.n - KEY_SECRET : 0);
}

const struct known *known_find(ath_str given, ath_str client)
{
    ath_str before = before_secret(given);
    const struct known *n;

    if (unlikely(!table || before.n < WORD))
        return NULL;
    n = place_of(before, client);
    if (unlikely(n->changes != store_changes_now() || n->before_n != before.n ||
                 !is_same(n->text, before.p, before.n) ||
                 !str_same(str_from(n->text + before.n, n->client_n), client)))
        return NULL;
    return auth_key_is_known(n->key, str_after(given, before.n)) ? n : NULL;
}

static bool has_form(ath_str before)
{
    return before.n >= WORD && str_starts(before, "ath_") && str_find(before, '.') == before.n - 1;
}

void known_keep(uint64_t changes, ath_str given, ath_str client, const struct auth_key *k,
                bool enforced)
{
    ath_str before = before_secret(given);
    struct known *n;

    if (store_asks_always() || !has_form(before) || before.n + client.n > KNOWN_TEXT)
        return;
    if (!table)
        table = mem_new(KNOWN_MOST * sizeof(*table));
    n = place_of(before, client);
    auth_key_hold(k);
    auth_key_release(n->key);
    n->changes = changes;
    n->key = k;
    n->enforced = enforced;
    n->before_n = (uint32_t)before.n;
    n->client_n = (uint32_t)client.n;
    str_put(str_put(n->text, before), client);
}

void known_loop_fini(void)
{
    for (size_t i = 0; table && i < KNOWN_MOST; i++)
        auth_key_release(table[i].key);
    free(table);
    table = NULL;
}
