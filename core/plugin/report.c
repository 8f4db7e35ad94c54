/* The list of plugins, as rows and as text. */
#include "plugin/report.h"

#include "lib/json.h"
#include "plugin/load.h"
#include "plugin/stage.h"

static const struct refusal *refusal_of(const struct registry *r, const char *name)
{
    for (const struct refusal *f = r->refused; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static void row_of(struct registry *r, const struct installed_plugin *p, const ath_host *host,
                   struct plugin_row *ret)
{
    const struct refusal *f = refusal_of(r, p->name);
    ath_self *s = registry_find(r, str_of(p->name));
    ath_err e;

    *ret = (struct plugin_row){
        p->name, "", plugin_kind_name(p->kind), p->path, "", "", "", "not enabled", "", 0, 0
    };
    if (f || p->rc < 0) {
        ret->state = "refused";
        ret->why = f ? f->err.message : p->why->message;
    } else if (s) {
        ret->state = stage_name(s->stage);
    }
    if (note_name(&p->note)[0]) {
        ret->version = note_version(&p->note);
        ret->needs = note_needs(&p->note);
        ret->offers = note_offers(&p->note);
        ret->abi_major = p->note.major;
        ret->abi_minor = p->note.minor;
    }
    if (!s && !f && p->rc == 0 && host && load_open(r, p, host, &s, &e) < 0) {
        ret->state = "refused";
        ret->why = arena_str(&r->arena, (ath_str){ e.message, e.message_n }).p;
        s = NULL;
    }
    if (s)
        ret->summary = s->d.summary;
}

uint32_t report_rows(struct registry *r, const ath_host *host, const struct plugin_row **ret)
{
    const struct installed *in = &r->installed;
    uint32_t n = 0, room = in->count;
    struct plugin_row *row;

    for (const struct refusal *f = r->refused; f; f = f->next)
        room++;
    row = arena_alloc(&r->arena, (room + 1) * sizeof(*row));
    for (; n < in->count; n++)
        row_of(r, &in->plugin[n], host, &row[n]);
    for (const struct refusal *f = r->refused; f; f = f->next)
        if (!installed_find(in, str_of(f->name)))
            row[n++] = (struct plugin_row){
                f->name, "",        plugin_kind_name(plugin_kind_of(str_of(f->name))),
                "",      "",        "",
                "",      "refused", f->err.message,
                0,       0
            };
    *ret = row;
    return n;
}

void report_print(struct registry *r, const ath_host *host, struct buf *b)
{
    const struct plugin_row *row;
    uint32_t n = report_rows(r, host, &row);

    buf_printf(b, "%-28s %-9s %-4s %-12s %s\n", "PLUGIN", "VERSION", "ABI", "STATE", "SUMMARY");
    for (uint32_t i = 0; i < n; i++) {
        buf_printf(b, "%-28s %-9s %u.%u  %-12s %s\n", row[i].name, row[i].version, row[i].abi_major,
                   row[i].abi_minor, row[i].state, row[i].summary);
        if (row[i].needs[0])
            buf_printf(b, "    needs:  %s\n", row[i].needs);
        if (row[i].offers[0])
            buf_printf(b, "    offers: %s\n", row[i].offers);
        if (row[i].why[0])
            buf_printf(b, "    why:    %s\n", row[i].why);
    }
    buf_printf(b, "folder: %s\n", r->installed.dir);
}

void report_json(struct registry *r, const ath_host *host, struct buf *b)
{
    const struct plugin_row *row;
    uint32_t n = report_rows(r, host, &row);

    buf_char(b, '[');
    for (uint32_t i = 0; i < n; i++) {
        buf_z(b, i ? ",{" : "{");
        buf_json_str(b, "name", str_of(row[i].name));
        buf_json_str(b, "kind", str_of(row[i].kind));
        buf_json_str(b, "version", str_of(row[i].version));
        buf_printf(b, ",\"abi\":\"%u.%u\"", row[i].abi_major, row[i].abi_minor);
        buf_json_str(b, "state", str_of(row[i].state));
        buf_json_str(b, "summary", str_of(row[i].summary));
        buf_json_str(b, "needs", str_of(row[i].needs));
        buf_json_str(b, "offers", str_of(row[i].offers));
        buf_json_str(b, "file", str_of(row[i].file));
        buf_json_str(b, "why", str_of(row[i].why));
        buf_char(b, '}');
    }
    buf_lit(b, "]\n");
}
