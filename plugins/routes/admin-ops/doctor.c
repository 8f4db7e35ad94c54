/* GET /admin/doctor: what `athena doctor` prints, as seen by this process. */
#include "admin_ops.h"

#include <athena/service/doctor.h>

static int examined(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    (void)e;
    if (d->rc < 0)
        return d->rc;
    buf_lit(&b, "{\"status\":\"success\",\"message\":\"Examined this server\",\"data\":");
    buf_str(&b, d->bytes);
    buf_char(&b, '}');
    return ath_reply(t, 200, "application/json", buf_view(&b));
}

int doctor_show(ath_req *r, ath_err *e)
{
    const ath_doctor *doctor = ath_host_->service(ath_self_, "athena.doctor", 1);

    if (!doctor)
        return ath_raise(e, "feature_unavailable", "this server has no doctor");
    return doctor->examine(r, 0, examined, NULL, e);
}
