/* Clients of callers' URIs: how many there may be, how many connections, and how they end. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "db/direct.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(&(struct postgres_options){ .tcp = true, .conf = "max_connections = 300" });
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(bool private)
{
    struct db_options o = lab_options();

    o.budget = 250;
    o.pool_max = 50;
    o.direct_private = private;
    o.direct_hosts = private ? NULL : "127.1,2130706433,0x7f.0.0.1,example.org";
    lab = lab_start(&o, 2);
}

/* The i-th of many URIs for the same database. */
static const char *uri_of(int i)
{
    static char uri[200];

    snprintf(uri, sizeof(uri),
             "postgres://postgres@127.0.0.1:%d/postgres?application_name=direct%d",
             postgres_port(pg), i);
    return uri;
}

static struct ask *ask_uri(const char *uri, const char *sql)
{
    struct ask *a = ask_new("", ATH_PG_READ, sql);

    a->arg = mem_dup_z(uri);
    a->q.uri = str_of(a->arg);
    return a;
}

static void ask_end_uri(struct ask *a)
{
    free(a->arg);
    ask_free(a);
}

static void get(int loop, const char *uri, const char *sql, const char *expected)
{
    struct ask *a = ask_uri(uri, sql);

    lab_send(lab, loop, &a, 1);
    ck_assert(ask_wait(a, 10000));
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ck_assert_str_eq(a->cell, expected);
    ask_end_uri(a);
}

static void fails(const char *uri, const char *code)
{
    struct ask *a = ask_uri(uri, "SELECT 1");

    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 15000));
    ck_assert_msg(a->rc < 0 && str_is(err_get(&a->err, "code"), code), "%s: %s", uri,
                  a->err.message);
    ck_assert_ptr_null(strstr(a->err.message, "127.0.0.1"));
    ask_end_uri(a);
}

START_TEST(each_uri_is_a_client_and_there_are_only_so_many)
{
    char expected[32];

    lab_up(true);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3 * DIRECT_CLIENTS; i++) {
            snprintf(expected, sizeof(expected), "direct%d", i);
            get(i % 2, uri_of(i), "SELECT current_setting('application_name')", expected);
            ck_assert_uint_le(db_direct_count(), DIRECT_CLIENTS);
        }
    ck_assert_uint_eq(db_client_count(), 0); /* and none is found by a name */
    lab_stop(lab);
}
END_TEST

struct open_now {
    in_port_t port[64];
    long n;
};

/* Connections of this process, each told by its own port: PostgreSQL shows one that has ended until its
 * own process has, and here one has more than one descriptor. */
static void look(struct open_now *o)
{
    struct sockaddr_in peer, own;
    long i;

    o->n = 0;
    for (int fd = 3; fd < 1024 && o->n < 64; fd++) {
        socklen_t size = sizeof(peer), own_size = sizeof(own);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0 || peer.sin_family != AF_INET ||
            ntohs(peer.sin_port) != postgres_port(pg) ||
            getsockname(fd, (struct sockaddr *)&own, &own_size) < 0)
            continue;
        for (i = 0; i < o->n && o->port[i] != own.sin_port; i++)
            ;
        if (i == o->n)
            o->port[o->n++] = own.sin_port;
    }
}

/* How many are open at once. Looking takes its time: of two looks that see the same all were open between
 * them, while one alone also sees what was opened after something that it has seen was closed. */
static long connections(void)
{
    struct open_now o[2];
    int last = 0;

    look(&o[0]);
    do {
        last = !last;
        look(&o[last]);
    } while (o[0].n != o[1].n || memcmp(o[0].port, o[1].port, (size_t)o[0].n * sizeof(*o[0].port)));
    return o[0].n;
}

