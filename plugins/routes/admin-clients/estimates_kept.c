/* Answers about table sizes that are given again for some minutes.
 *
 * They belong to no client's requests and to no relation, so the cache of the data plane is no
 * place for them. All loops share these few slots behind a lock that is held for a copy; an answer
 * takes the place of the one that ends first.
 */
#include "admin_clients.h"

#include <pthread.h>

enum { SLOTS = 64, BODY_MOST = 256 * 1024 };

struct slot {
    char key[ESTIMATES_KEY];
    char *body; /* NULL: nothing is kept here */
    size_t n;
    uint64_t until_ms;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[SLOTS];

static void slot_clear(struct slot *s)
{
    free(s->body);
    *s = (struct slot){ 0 };
}

static struct slot *slot_of(ath_str key)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].body && memcmp(slots[i].key, key.p, ESTIMATES_KEY) == 0)
            return &slots[i];
    return NULL;
}

/* That of the key, a free one, or the one that ends first: a free one ended at 0. */
static struct slot *slot_for(ath_str key)
{
    struct slot *first = slot_of(key);

    if (first)
        return first;
    first = slots;
    for (size_t i = 1; i < SLOTS; i++)
        if (slots[i].until_ms < first->until_ms)
            first = &slots[i];
    return first;
}

ath_str estimates_find(ath_arena *arena, ath_str key, uint64_t now_ms)
{
    ath_str found = { NULL, 0 };
    struct slot *s;

    pthread_mutex_lock(&lock);
    if (key.n == ESTIMATES_KEY && (s = slot_of(key)) && s->until_ms > now_ms) {
        char *p = ath_new(arena, s->n + 1);
        memcpy(p, s->body, s->n);
        found = str_from(p, s->n);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void estimates_keep(ath_str key, ath_str body, uint64_t until_ms)
{
    char *p = key.n == ESTIMATES_KEY && body.n <= BODY_MOST ? malloc(body.n + 1) : NULL;
    struct slot *s;

    if (!p)
        return;
    memcpy(p, body.p, body.n);
    pthread_mutex_lock(&lock);
    s = slot_for(key);
    slot_clear(s);
    memcpy(s->key, key.p, ESTIMATES_KEY);
    s->body = p;
    s->n = body.n;
    s->until_ms = until_ms;
    pthread_mutex_unlock(&lock);
}

void estimates_drop_all(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < SLOTS; i++)
        slot_clear(&slots[i]);
    pthread_mutex_unlock(&lock);
}
