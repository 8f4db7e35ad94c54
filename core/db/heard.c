/* A file of its own, because <linux/tcp.h>, which knows this count, and <netinet/tcp.h>, which comes
 * with libuv, cannot be read together.
 */
#include "db/heard.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t socket_heard(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 ? info.tcpi_bytes_received : 0;
}
