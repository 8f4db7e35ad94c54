/* Bytes into a descriptor, as far as they go. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "logline/logline.h"

enum { KEEP_MOST = 4 << 20 }; /* a buffer that once was larger is given back */

static void emptied(struct logout *o)
{
    o->done = 0;
    if (o->text.cap > KEEP_MOST)
        buf_free(&o->text);
    else
        buf_reset(&o->text);
}

int logout_flush(struct logout *o)
{
    bool waited = false;

    while (o->fd >= 0 && o->done < o->text.n) {
        ssize_t n = write(o->fd, o->text.p + o->done, o->text.n - o->done);
        if (n > 0) {
            o->done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN && !waited) {
            waited = true;
            poll(&(struct pollfd){ .fd = o->fd, .events = POLLOUT }, 1, 1000);
        } else if (n == 0 || errno != EINTR) {
            return n == 0 ? -ENOSPC : -errno;
        }
    }
    emptied(o);
    return 0;
}

void logout_free(struct logout *o)
{
    buf_free(&o->text);
    o->done = 0;
}
