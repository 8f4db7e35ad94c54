/* athena sql FILE: the statements of a file, one request each, up to the first that fails. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/jsonread.h"
#include "query.h"
#include "sqltext/sqltext.h"

enum {
    FILE_MOST = 64 << 20,
    ROWS_SHOWN = 20,
    PREVIEW = 96,
    ANSWER_MOST = 64 << 20,
    VALUES_MOST = 4000000
};

struct options {
    ath_str file, client, key;
};

struct applying {
    const struct options *o;
    ath_str client, script;
    struct sql_scan at;
    struct sql_statement now;
    uint32_t number, count;
    ath_pair header[3];
    struct buf body;
};

/* ---- what it is given ---- */

/* The option, else the first of these variables that is set. */
static ath_str given(ath_str option, const char *const *variable)
{
    for (; option.n == 0 && *variable; variable++)
        option = str_trim(str_of(getenv(*variable)));
    return option;
}

static uint32_t count_statements(ath_str script)
{
    struct sql_scan s = { .text = script, .line = 1 };
    struct sql_statement st;
    uint32_t n = 0;

    while (sql_statement(&s, &st))
        n++;
    return n;
}

/* The beginning of a statement on one line, cut between characters. */
static ath_str preview(const struct applying *a, char room[PREVIEW + 1])
{
    size_t n = a->now.text.n < PREVIEW ? a->now.text.n : PREVIEW;

    while (n < a->now.text.n && n && ((unsigned char)a->now.text.p[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++)
        room[i] = (unsigned char)a->now.text.p[i] < ' ' ? ' ' : a->now.text.p[i];
    return str_from(room, n);
}

/* ---- what comes back ---- */

static void print_rows(const struct json *rows)
{
    uint32_t shown = 0;

    if (!rows || rows->type != JSON_ARRAY || rows->count == 0)
        return;
    printf("INFO Returned %u row(s); showing %u row(s).\n[", rows->count,
           rows->count < ROWS_SHOWN ? rows->count : ROWS_SHOWN);
    json_each(row, rows)
    {
        if (shown++ == ROWS_SHOWN)
            break;
        printf("%s\n  %.*s", shown > 1 ? "," : "", STR_ARG(row->raw));
    }
    puts("\n]");
    if (rows->count > ROWS_SHOWN)
        printf("INFO Output truncated after %d row(s).\n", ROWS_SHOWN);
}

static void print_answer(ath_task *t, const struct applying *a, ath_str body)
{
    char room[PREVIEW + 1];
    struct json_error why;
    const struct json *v = json_read(body, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    const struct json *data = json_get(v, "data"), *affected = json_get(data, "rows_affected");

    printf("OK Statement %u/%u applied: %.*s\n", a->number, a->count, STR_ARG(preview(a, room)));
    if (json_text(json_get(v, "status")).n)
        printf("INFO Status: %.*s\n", STR_ARG(json_text(json_get(v, "status"))));
    if (json_text(json_get(v, "message")).n)
        printf("INFO Message: %.*s\n", STR_ARG(json_text(json_get(v, "message"))));
    if (affected && affected->type == JSON_NUMBER)
        printf("INFO Count: %.*s\n", STR_ARG(affected->text));
    print_rows(json_get(data, "rows"));
}

static int refused(ath_task *t, const struct applying *a, const ath_done *d, ath_err *e)
{
    char room[PREVIEW + 1];
    struct json_error why;
    const struct json *v = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 10000, &why);
    ath_str words = json_text(json_get(v, "error"));

    return ath_fail(e, ATH_E_UPSTREAM, "statement %u/%u failed (%.*s): %d %.*s", a->number,
                    a->count, STR_ARG(preview(a, room)), d->status,
                    STR_ARG(words.n ? words : d->bytes));
}

/* ---- one after the other ---- */

static int next(ath_task *t, struct applying *a, ath_err *e);

static int applied(ath_task *t, const ath_done *d, ath_err *e)
{
    struct applying *a = d->arg;

    if (d->rc < 0)
        return d->rc;
    if (d->status < 200 || d->status > 299)
        return refused(t, a, d, e);
    print_answer(t, a, d->bytes);
    return next(t, a, e);
}

static int next(ath_task *t, struct applying *a, ath_err *e)
{
    ath_fetch f = { .size = sizeof(f),
                    .method = "POST",
                    .url = ATH_S("/gateway/sql"),
                    .max_body = ANSWER_MOST,
                    .header = a->header,
                    .header_count = 2 };

    if (!sql_statement(&a->at, &a->now)) {
        printf("OK Applied %u statement(s) from %s\n", a->count, a->o->file.p);
        ath_host_->task->done(t, NULL);
        return 0;
    }
    a->number++;
    buf_reset(&a->body);
    buf_lit(&a->body, "{\"driver\":\"postgresql\"");
    buf_json_str(&a->body, "db_name", a->client);
    buf_json_str(&a->body, "query", a->now.text);
    buf_char(&a->body, '}');
    f.body = buf_view(&a->body);
    f.header_count += a->header[2].value.n > 0;
    return ath_host_->req->call(t, &f, applied, a, e);
}

static int sql_run(ath_task *t, const void *options, ath_err *e)
{
    static const char *const clients[] = { "ATHENA_CLIENT", "NEXT_PUBLIC_ATHENA_CLIENT", NULL };
    static const char *const keys[] = { "ATHENA_API_KEY", "ATHENA_GATEWAY_API_KEY", NULL };
    struct applying *a = ath_new(ath_arena_of(t), sizeof(*a));
    struct buf script = BUF_ARENA(ath_arena_of(t));

    a->o = options;
    a->client = given(a->o->client, clients);
    if (a->client.n == 0)
        return ath_fail(e, ATH_E_INPUT,
                        "missing Athena client name; pass --client or set one of ATHENA_CLIENT, "
                        "NEXT_PUBLIC_ATHENA_CLIENT");
    errno = -file_read(a->o->file.p, FILE_MOST, &script);
    if (errno)
        return ath_fail(e, ATH_E_INPUT, "could not read file \"%s\": %m", a->o->file.p);
    a->header[0] = (ath_pair){ ATH_S("content-type"), ATH_S("application/json") };
    a->header[1] = (ath_pair){ ATH_S("x-athena-client"), a->client };
    a->header[2] = (ath_pair){ ATH_S("x-athena-key"), given(a->o->key, keys) };
    a->body = BUF_ARENA(ath_arena_of(t));
    a->script = buf_view(&script);
    a->at = (struct sql_scan){ .text = a->script, .line = 1 };
    a->count = count_statements(a->script);
    printf("INFO Applying %u statement(s) from %s\nINFO Athena client: %.*s\n", a->count,
           a->o->file.p, STR_ARG(a->client));
    return next(t, a, e);
}

static const ath_field fields[] = {
    ATH_STR(struct options, file, "file", NULL, NULL, "The file.", .flags = ATH_CF_ARG),
    ATH_STR(struct options, client, "client", "", NULL,
            "Whose database; else ATHENA_CLIENT, NEXT_PUBLIC_ATHENA_CLIENT."),
    ATH_STR(struct options, key, "key", "", NULL,
            "The API key; else ATHENA_API_KEY, ATHENA_GATEWAY_API_KEY, else the administrator's.",
            .flags = ATH_CF_SECRET),
};

const ath_command query_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "sql"),
    .summary = "Run the statements of a file in a client's database, up to the first that fails",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = sql_run,
};
