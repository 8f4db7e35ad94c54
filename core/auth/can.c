/* The key is looked up as the check looks it up, if need be while the request waits; then explain.c
 * asks the parts of the check.
 */
#include "auth/can.h"

#include "auth/auth.h"
#include "auth/explain.h"
#include "base/clock.h"
#include "base/err.h"

struct can {
    struct explain_ask ask;
    ath_str public_id;
    struct op *op; /* of whoever asks */
};

static int enforced(ath_str client)
{
    bool on;

    return store_enforced(client, &on) ? on : -1;
}

static void tell(ath_task *t, struct can *c, const struct auth_key *k)
{
    struct ip_policy policy;
    struct explain_facts facts = { .store = store_state(),
                                   .enforced = enforced(c->ask.client),
                                   .now_us = (int64_t)(clock_wall_ns() / 1000),
                                   .policy = &policy };
    struct buf b = ARENA_BUF(&t->arena);

    facts.untold = auth_policy(req_of(t), k, c->ask.client, &policy);
    explain(&c->ask, k, &facts, &b);
    c->op->done.bytes = buf_view(&b);
}

static void finish(ath_task *t, struct can *c)
{
    bool missing;
    const struct auth_key *k = store_find(c->public_id, &missing);

    if (k) {
        tell(t, c, k);
        auth_key_release(k);
        op_finish(c->op, 0);
        return;
    }
    op_finish(c->op, err_fail(op_err(c->op), ATH_E_MISSING, "the key store has no key \"%.*s\"",
                              STR_ARG(c->public_id)));
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct can *c = d->arg;

    if (d->rc < 0) {
        err_copy(op_err(c->op), e);
        op_finish(c->op, d->rc);
    } else {
        finish(t, c);
    }
    return 0;
}

static int take_address(struct explain_ask *ask, ath_str text, ath_arena *a, ath_err *e)
{
    char shown[ADDRESS_ROOM];

    if (text.n == 0)
        return 0;
    if (!address_read(text, ask->bytes))
        return err_raise(e, "VALIDATION_FAILED", "\"%.*s\" is not an address", STR_ARG(text));
    ask->address = arena_str(a, str_from(shown, address_write(ask->bytes, shown)));
    return 0;
}

static int ask_can(ath_task *t, const ath_rights_ask *q, ath_then *then, void *arg, ath_err *e)
{
    struct can *c = ARENA_NEW(&t->arena, struct can);
    const struct auth_key *k;
    bool missing;
    int rc;

    if (!req_is(t) || q->size < sizeof(*q))
        return err_fail(e, ATH_E_BUG, "\"athena.rights@1\" is asked within a request");
    c->public_id = arena_str(&t->arena, q->public_id);
    c->ask.name = arena_str(&t->arena, q->right);
    if (q->table.n)
        c->ask.right = (ath_right){ arena_str(&t->arena, q->schema), arena_str(&t->arena, q->table),
                                    right_action(c->ask.name) };
    c->ask.client = auth_client(&t->arena, str_trim(q->client));
    if ((rc = take_address(&c->ask, str_trim(q->address), &t->arena, e)) < 0)
        return rc;
    k = store_find(c->public_id, &missing);
    auth_key_release(k);
    if (!k && !missing && (rc = store_look(t, c->public_id, looked, c, e)) < 0)
        return rc;
    c->op = op_new(t, then, arg);
    if (k || missing)
        finish(t, c);
    return 0;
}

const ath_rights rights_service = { .size = sizeof(rights_service), .can = ask_can };
