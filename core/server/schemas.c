/* The steps of plugins, as components beside the core's own. */
#include "server/schemas.h"

#include "lib/text.h"

static const struct step *steps_of(ath_arena *a, const ath_schema *s)
{
    struct step *step = arena_alloc(a, s->step_count * sizeof(*step) + 1);

    for (uint32_t i = 0; i < s->step_count; i++)
        step[i] = (struct step){ .version = s->step[i].version, .name = s->step[i].name,
                                 .text = { s->step[i].sql } };
    return step;
}

static enum schema_mode mode_of(ath_str word)
{
    return str_is(word, "off") ? SCHEMA_OFF : str_is(word, "check") ? SCHEMA_CHECK : SCHEMA_AUTO;
}

static ath_str database_of(const struct schema_options *o, const char *client)
{
    return strcmp(client, "@control") == 0 ? str_of(o->control_client)
           : strcmp(client, "@auth") == 0  ? str_of(o->auth_client)
                                           : str_of(client);
}

/* A plugin may name the same tables for two roles, which here are one database. */
static bool is_there(const struct schema_options *o, const char *client, const ath_schema *s)
{
    for (size_t i = 0; i < o->extras; i++) {
        const struct component *c = &o->extra[i];
        if (s->step_count && c->steps == s->step_count && c->step[0].text[0] == s->step[0].sql &&
            str_eq(database_of(o, c->client), database_of(o, client)))
            return true;
    }
    return false;
}

void schemas_setup(struct setup *s)
{
    ath_arena *a = &s->registry->arena;
    struct component *extra = arena_alloc(a, SCHEMA_COMPONENTS_MOST * sizeof(*extra));
    struct schema_options o = {
        .mode = mode_of(s->core.schema.bootstrap), .extra = extra,
        .control_client = s->core.gateway.logging_client.p,
        .auth_client = s->core.gateway.auth_client.p,
    };
    struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(s->registry, ATH_CAP_SCHEMA, i)) &&
                         o.extras < SCHEMA_COMPONENTS_MOST; i++) {
        const char *client = c->schema.client ? c->schema.client : "";
        if (!is_there(&o, client, &c->schema))
            extra[o.extras++] = (struct component){
                .name = c->cap.name, .client = client, .expect = c->schema.expect,
                .step = steps_of(a, &c->schema), .steps = c->schema.step_count,
            };
    }
    schema_setup(&o);
}
