/* ath_req_api: requests. Rights are asked through the server's hook. */
#include "http/call.h"
#include "plugin/abi.h"
#include "plugin/host.h"

static int allow(ath_req *t, const ath_right *right, uint32_t n, ath_err *e)
{
    struct req *r = req_of(t);
    int rc = r->http->allow ? r->http->allow(r, right, n, e) : 0;

    if (rc == 0)
        r->asked = true;
    return rc;
}

/* The caller's struct may be shorter than ours: nothing is written past its end. */
static void who(ath_req *t, ath_who *ret)
{
    uint32_t size = ret->size;
    ath_who ours = { .size = sizeof(ours) };

    req_who(t, &ours);
    memcpy(ret, &ours, size < sizeof(ours) ? size : sizeof(ours));
    ret->size = size;
}

static int call(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e)
{
    ath_fetch ours;

    abi_copy(&ours, sizeof(ours), f, f->size);
    return call_start(t, &ours, then, arg, e);
}

const ath_req_api host_req = {
    .size = sizeof(host_req),
    .info = req_info,
    .param = req_param,
    .header = req_header,
    .pairs = req_pairs,
    .body = req_body,
    .from = req_from,
    .who = who,
    .allow = allow,
    .note = req_note,
    .set = req_set,
    .rewrite = req_rewrite,
    .refuse = req_refuse,
    .reply = req_reply,
    .send = req_send,
    .call = call,
};
