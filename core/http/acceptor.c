/* The listening sockets.
 *
 * They are polled on the control loop; each accepted descriptor is posted to the next HTTP loop.
 * One acceptor and a turn for each loop spread connections evenly and lose none when a loop is
 * slow, unlike a listening socket per loop. When descriptors run out, a reserved one is given up
 * for a moment to accept and close the client that waits: it hears no instead of nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/http_priv.h"
#include "log/log.h"

enum { LISTENERS = 8, ACCEPTS = 64, FIRST_INHERITED = 3, PAUSE_MS = 100 };

struct listener {
    struct acceptor *owner;
    uv_poll_t poll;
    int fd;
};

struct acceptor {
    ath_loop *control;
    ath_loop **loops;
    uint32_t loop_count, turn;
    struct listener listener[LISTENERS];
    uint32_t listeners, handles;
    int reserve;
    bool starved; /* the last one could not be accepted */
    uint16_t port;
    char *unix_path; /* removed at the end */
    struct deadline pause;
};

struct handoff {
    ath_loop *loop;
    int fd;
    struct peer peer;
};

/* ---- accepting ---- */

static void handoff_run(void *arg)
{
    struct handoff *h = arg;
    struct http_loop *hl = h->loop->slot[LOOP_SLOT_HTTP];

    if (hl)
        conn_accept(hl, h->fd, &h->peer);
    else
        close(h->fd);
    free(h);
}

/* IPv4 inside IPv6 is shown as IPv4. */
static void peer_read(const struct sockaddr_storage *from, struct peer *ret)
{
    const struct sockaddr_in *v4 = (const void *)from;
    const struct sockaddr_in6 *v6 = (const void *)from;

    memset(ret, 0, sizeof(*ret));
    if (from->ss_family == AF_INET) {
        memset(ret->address + 10, 0xFF, 2);
        memcpy(ret->address + 12, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        memcpy(ret->address, &v6->sin6_addr, 16);
    } else {
        return;
    }
    ret->known = true;
    ret->n = (uint8_t)address_write(ret->address, ret->text);
}

static void hand_over(struct acceptor *a, int fd, const struct sockaddr_storage *from)
{
    struct handoff *h = MEM_NEW(struct handoff);

    h->loop = a->loops[a->turn++ % a->loop_count];
    h->fd = fd;
    peer_read(from, &h->peer);
    loop_post(h->loop, handoff_run, h);
}

/* Out of descriptors: the reserved one lets one client in, who is sent away. */
static void turn_away(struct acceptor *a, int listening)
{
    int fd;

    if (a->reserve >= 0)
        close(a->reserve);
    fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    a->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connection(uv_poll_t *p, int status, int events);

static void listen_all(struct acceptor *a)
{
    for (uint32_t i = 0; i < a->listeners; i++)
        uv_poll_start(&a->listener[i].poll, UV_READABLE, on_connection);
}

static void on_pause_over(struct deadline *d)
{
    listen_all(container_of(d, struct acceptor, pause));
}

static void pause_all(struct acceptor *a)
{
    for (uint32_t i = 0; i < a->listeners; i++)
        uv_poll_stop(&a->listener[i].poll);
    deadline_set(a->control, &a->pause, loop_now_ms(a->control) + PAUSE_MS);
}

/* Said once until it is over: it comes with every client that waits. */
static void starved(struct acceptor *a, int listening, int why)
{
    if (!a->starved)
        log_write(ATH_WARN, "athena::http", "could not accept a connection: %s", strerror(why));
    a->starved = true;
    if (why == EMFILE || why == ENFILE)
        turn_away(a, listening);
    pause_all(a);
}

static bool accept_one(struct acceptor *a, int listening)
{
    struct sockaddr_storage from;
    socklen_t n = sizeof(from);
    int fd;

    memset(&from, 0, sizeof(from));
    fd = accept4(listening, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        a->starved = false;
        hand_over(a, fd, &from);
        return true;
    }
    if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
        return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    starved(a, listening, errno);
    return false;
}

static void on_connection(uv_poll_t *p, int status, int events)
{
    struct listener *l = p->data;

    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPTS && accept_one(l->owner, l->fd); i++)
        continue;
}

/* ---- listening ---- */

static int listener_add(struct acceptor *a, int fd, ath_err *e)
{
    struct listener *l = &a->listener[a->listeners];

    if (a->listeners == LISTENERS) {
        close(fd);
        return err_fail(e, ATH_E_CONFIG, "more than %d listening sockets", LISTENERS);
    }
    if (uv_poll_init(&a->control->uv, &l->poll, fd) != 0) {
        close(fd);
        return err_fail(e, ATH_E_CONFIG, "file descriptor %d cannot be polled", fd);
    }
    l->fd = fd;
    l->owner = a;
    l->poll.data = l;
    a->listeners++;
    a->handles++;
    return 0;
}

static int listen_fd(int fd, const struct sockaddr *to, socklen_t n, uint32_t backlog)
{
    int one = 1;

    if (to->sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (to->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int));
    return bind(fd, to, n) == 0 && listen(fd, backlog ? (int)backlog : 1024) == 0 ? 0 : -1;
}

static void port_read(struct acceptor *a, int fd)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof(at);

    if (getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        return;
    if (at.ss_family == AF_INET)
        a->port = ntohs(((struct sockaddr_in *)(void *)&at)->sin_port);
    else if (at.ss_family == AF_INET6)
        a->port = ntohs(((struct sockaddr_in6 *)(void *)&at)->sin6_port);
}

static int listen_tcp(struct acceptor *a, const struct acceptor_options *o, ath_err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV },
                    *found = NULL;
    char port[8];
    int fd, rc;

    snprintf(port, sizeof(port), "%u", o->port);
    if ((rc = getaddrinfo(o->host, port, &want, &found)) != 0)
        return err_fail(e, ATH_E_CONFIG, "could not resolve listen address \"%s\": %s", o->host,
                        gai_strerror(rc));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rc = fd < 0 ? -1 : listen_fd(fd, found->ai_addr, found->ai_addrlen, o->backlog);
    freeaddrinfo(found);
    if (rc != 0) {
        rc = errno;
        if (fd >= 0)
            close(fd);
        return err_fail(e, ATH_E_CONFIG, "could not listen on %s:%u: %s", o->host, o->port,
                        strerror(rc));
    }
    port_read(a, fd);
    return listener_add(a, fd, e);
}

