/* What operators' commands do: one request to a running server. */
#include "admin/admin.h"

void admin_segment(struct buf *path, ath_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~", c)))
            buf_char(path, (char)c);
        else
            buf_printf(path, "%%%02X", c);
    }
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    const char *what = d->arg;
    ath_done result = { .size = sizeof(result) };

    if (d->rc < 0)
        return d->rc;
    if (d->status < 200 || d->status > 299)
        return ath_fail(e, ATH_E_UPSTREAM, "%s failed (%d): %.*s", what, d->status,
                        STR_ARG(d->bytes));
    result.bytes = d->bytes;
    ath_host_->task->done(t, &result);
    return 0;
}

int admin_remote(ath_task *t, const char *method, ath_str path, ath_str body, ath_err *e)
{
    static const ath_pair json = { { "content-type", 12 }, { "application/json", 16 } };
    ath_fetch f = {
        .size = sizeof(f), .method = method, .url = path, .body = body, .max_body = 64u << 20
    };
    struct buf what = BUF_ARENA(ath_arena_of(t));

    if (body.n) {
        f.header = &json;
        f.header_count = 1;
    }
    buf_str(&what, path);
    return ath_host_->req->call(t, &f, answered, (void *)(uintptr_t)buf_view(&what).p, e);
}
