/* A list per loop, so that nothing is left when the loop ends. */
#include "db/pgown.h"

#include "db/fair.h"
#include "db/pgconn_priv.h"
#include "db/pgpool.h"

struct pgconn *pgown_open(struct db_client *c, ath_loop *l, const struct pgconn_hooks *on,
                          void *owner)
{
    struct pgconn_options how = pgpool_connect_options();
    struct db_target *target;
    struct pgconn *conn;

    if (!pgbudget_take_own())
        return NULL;
    target = client_target(c);
    conn = pgconn_open(l, target, &how, on, owner);
    target_unref(target);
    list_push(&db_loop_of(l)->own, &conn->node);
    return conn;
}

void pgown_forget(struct pgconn *c)
{
    list_unlink(&c->node);
    pgconn_hang_up(c);
    pgbudget_give_own();
    fair_freed();
}

void pgown_close(struct pgconn *c)
{
    pgown_forget(c);
    pgconn_close(c);
}

void pgown_close_all(struct db_loop *on)
{
    ath_err e;

    err_raise(&e, "server_draining", "the server stops");
    while (!list_empty(&on->own))
        pgconn_broke(list_entry(on->own.next, struct pgconn, node), &e);
}
