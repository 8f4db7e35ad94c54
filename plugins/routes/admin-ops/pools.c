/* The pools of this process, from memory. */
#include "admin_ops.h"

int pools_list(ath_req *r, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    (void)e;
    buf_lit(&b, "{\"status\":\"success\",\"message\":\"Loaded pool runtime telemetry\",\"data\":");
    buf_str(&b, ath_host_->inspect(r, "pools"));
    buf_char(&b, '}');
    return ath_reply(r, 200, "application/json", buf_view(&b));
}
