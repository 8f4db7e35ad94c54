/* sd_notify by hand. */
#include "server/notify.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/text.h"

void notify_send(const char *state)
{
    ath_str path = str_of(getenv("NOTIFY_SOCKET"));
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd;

    if (path.n < 2 || path.n >= sizeof(to.sun_path))
        return;
    memcpy(to.sun_path, path.p, path.n);
    if (to.sun_path[0] == '@') /* the abstract namespace */
        to.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n));
    close(fd);
}

uint64_t notify_watchdog_ms(void)
{
    uint64_t usec, pid;

    if (!str_u64(str_of(getenv("WATCHDOG_USEC")), &usec))
        return 0;
    if (str_u64(str_of(getenv("WATCHDOG_PID")), &pid) && pid != (uint64_t)getpid())
        return 0;
    return usec / 2000;
}
