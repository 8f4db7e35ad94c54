/* athena/wrap.h - thin wrappers, so that plugin code reads as calls. Each says what its table says.
 * */
#ifndef ATHENA_WRAP_H
#define ATHENA_WRAP_H

#include <athena/host.h>

/* clang-format off */

#define ATH_WORDS_(call, last) \
    do { va_list ap; va_start(ap, last); rc = (call); va_end(ap); } while (0)

/* Returns rc with words: return ath_fail(e, ATH_E_LIMIT, "limit %d is over %d", n, most); */
ATH_PRINTF(3, 4) static inline int ath_fail(ath_err *e, int rc, const char *fmt, ...)
{
    ATH_WORDS_(ath_host_->err->fail(e, rc, fmt, ap), fmt);
    return rc;
}

/* The same by a code of the server's or the plugin's own table. */
ATH_PRINTF(3, 4) static inline int ath_raise(ath_err *e, const char *code, const char *fmt, ...)
{
    int rc;
    ATH_WORDS_(ath_host_->err->raise(e, code, fmt, ap), fmt);
    return rc;
}

#define ath_arena_of(t)   ath_host_->task->arena(t)
#define ath_config_of(t)  ath_host_->task->config((t), ath_self_)
#define ath_state_of(t)   ath_host_->task->state((t), ath_self_)
#define ath_local_of(t)   ath_host_->task->local((t), ath_self_)

static inline void *ath_new(ath_arena *a, size_t n) { return ath_host_->mem->alloc(a, n); }
static inline ath_str ath_header(ath_req *r, const char *n) { return ath_host_->req->header(r, n); }
static inline ath_str ath_param(ath_req *r, const char *n) { return ath_host_->req->param(r, n); }
static inline ath_str ath_cell(const ath_rows *rows, uint32_t i, uint32_t j)
{
    return ath_host_->pg->text(rows, i, j);
}
static inline int ath_reply(ath_req *r, int status, const char *type, ath_str body)
{
    return ath_host_->req->reply(r, status, type, body);
}
static inline int ath_query_then(ath_task *t, const ath_query *q, ath_then *then, ath_err *e)
{
    return ath_host_->pg->query(t, q, then, NULL, e);
}

/* clang-format on */
#endif
