/* GET /admin/daemons/catalog: the programs that can be started, by their published names, and the
 * workers that each runs: those of the plugins that are loaded here. */
#include "daemons.h"

#include "lib/jsonread.h"

enum { VALUES_MOST = 10000 }; /* of the document that tells of them */

static ath_str notes_of(const struct json *program)
{
    ath_str command = json_text(json_get(program, "command"));

    if (str_is(command, "athena serve"))
        return ATH_S(
            "The HTTP server. It runs the workers of its plugins, too; with daemon.enabled "
            "only those that are about itself.");
    if (str_is(command, "athena daemon"))
        return ATH_S("All families of workers, without a port.");
    return ATH_S("One family of workers, without a port.");
}

static void put_program(struct buf *b, const struct json *program)
{
    bool serves = str_is(json_text(json_get(program, "command")), "athena serve");

    buf_char(b, '{');
    buf_json_str(b, "binary", json_text(json_get(program, "binary")));
    buf_json_str(b, "cargo_run", json_text(json_get(program, "command")));
    buf_json_str(b, "package", ATH_S("athena"));
    buf_json_str(b, "runtime_kind", json_text(json_get(program, "runtime_kind")));
    buf_json_key(b, "workers");
    buf_str(b, json_get(program, "workers")->raw);
    buf_json_bool(b, "exposed_at_repo_root", true);
    buf_json_bool(b, "bundled_with_api", serves);
    buf_json_str(b, "notes", notes_of(program));
    buf_char(b, '}');
}

int daemons_catalog(ath_req *r, ath_err *e)
{
    struct buf b = admin_answer(r, "Listed daemon runtime catalog");
    struct json_error why;
    const struct json *programs = json_read(ath_host_->inspect(r, "programs"),
                                            JSON_ARENA(ath_arena_of(r)), VALUES_MOST, &why);

    if (!programs)
        return ath_fail(e, ATH_E_BUG, "the programs are not known");
    buf_lit(&b, "\"runtimes\":[");
    json_each(program, programs)
    {
        if (b.p[b.n - 1] != '[')
            buf_char(&b, ',');
        put_program(&b, program);
    }
    buf_char(&b, ']');
    return admin_reply(r, 200, &b);
}
