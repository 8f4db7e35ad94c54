/* Who waits for the key store.
 *
 * A want is an id that somebody waits for (the empty one: the tables), with all who do: it is asked
 * for once. It is in line until a reading takes it, and gone when that is answered. Who waits does
 * so on a loop of their own: answers are posted there. All of it is behind one lock, as it is rare
 * beside what memory answers.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auth/store_priv.h"
#include "base/mem.h"
#include "io/deadline.h"
#include "lib/json.h"
#include "lib/text.h"

enum { WANTS_MOST = 4096 };

struct want {
    struct list node; /* of the line, or of those that are asked for */
    struct list waiters;
    uint64_t seq; /* of the reading that has taken it; 0: none yet */
    uint32_t id_n;
    char id[];
};

struct waiter {       /* in the arena of its task */
    struct list node; /* of the want; alone once its answer is under way */
    struct op *op;
    struct deadline limit;
    int rc;
    bool answered;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map by_id;         /* all but those of the tables */
static struct want *tables_line; /* of the tables, in line */
static struct list line = { &line, &line }, asked = { &asked, &asked };
static uint32_t wants, keys_in_line;

/* ---- the end of a wait, on the loop of who waits ---- */

static void finish(struct waiter *w)
{
    ath_err *e;

    deadline_clear(&w->limit);
    if (w->rc == 0) {
        op_finish(w->op, 0);
        return;
    }
    e = op_err(w->op);
    if (w->rc == ATH_E_CANCELED)
        err_fail(e, ATH_E_CANCELED, "nobody waits for the key store any more");
    else
        err_raise(e, "auth_store_unavailable",
                  "The API key store could not validate the presented key.");
    op_finish(w->op, e->rc);
}

static void deliver(void *waiter)
{
    finish(waiter);
}

/* Out of its want, unless the answer is on its way already. */
static bool leave(struct waiter *w)
{
    bool mine;

    pthread_mutex_lock(&lock);
    mine = !w->answered;
    w->answered = true;
    list_unlink(&w->node);
    pthread_mutex_unlock(&lock);
    return mine;
}

static void late(struct deadline *d)
{
    struct waiter *w = container_of(d, struct waiter, limit);

    if (!leave(w))
        return;
    w->rc = ATH_E_TIMEOUT;
    finish(w);
}

static void stop(struct op *o)
{
    struct waiter *w = o->impl;

    if (o->finished || !leave(w))
        return;
    w->rc = ATH_E_CANCELED;
    finish(w);
}

/* ---- waiting ---- */

static struct want *want_new(ath_str id)
{
    struct want *x = mem_new(sizeof(*x) + id.n + 1);

    list_init(&x->waiters);
    if (id.n)
        memcpy(x->id, id.p, id.n);
    x->id_n = (uint32_t)id.n;
    list_push(&line, &x->node);
    wants++;
    return x;
}

/* Under the lock; NULL: too many. A key that is being asked for is asked for once. A reading of the
 * tables that has begun may not see what its caller has just changed: that waits for the next. */
static struct want *want_of(ath_str id)
{
    struct want *x = id.n ? map_get(&by_id, id) : tables_line;

    if (x)
        return x;
    if (wants >= WANTS_MOST && id.n)
        return NULL;
    x = want_new(id);
    if (id.n) {
        map_put(&by_id, str_from(x->id, x->id_n), x);
        keys_in_line++;
    } else {
        tables_line = x;
    }
    return x;
}

static struct waiter *waiter_new(ath_task *t, uint64_t ms, ath_then *then, void *arg)
{
    struct waiter *w = ARENA_NEW(&t->arena, struct waiter);

    w->op = op_new(t, then, arg);
    w->op->impl = w;
    w->op->stop = stop;
    list_init(&w->node);
    deadline_init(&w->limit, late);
    deadline_set(t->loop, &w->limit, loop_now_ms(t->loop) + ms);
    return w;
}

static int wait_for(ath_task *t, ath_str id, uint64_t ms, ath_then *then, void *arg, ath_err *e)
{
    struct waiter *w;
    struct want *x;
    int rc = task_may_start(t, e);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&lock);
    x = want_of(id);
    if (x) {
        w = waiter_new(t, ms, then, arg);
        list_push(&x->waiters, &w->node);
    }
    pthread_mutex_unlock(&lock);
    if (!x)
        return err_raise(e, "auth_store_unavailable", "too many keys are being looked up");
    store_kick();
    return 0;
}