/* A socket file that nobody listens on any more is of a process that was killed. */
static void unix_clean(const struct sockaddr_un *to)
{
    struct stat st;
    int fd;

    if (lstat(to->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0 &&
        errno == ECONNREFUSED)
        unlink(to->sun_path);
    if (fd >= 0)
        close(fd);
}

static int listen_unix(struct acceptor *a, const struct acceptor_options *o, ath_err *e)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = strlen(o->unix_path);
    int fd, why;

    if (n >= sizeof(to.sun_path))
        return err_fail(e, ATH_E_CONFIG, "socket path \"%s\" is longer than %zu bytes",
                        o->unix_path, sizeof(to.sun_path) - 1);
    memcpy(to.sun_path, o->unix_path, n + 1);
    unix_clean(&to);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || listen_fd(fd, (struct sockaddr *)&to, sizeof(to), o->backlog) != 0) {
        why = errno;
        if (fd >= 0)
            close(fd);
        return err_fail(e, ATH_E_CONFIG, "could not listen on \"%s\": %s", o->unix_path,
                        strerror(why));
    }
    a->unix_path = mem_dup_z(o->unix_path);
    return listener_add(a, fd, e);
}

/* sd_listen_fds(3): descriptors from 3 on, as many as LISTEN_FDS says, if LISTEN_PID is ours. */
static int listen_inherited(struct acceptor *a, ath_err *e)
{
    uint64_t pid = 0, n = 0;
    int rc = 0;

    if (!str_u64(str_of(getenv("LISTEN_PID")), &pid) || pid != (uint64_t)getpid() ||
        !str_u64(str_of(getenv("LISTEN_FDS")), &n) || n == 0)
        return err_fail(e, ATH_E_CONFIG, "no listening socket was handed in (LISTEN_FDS)");
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        int fd = FIRST_INHERITED + (int)i, listening = 0;
        socklen_t size = sizeof(listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || !listening)
            return err_fail(e, ATH_E_CONFIG, "file descriptor %d is no listening socket", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        port_read(a, fd);
        rc = listener_add(a, fd, e);
    }
    return rc;
}

/* ---- life ---- */

static int listen_on(struct acceptor *a, const struct acceptor_options *o, ath_err *e)
{
    int rc = 0;

    if (o->inherited)
        return listen_inherited(a, e);
    if (o->host)
        rc = listen_tcp(a, o, e);
    if (rc == 0 && o->unix_path)
        rc = listen_unix(a, o, e);
    if (rc == 0 && a->listeners == 0)
        return err_fail(e, ATH_E_CONFIG, "neither a host nor a socket path to listen on");
    return rc;
}

int acceptor_start(ath_loop *control, ath_loop *const *loops, uint32_t n,
                   const struct acceptor_options *o, struct acceptor **ret, ath_err *e)
{
    struct acceptor *a = MEM_NEW(struct acceptor);
    int rc;

    a->control = control;
    a->loops = mem_new(n * sizeof(*loops));
    memcpy(a->loops, loops, n * sizeof(*loops));
    a->loop_count = n;
    a->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    deadline_init(&a->pause, on_pause_over);
    if ((rc = listen_on(a, o, e)) < 0) {
        acceptor_stop(a);
        return rc;
    }
    listen_all(a);
    *ret = a;
    return 0;
}

uint16_t acceptor_port(const struct acceptor *a)
{
    return a->port;
}

static void acceptor_free(struct acceptor *a)
{
    if (a->reserve >= 0)
        close(a->reserve);
    free(a->unix_path);
    free(a->loops);
    free(a);
}

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *l = h->data;

    if (--l->owner->handles == 0)
        acceptor_free(l->owner);
}

void acceptor_stop(struct acceptor *a)
{
    if (!a)
        return;
    deadline_clear(&a->pause);
    if (a->unix_path)
        unlink(a->unix_path);
    if (a->handles == 0)
        acceptor_free(a);
    else
        for (uint32_t i = 0, n = a->listeners; i < n; i++) {
            int fd = a->listener[i].fd;
            uv_close((uv_handle_t *)&a->listener[i].poll, on_listener_closed);
            close(fd);
        }
}
