/* The host's table, and the parts of it that are the core's functions as they are. */
#include "plugin/host.h"

#include "base/err.h"
#include "base/version.h"
#include "http/client.h"
#include "io/stream.h"
#include "plugin/abi.h"

static ath_str (*answer)(ath_task *t, const char *what);

void host_inspect(ath_str (*inspect)(ath_task *t, const char *what))
{
    answer = inspect;
}

static ath_str inspect(ath_task *t, const char *what)
{
    return answer ? answer(t, what) : ATH_S("");
}

static const void *service(ath_self *s, const char *name, uint32_t version)
{
    return registry_service(s, name, version);
}

static int fetch(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e)
{
    ath_fetch ours;

    abi_copy(&ours, sizeof(ours), f, f->size);
    if (ours.flags & ~(uint32_t)(ATH_HTTP_STREAM | ATH_HTTP_PUBLIC | ATH_HTTP_FOLLOW))
        return err_fail(e, ATH_E_BUG, "a request with unknown flags: %u", ours.flags);
    return client_fetch(t, &ours, then, arg, e);
}

static uint64_t now_ms(ath_loop *l)
{
    return loop_now_ms(l);
}

static struct uv_loop_s *uv(ath_loop *l)
{
    return &l->uv;
}

static const ath_err_api err_api = {
    .size = sizeof(err_api),
    .fail = err_fail_v,
    .raise = err_raise_v,
    .hint = err_hint_v,
    .detail = err_detail,
    .get = err_get,
};

static const ath_mem_api mem_api = {
    .size = sizeof(mem_api),
    .alloc = arena_alloc,
    .own = arena_own,
};

static const ath_loop_api loop_api = {
    .size = sizeof(loop_api),
    .post = loop_post,
    .now_ms = now_ms,
    .uv = uv,
};

static const ath_stream_api stream_api = {
    .size = sizeof(stream_api),
    .open = stream_open,
    .read = stream_read,
    .write = stream_write,
    .end = stream_close,
    .moved = stream_moved,
    .of = stream_of,
};

const ath_host *host_table(void)
{
    static const ath_host host = {
        .size = sizeof(host),
        .abi_major = ATH_ABI_MAJOR,
        .abi_minor = ATH_ABI_MINOR,
        .version = athena_version,
        .err = &err_api,
        .log = &host_log,
        .mem = &mem_api,
        .loop = &loop_api,
        .task = &host_task,
        .stream = &stream_api,
        .req = &host_req,
        .pg = &host_pg,
        .job = &host_job,
        .fetch = fetch,
        .service = service,
        .inspect = inspect,
    };

    return &host;
}