int store_look(ath_task *t, ath_str public_id, ath_then *then, void *arg, ath_err *e)
{
    return wait_for(t, public_id, store_options.look_ms, then, arg, e);
}

/* ---- the follower's side ---- */

static bool is_kind(const struct want *x, enum look_kind kind)
{
    return (x->id_n == 0) == (kind == LOOK_TABLES);
}

bool look_waits(enum look_kind kind)
{
    bool yes;

    pthread_mutex_lock(&lock);
    yes = kind == LOOK_TABLES ? tables_line != NULL : keys_in_line > 0;
    pthread_mutex_unlock(&lock);
    return yes;
}

static void take(struct want *x, uint64_t seq)
{
    if (x->id_n)
        keys_in_line--;
    else
        tables_line = NULL;
    x->seq = seq;
    list_unlink(&x->node);
    list_push(&asked, &x->node);
}

bool look_take(enum look_kind kind, uint64_t seq, struct buf *ret_ids)
{
    uint32_t n = 0;

    pthread_mutex_lock(&lock);
    list_each (node, next, &line) {
        struct want *x = list_entry(node, struct want, node);
        if (!is_kind(x, kind))
            continue;
        take(x, seq);
        if (kind == LOOK_KEYS) {
            buf_char(ret_ids, n ? ',' : '[');
            buf_json(ret_ids, str_from(x->id, x->id_n));
        }
        n++;
    }
    pthread_mutex_unlock(&lock);
    if (n && kind == LOOK_KEYS)
        buf_char(ret_ids, ']');
    return n > 0;
}

bool look_asked(uint64_t seq, void **at, ath_str *ret_id)
{
    struct list *node;

    pthread_mutex_lock(&lock); /* what was asked for stays until look_answer() */
    node = *at ? ((struct want *)*at)->node.next : asked.next;
    while (node != &asked && (list_entry(node, struct want, node)->seq != seq ||
                              list_entry(node, struct want, node)->id_n == 0))
        node = node->next;
    pthread_mutex_unlock(&lock);
    if (node == &asked)
        return false;
    *at = list_entry(node, struct want, node);
    *ret_id = str_from(((struct want *)*at)->id, ((struct want *)*at)->id_n);
    return true;
}

/* Posted under the lock: a waiter that is answered is its loop's alone afterwards. */
static void answer(struct want *x, int rc)
{
    struct list *node;

    while ((node = list_pop(&x->waiters)) != NULL) {
        struct waiter *w = list_entry(node, struct waiter, node);
        w->rc = rc;
        w->answered = true;
        loop_post(w->op->task->loop, deliver, w);
    }
    list_unlink(&x->node);
    if (x->id_n)
        map_remove(&by_id, str_from(x->id, x->id_n));
    wants--;
    free(x);
}

void look_answer(uint64_t seq, int rc)
{
    pthread_mutex_lock(&lock);
    list_each (node, next, &asked) {
        struct want *x = list_entry(node, struct want, node);
        if (x->seq == seq)
            answer(x, rc);
    }
    pthread_mutex_unlock(&lock);
}

void look_stop(void)
{
    struct list *lists[] = { &line, &asked };

    for (size_t i = 0; i < ATH_COUNT(lists); i++)
        list_each (node, next, lists[i]) {
            struct want *x = list_entry(node, struct want, node);
            list_unlink(node);
            free(x);
        }
    map_free(&by_id);
    tables_line = NULL;
    wants = keys_in_line = 0;
}

/* ---- the service ---- */

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    task_done(t, &(ath_done){ .size = sizeof(ath_done), .status = d->rc == 0 });
    return 0;
}

static int refresh_run(ath_task *t, void *arg, ath_err *e)
{
    uint64_t ms = *(const uint32_t *)arg;

    if (store_state() == STORE_NONE) {
        task_done(t, &(ath_done){ .size = sizeof(ath_done), .status = 0 });
        return 0;
    }
    return wait_for(t, (ath_str){ "", 0 }, ms, refreshed, NULL, e);
}

static int refresh(ath_task *t, uint32_t wait_ms, ath_then *then, void *arg, ath_err *e)
{
    uint32_t *ms = ARENA_NEW(&t->arena, uint32_t);

    *ms = wait_ms;
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = refresh_run, .arg = ms },
                     then, arg, e);
}

const ath_auth store_service = { .size = sizeof(ath_auth), .refresh = refresh };
