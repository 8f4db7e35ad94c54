/* initdb, pg_ctl and a connection, from C. */
#include "support/postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "lib/banned.h"

struct postgres {
    char bin[256], folder[64], data[96], uri[256];
    int port;
    bool tcp, tls;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "postgres: %s: %s\n", what, why);
    exit(2);
}

static void find_bin(struct postgres *p)
{
    const char *named = getenv("ATHENA_TEST_PG_BIN");
    glob_t found;
    int newest = 0;

    if (named) {
        snprintf(p->bin, sizeof(p->bin), "%s", named);
        return;
    }
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
        die("no server is installed", "expected /usr/lib/postgresql/*/bin");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int version = atoi(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"));
        if (version < newest)
            continue;
        newest = version;
        snprintf(p->bin, sizeof(p->bin), "%s", found.gl_pathv[i]);
    }
    globfree(&found);
}

static void drop_root(void)
{
    const struct passwd *user;

    if (geteuid() != 0)
        return;
    user = getpwnam("postgres");
    if (!user || initgroups("postgres", user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
        setuid(user->pw_uid) < 0)
        _exit(126);
}

/* A program of the server, quietly: its output goes to tool.log. */
static bool try(const struct postgres *p, const char *tool, va_list ap)
{
    const char *argv[24] = { NULL };
    char path[400], log[128];
    int n = 0, status = 0;
    pid_t pid;

    snprintf(path, sizeof(path), "%s%s%s", tool[0] == '/' ? "" : p->bin, tool[0] == '/' ? "" : "/",
             tool);
    snprintf(log, sizeof(log), "%s/tool.log", p->folder);
    argv[n++] = path;
    while (n < 23 && (argv[n] = va_arg(ap, const char *)) != NULL)
        n++;
    pid = fork();
    if (pid == 0) {
        int fd;
        drop_root();
        if (chdir(p->folder) < 0 || (fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600)) < 0)
            _exit(126);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid >= 0 && waitpid(pid, &status, 0) >= 0 && status == 0;
}

/* The same; it must work. */
static void run(const struct postgres *p, const char *tool, ...)
{
    char log[128], text[2048] = "";
    va_list ap;
    bool ok;
    FILE *f;

    va_start(ap, tool);
    ok = try(p, tool, ap);
    va_end(ap);
    if (ok)
        return;
    snprintf(log, sizeof(log), "%s/tool.log", p->folder);
    f = fopen(log, "r");
    if (f) {
        text[fread(text, 1, sizeof(text) - 1, f)] = 0;
        fclose(f);
    }
    die(tool, text);
}

static bool works(const struct postgres *p, const char *tool, ...)
{
    va_list ap;
    bool ok;

    va_start(ap, tool);
    ok = try(p, tool, ap);
    va_end(ap);
    return ok;
}

static int free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0), port;

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) < 0)
        die("no free port", "bind");
    port = ntohs(at.sin_port);
    close(fd);
    return port;
}

static void write_conf(const struct postgres *p, const struct postgres_options *o)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof(path), "%s/postgresql.conf", p->data);
    f = fopen(path, "a");
    if (!f)
        die(path, "cannot be written");
    fprintf(f,
            "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"
            "max_connections = 100\nport = %d\nlisten_addresses = '%s'\n"
            "unix_socket_directories = '%s'\nunix_socket_permissions = 0777\n",
            p->port, p->tcp ? "127.0.0.1" : "", p->folder);
    if (p->tls)
        fprintf(f, "ssl = on\n");
    if (o && o->conf)
        fprintf(f, "%s\n", o->conf);
    fclose(f);
}

static void make_certificate(struct postgres *p)
{
    char key[128], cert[128];

    snprintf(key, sizeof(key), "%s/server.key", p->data);
    snprintf(cert, sizeof(cert), "%s/server.crt", p->data);
    run(p, "/usr/bin/openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert,
        (char *)NULL);
    chmod(key, 0600);
}

/* A copy of what ATHENA_TEST_PG_TEMPLATE names (lab.py), or a new one. */
static void make_cluster(struct postgres *p)
{
    const char *template = getenv("ATHENA_TEST_PG_TEMPLATE");

    if (template)
        run(p, "/bin/cp", "-a", template, p->data, (char *)NULL);
    else
        run(p, "initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync",
            "-D", p->data, (char *)NULL);
}

struct postgres *postgres_start(const struct postgres_options *o)
{
    struct postgres *p = calloc(1, sizeof(*p));
    const struct passwd *user = getpwnam("postgres");

