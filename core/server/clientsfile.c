/* Read, change, write anew. */
#include "server/clientsfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/json.h"
#include "lib/jsonread.h"
#include "log/log.h"
#include "server/table.h"

enum { FILE_MOST = 4 << 20, CLIENTS_MOST = 100000, URI_MOST = 8192 };

struct entry {
    ath_str name, uri;
};

struct clients_file {
    ath_arena arena;
    const char *path;
    ath_str chosen; /* the default; p NULL: none */
    struct entry *entry;
    size_t n;
};

ATH_PRINTF(1, 2) static int refuse(const char *fmt, ...)
{
    va_list ap;

    fputs("athena: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

/* ---- reading ---- */

/* 0 also when there is none: that is an empty one. */
static int slurp(struct clients_file *f, struct buf *b)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? 0 : refuse("could not open file \"%s\": %m", f->path);
    while ((n = read(fd, piece, sizeof(piece))) > 0 && b->n < FILE_MOST)
        buf_mem(b, piece, (size_t)n);
    close(fd);
    if (n < 0)
        return refuse("could not read file \"%s\": %m", f->path);
    return n > 0 ? refuse("file \"%s\" is larger than %d bytes", f->path, FILE_MOST) : 0;
}

static int take(struct clients_file *f, const struct json *clients)
{
    f->entry = arena_alloc(&f->arena, ((clients ? clients->count : 0) + 1) * sizeof(*f->entry));
    if (!clients)
        return 0;
    json_each(c, clients)
    {
        if (c->type != JSON_STRING)
            return refuse("file \"%s\": the URI of client \"%.*s\" must be text", f->path,
                          STR_ARG(c->key));
        f->entry[f->n++] = (struct entry){ c->key, c->text };
    }
    return 0;
}

static int file_open(struct clients_file *f, ath_str path)
{
    const struct json *document, *clients;
    struct json_error why;
    struct buf b;
    int rc;

    *f = (struct clients_file){ 0 };
    arena_init(&f->arena);
    f->path = arena_str(&f->arena, path).p;
    b = ARENA_BUF(&f->arena);
    if ((rc = slurp(f, &b)))
        return rc;
    if (str_trim(buf_view(&b)).n == 0)
        return take(f, NULL);
    document =
        json_read(buf_view(&b), (struct json_memory){ arena_raw, &f->arena }, CLIENTS_MOST, &why);
    if (!document)
        return refuse("file \"%s\" is no JSON: line %u, column %u: %s", f->path, why.line,
                      why.column, why.why);
    clients = json_given(document, "clients");
    if (document->type != JSON_OBJECT || (clients && clients->type != JSON_OBJECT))
        return refuse("file \"%s\" must hold an object with the object \"clients\"", f->path);
    if (json_given(document, "default"))
        f->chosen = json_text(json_get(document, "default"));
    return take(f, clients);
}

static struct entry *find(struct clients_file *f, ath_str name)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->entry[i].name, name))
            return &f->entry[i];
    return NULL;
}

/* ---- writing ---- */

static void put_document(struct buf *b, const struct clients_file *f)
{
    buf_lit(b, "{\n  \"default\": ");
    if (f->chosen.p)
        buf_json(b, f->chosen);
    else
        buf_lit(b, "null");
    buf_lit(b, ",\n  \"clients\": {");
    for (size_t i = 0; i < f->n; i++) {
        buf_z(b, i ? ",\n    " : "\n    ");
        buf_json(b, f->entry[i].name);
        buf_lit(b, ": ");
        buf_json(b, f->entry[i].uri);
    }
    buf_z(b, f->n ? "\n  }\n}\n" : "}\n}\n");
}

/* The folders above it, as far as they are missing. */
static void make_folders(const char *path)
{
    struct buf b = BUF_HEAP;

    for (const char *c = path; *c; c++) {
        if (*c == '/' && c > path)
            mkdir(buf_view(&b).p, 0755); /* what is wrong shows when the file is opened */
        buf_char(&b, *c);
    }
    buf_free(&b);
}

static bool write_all(int fd, ath_str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return false;
        text = str_after(text, n < 0 ? 0 : (size_t)n);
    }
    return true;
}