START_TEST(one_has_four_connections_at_most)
{
    enum { N = 20 };
    struct ask *a[N];
    long most = 0;

    lab_up(true);
    for (int i = 0; i < N; i++) {
        a[i] = ask_uri(uri_of(1), "SELECT pg_sleep(0.3)");
        a[i]->q.flags = 0; /* reads share connections; one that takes long is cancelled, by another */
        lab_send(lab, i % 2, &a[i], 1);
    }
    for (int i = 0; i < 200 && !ask_wait(a[N - 1], 50); i++) {
        long n = connections();
        most = n > most ? n : most;
    }
    ck_assert_int_ge(most, 2);
    ck_assert_int_le(most, DIRECT_CONNECTIONS);
    for (int i = 0; i < N; i++) {
        ck_assert(ask_wait(a[i], 10000) && a[i]->rc == 0);
        ask_end_uri(a[i]);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(places_in_use_are_not_taken_away)
{
    struct ask *a[DIRECT_CLIENTS];

    lab_up(true);
    for (int i = 0; i < DIRECT_CLIENTS; i++) {
        a[i] = ask_uri(uri_of(i), "SELECT pg_sleep(3) -- held");
        lab_send(lab, 0, &a[i], 1);
    }
    for (int i = 0; i < 100 && db_direct_count() < DIRECT_CLIENTS; i++)
        usleep(10000);
    fails(uri_of(1000), "server_busy");
    for (int i = 0; i < DIRECT_CLIENTS; i++) {
        ck_assert(ask_wait(a[i], 10000));
        ck_assert_msg(a[i]->rc == 0, "%s", a[i]->err.message);
        ask_end_uri(a[i]);
    }
    get(0, uri_of(1000), "SELECT 'room again'", "room again");
    lab_stop(lab);
}
END_TEST

START_TEST(failures_say_nothing_of_what_is_there)
{
    char uri[200];

    lab_up(true);
    snprintf(uri, sizeof(uri), "postgres://postgres@127.0.0.1:%d/nodb", postgres_port(pg));
    fails(uri, "postgres_driver_error");
    fails("postgres://postgres@127.0.0.1:1/postgres", "postgres_driver_error");
    fails("postgres://postgres@no-such-host.invalid/postgres", "postgres_driver_error");
    lab_stop(lab);
}
END_TEST

/* ---- a name server that lies, and an address of the world that is this machine ---- */

static const char public_address[] = "8.8.8.8"; /* nothing is ever sent there */
static atomic_int asked, reached;               /* of names that change; that address */

typedef int lookup_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int connect_fn(int, const struct sockaddr *, socklen_t);

/* changes.example.org has a public address when it is first asked for, and a private one ever
 * after; both.example.org has one of each. */
__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    lookup_fn *real = (lookup_fn *)(uintptr_t)dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo *last;
    int rc;

    if (name && strcmp(name, "changes.example.org") == 0)
        return real(atomic_fetch_add(&asked, 1) ? "127.0.0.1" : public_address, service, hints,
                    ret);
    if (!name || strcmp(name, "both.example.org") != 0)
        return real(name, service, hints, ret);
    if ((rc = real(public_address, service, hints, ret)) != 0)
        return rc;
    for (last = *ret; last->ai_next;)
        last = last->ai_next;
    return real("127.0.0.1", service, hints, &last->ai_next);
}

__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    connect_fn *real = (connect_fn *)(uintptr_t)dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in here;

    if (to->sa_family != AF_INET || n < sizeof(here))
        return real(fd, to, n);
    memcpy(&here, to, sizeof(here));
    if (here.sin_addr.s_addr == inet_addr(public_address)) {
        atomic_fetch_add(&reached, 1);
        here.sin_addr.s_addr = inet_addr("127.0.0.1");
    }
    return real(fd, (const struct sockaddr *)&here, sizeof(here));
}

static long sessions(void)
{
    return postgres_number(pg, "SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'");
}

START_TEST(D_12_the_address_that_was_checked_is_the_one_that_is_connected_to)
{
    char uri[200];
    long before;

    lab_up(false);
    atomic_store(&asked, 0);
    atomic_store(&reached, 0);
    snprintf(uri, sizeof(uri),
             "postgres://postgres@changes.example.org:%d/postgres?sslmode=disable",
             postgres_port(pg));
    get(0, uri, "SELECT 'checked'", "checked");
    ck_assert_int_eq(atomic_load(&asked), 1); /* libpq has looked up nothing */
    ck_assert_int_eq(atomic_load(&reached), 1);
    lab_stop(lab);

    lab_up(false); /* whose loops remember no names */
    before = sessions();
    fails(uri, "postgres_driver_error");
    ck_assert_int_ge(atomic_load(&asked), 2);
    snprintf(uri, sizeof(uri), "postgres://postgres@both.example.org:%d/postgres?sslmode=disable",
             postgres_port(pg));
    fails(uri, "postgres_driver_error");
    ck_assert_int_eq(atomic_load(&reached), 1); /* one private address is enough to refuse a name */
    ck_assert_int_le(sessions() - before, 1);   /* the question's own */
    lab_stop(lab);
}
END_TEST

/* Names whose address is found only by resolving them. */
START_TEST(G_20_what_resolves_to_a_private_address_is_not_connected_to)
{
    static const char *const hosts[] = { "127.1", "2130706433", "0x7f.0.0.1" };
    long before, after;
    char uri[200];

    lab_up(false);
    before = sessions();
    for (size_t i = 0; i < ATH_COUNT(hosts); i++) {
        snprintf(uri, sizeof(uri), "postgres://postgres@%s:%d/postgres", hosts[i],
                 postgres_port(pg));
        fails(uri, "postgres_driver_error");
    }
    fails(uri_of(1), "invalid_target");
    after = sessions();
    ck_assert_int_le(after - before, 1); /* the question's own */
    lab_stop(lab);
}
END_TEST

START_TEST(without_a_rule_there_are_none)
{
    struct db_options o = lab_options();

    lab = lab_start(&o, 1);
    fails("postgres://postgres@one.example.org/postgres", "feature_unavailable");
    fails("postgres://postgres@127.0.0.1/postgres", "invalid_target");
    fails("mysql://x", "invalid_direct_uri");
    ck_assert_uint_eq(db_direct_count(), 0);
    lab_stop(lab);
}
END_TEST

/* ATH_PG_OPERATOR: anywhere, with everything that libpq knows, without the server's limit; and what a
 * caller may not use is not opened to callers by it. */
START_TEST(an_operators_uri_leads_anywhere)
{
    struct db_options o = lab_options();
    struct ask *a;

    lab = lab_start(&o, 1);
    a = ask_uri(uri_of(1), "SELECT current_setting('statement_timeout')");
    a->q.flags |= ATH_PG_OPERATOR;
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 10000));
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ck_assert_str_eq(a->cell, "0");
    ask_end_uri(a);
    fails(uri_of(1), "invalid_target");
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        an_operators_uri_leads_anywhere,
        each_uri_is_a_client_and_there_are_only_so_many,
        one_has_four_connections_at_most,
        places_in_use_are_not_taken_away,
        failures_say_nothing_of_what_is_there,
        D_12_the_address_that_was_checked_is_the_one_that_is_connected_to,
        G_20_what_resolves_to_a_private_address_is_not_connected_to,
        without_a_rule_there_are_none,
    };
    Suite *s = suite_create("db direct");
    TCase *c = tcase_create("direct");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