    if (!p)
        abort();
    find_bin(p);
    p->tcp = o && (o->tcp || o->tls);
    p->port = p->tcp ? free_port() : 5432;
    snprintf(p->folder, sizeof(p->folder), "/tmp/athena-pg-XXXXXX");
    if (!mkdtemp(p->folder))
        die(p->folder, "cannot be made");
    chmod(p->folder, 0755);
    if (geteuid() == 0 && (!user || chown(p->folder, user->pw_uid, user->pw_gid) < 0))
        die(p->folder, "cannot be given to user postgres");
    snprintf(p->data, sizeof(p->data), "%s/data", p->folder);
    snprintf(p->uri, sizeof(p->uri), "postgresql://postgres@/postgres?host=%s&port=%d", p->folder,
             p->port);
    make_cluster(p);
    /* Not every server and libpq is built with TLS; a server without refuses the setting. */
    p->tls = o && o->tls && PQsslAttribute(NULL, "library") &&
             works(p, "postgres", "-D", p->data, "-c", "ssl=on", "-C", "ssl", (char *)NULL);
    write_conf(p, o);
    if (p->tls)
        make_certificate(p);
    postgres_up(p);
    return p;
}

void postgres_up(struct postgres *p)
{
    char log[128];

    snprintf(log, sizeof(log), "%s/server.log", p->folder);
    run(p, "pg_ctl", "-s", "-w", "-D", p->data, "-l", log, "start", (char *)NULL);
}

void postgres_down(struct postgres *p, const char *mode)
{
    run(p, "pg_ctl", "-s", "-w", "-D", p->data, "-m", mode, "stop", (char *)NULL);
}

void postgres_restart(struct postgres *p)
{
    char log[128];

    snprintf(log, sizeof(log), "%s/server.log", p->folder);
    run(p, "pg_ctl", "-s", "-w", "-D", p->data, "-l", log, "-m", "fast", "restart", (char *)NULL);
}

void postgres_kill(struct postgres *p)
{
    char path[128];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/postmaster.pid", p->data);
    f = fopen(path, "r");
    if (!f || fscanf(f, "%ld", &pid) != 1 || pid <= 1)
        die(path, "no server to kill");
    fclose(f);
    kill((pid_t)pid, SIGKILL);
    for (int i = 0; i < 500 && kill((pid_t)pid, 0) == 0; i++)
        usleep(10000);
    usleep(300000); /* its children notice */
    unlink(path);
}

static void remove_folder(const char *folder)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", folder, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        waitpid(pid, &status, 0);
}

void postgres_free(struct postgres *p)
{
    char path[128];

    if (!p)
        return;
    snprintf(path, sizeof(path), "%s/postmaster.pid", p->data);
    if (access(path, F_OK) == 0)
        postgres_down(p, "immediate");
    remove_folder(p->folder);
    free(p);
}

const char *postgres_uri(const struct postgres *p)
{
    return p->uri;
}

const char *postgres_folder(const struct postgres *p)
{
    return p->folder;
}

bool postgres_tls(const struct postgres *p)
{
    const char *which = PQsslAttribute(NULL, "library") ? "PostgreSQL" : "libpq";

    if (p->tls && PQsslAttribute(NULL, "library"))
        return true;
    printf("TLS is NOT TESTED here: this %s was built without it\n", which);
    return false;
}

const char *postgres_bin(const struct postgres *p)
{
    return p->bin;
}

int postgres_port(const struct postgres *p)
{
    return p->port;
}

static PGresult *execute(struct postgres *p, const char *sql, PGconn **ret)
{
    PGconn *c = PQconnectdb(p->uri);
    PGresult *res = PQexec(c, sql);

    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
        die(sql, PQerrorMessage(c));
    *ret = c;
    return res;
}

void postgres_sql(struct postgres *p, const char *sql)
{
    PGconn *c;

    PQclear(execute(p, sql, &c));
    PQfinish(c);
}

void postgres_value(struct postgres *p, const char *sql, char *ret, size_t n)
{
    PGconn *c;
    PGresult *res = execute(p, sql, &c);

    snprintf(ret, n, "%s", PQntuples(res) ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
    PQfinish(c);
}

long postgres_number(struct postgres *p, const char *sql)
{
    char text[64];

    postgres_value(p, sql, text, sizeof(text));
    return strtol(text, NULL, 10);
}