static int file_write(struct clients_file *f)
{
    const char *fresh = arena_printf(&f->arena, "%s.new", f->path).p;
    struct buf b = ARENA_BUF(&f->arena);
    bool good;
    int fd;

    put_document(&b, f);
    make_folders(f->path);
    unlink(fresh);
    if ((fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        return refuse("could not make file \"%s\": %m", fresh);
    good = write_all(fd, buf_view(&b)) && fsync(fd) == 0;
    good = close(fd) == 0 && good && rename(fresh, f->path) == 0;
    if (good)
        return 0;
    refuse("could not write file \"%s\": %m", f->path);
    unlink(fresh);
    return 1;
}

static int file_close(struct clients_file *f, int status)
{
    arena_free(&f->arena);
    return status;
}

/* ---- commands ---- */

static ath_str shown(struct clients_file *f, ath_str uri)
{
    struct buf b = ARENA_BUF(&f->arena);

    log_redact(&b, uri);
    return buf_view(&b);
}

static void print_json(struct clients_file *f)
{
    struct buf b = ARENA_BUF(&f->arena);

    for (size_t i = 0; i < f->n; i++)
        f->entry[i].uri = shown(f, f->entry[i].uri);
    put_document(&b, f);
    fwrite(b.p, 1, b.n, stdout);
}

static void print_people(struct clients_file *f)
{
    struct buf b = ARENA_BUF(&f->arena);

    buf_char(&b, '[');
    for (size_t i = 0; i < f->n; i++) {
        buf_z(&b, i ? ",{" : "{");
        buf_json_str(&b, "name", f->entry[i].name);
        buf_json_bool(&b, "default", f->chosen.p && str_eq(f->chosen, f->entry[i].name));
        buf_json_str(&b, "uri", shown(f, f->entry[i].uri));
        buf_char(&b, '}');
    }
    buf_char(&b, ']');
    table_print(buf_view(&b), NULL, "name,default,uri", stdout);
}

int command_clients_list(const struct cli *cli)
{
    const struct cli_clients_options *o = cli->options;
    struct clients_file f;
    int status = file_open(&f, o->path);

    if (status == 0 && cli->json)
        print_json(&f);
    else if (status == 0)
        print_people(&f);
    return file_close(&f, status);
}

/* "-": a line of standard input, which no process list shows. */
static ath_str given_uri(ath_str uri, char line[URI_MOST])
{
    if (!str_is(uri, "-"))
        return str_trim(uri);
    if (!fgets(line, URI_MOST, stdin))
        return (ath_str){ "", 0 };
    return str_trim(str_of(line));
}

int command_clients_add(const struct cli *cli)
{
    const struct cli_clients_options *o = cli->options;
    ath_str name = str_trim(o->name), uri;
    char line[URI_MOST];
    struct clients_file f;
    struct entry *there;
    int status = file_open(&f, o->path);

    uri = given_uri(o->uri, line);
    if (status == 0 && (name.n == 0 || uri.n == 0))
        status = refuse("a client needs a name and a URI");
    if (status)
        return file_close(&f, status);
    there = find(&f, name);
    if (!there)
        there = &f.entry[f.n++];
    *there = (struct entry){ name, uri };
    if (!f.chosen.p)
        f.chosen = name;
    if ((status = file_write(&f)) == 0)
        printf("client '%.*s' is in %s%s\n", STR_ARG(name), f.path,
               str_eq(f.chosen, name) ? ", and the default" : "");
    return file_close(&f, status);
}

int command_clients_remove(const struct cli *cli)
{
    const struct cli_clients_options *o = cli->options;
    struct clients_file f;
    struct entry *there;
    int status = file_open(&f, o->path);

    if (status == 0 && !(there = find(&f, o->name)))
        status = refuse("client '%.*s' not found", STR_ARG(o->name));
    if (status)
        return file_close(&f, status);
    if (f.chosen.p && str_eq(f.chosen, o->name))
        f.chosen = (ath_str){ NULL, 0 };
    f.n--;
    memmove(there, there + 1, (size_t)(f.entry + f.n - there) * sizeof(*there));
    if ((status = file_write(&f)) == 0)
        printf("client '%.*s' is out of %s\n", STR_ARG(o->name), f.path);
    return file_close(&f, status);
}

int command_clients_set_default(const struct cli *cli)
{
    const struct cli_clients_options *o = cli->options;
    struct clients_file f;
    int status = file_open(&f, o->path);

    if (status == 0 && !find(&f, o->name))
        status = refuse("client '%.*s' is not defined", STR_ARG(o->name));
    if (status)
        return file_close(&f, status);
    f.chosen = o->name;
    if ((status = file_write(&f)) == 0)
        printf("client '%.*s' is the default of %s\n", STR_ARG(o->name), f.path);
    return file_close(&f, status);
}
