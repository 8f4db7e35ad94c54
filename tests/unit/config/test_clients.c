/* postgres_clients: the URIs, the reasons, when to refuse to start; and that no secret is ever said. */
#include "config_case.h"

#define CLIENTS "urls: []\nhosts: []\nauthenticator: []\napi: []\npostgres_clients:\n"

static struct config_clients clients;

static void load(struct config_case *k, const char *yaml)
{
    case_begin(k);
    case_env(k, "URI=postgres://app:swordfish@h/db");
    case_env(k, "BLANK=  ");
    ck_assert_int_eq(case_core(k, yaml), 0);
    ck_assert_int_eq(config_clients(k->c, &k->core, &clients, &k->rep), 0);
}

START_TEST(uris_are_resolved_or_refused_with_the_published_reason)
{
    struct config_case k;
    static const char *const reason[] = {
        NULL, NULL, NULL, NULL,
        "environment variable `UNSET` is not set",
        "connection string is empty",
        "connection string is empty",
        "expected athena://, postgres://, or postgresql:// after resolving env references (see config.yaml)",
        "expected athena://, postgres://, or postgresql:// after resolving env references (see config.yaml)",
    };

    load(&k, CLIENTS "- a: ${URI}\n- \" Shop \": postgresql://h/db\n  c: athena://h/db\n- d: ${UNSET:-postgres://h/x}\n"
                     "- e: ${UNSET}\n- f: ${BLANK}\n- g: \"\"\n- h: mysql://x/y\n- i: POSTGRES://h/db\n- SHOP: postgres://other/db\n");
    ck_assert_uint_eq(clients.n, ATH_COUNT(reason));
    ck_assert_uint_eq(clients.usable, 4);
    for (size_t i = 0; i < clients.n; i++)
        ck_assert_pstr_eq(clients.client[i].problem, reason[i]);
    ck_assert(str_is(clients.client[0].uri, "postgres://app:swordfish@h/db") && str_is(clients.client[0].variable, "URI"));
    ck_assert(str_is(clients.client[1].name, "shop") && str_is(clients.client[1].shown, " Shop "));
    ck_assert(str_is(clients.client[3].uri, "postgres://h/x"));
    has(case_notes(&k), "config.yaml:15:3: client \"SHOP\" is named twice");
    has(case_notes(&k), "config.yaml:10:3: client \"e\" cannot be used: environment variable `UNSET` is not set");
    case_end(&k);
}
END_TEST

START_TEST(the_logging_client_may_have_a_uri_of_its_own)
{
    struct config_case k;

    load(&k, CLIENTS "- lg: \"\"\ngateway:\n- logging_client: lg\n- logging_pg_uri: ${URI}\n");
    ck_assert(clients.n == 1 && clients.usable == 1 && clients.client[0].logging_override);
    case_end(&k);
    load(&k, CLIENTS "- a: postgres://h/d\ngateway:\n- logging_client: Lg\n- logging_pg_uri: nonsense\n"
                     "- logging_pg_uri_env_var: URI\n");
    ck_assert(clients.n == 2 && str_is(clients.client[1].name, "lg") && clients.client[1].logging_override);
    case_end(&k);
    load(&k, CLIENTS "- a: postgres://h/d\ngateway:\n- logging_client: lg\n- logging_pg_uri_env_var: BLANK\n");
    ck_assert_uint_eq(clients.n, 1);
    case_end(&k);
}
END_TEST

static int boot(struct config_case *k, struct buf *said)
{
    buf_reset(said);
    return config_boot_policy(&k->core, &clients, said);
}

START_TEST(a_start_without_any_usable_client_is_refused)
{
    struct config_case k;
    struct buf said = BUF_HEAP;

    load(&k, CLIENTS "- a: postgres://down/d\n- b: \"\"\n");
    ck_assert_int_eq(boot(&k, &said), 0);
    ck_assert_uint_eq(said.n, 0);
    case_end(&k);

    load(&k, "urls: []\nhosts: []\nauthenticator: []\napi: []\npostgres_clients: []\n");
    ck_assert_int_eq(boot(&k, &said), ATH_E_CONFIG);
    ck_assert_str_eq(said.p, "No Postgres clients connected; refusing to start. no `postgres_clients` entries were "
                     "configured. Set the missing POSTGRES_* env vars referenced in config.yaml or fix the configured "
                     "postgres_clients URIs. Only set ATHENA_ALLOW_START_WITHOUT_POSTGRES=true when you intentionally "
                     "want a Postgres-free process.");
    k.core.server.allow_start_without_postgres = 1;
    ck_assert_int_eq(boot(&k, &said), 0);
    has(said.p, "continuing only because ATHENA_ALLOW_START_WITHOUT_POSTGRES=true");
    case_end(&k);

    load(&k, CLIENTS "- a: \"\"\n- b: ${UNSET}\n- c: x\n- d: \"\"\n- e: \"\"\n- f: \"\"\n");
    ck_assert_int_eq(boot(&k, &said), ATH_E_CONFIG);
    has(said.p, "refusing to start. client bootstrap failures: a: Athena client `a`: connection string is empty; "
                "b: Athena client `b`: environment variable `UNSET` is not set; c: Athena client `c`: expected athena://");
    has(said.p, "; ... and 2 more failed client(s). Set the missing");
    case_end(&k);
    buf_free(&said);
}
END_TEST

/* Every way a password might get into what is printed. */
START_TEST(no_secret_is_ever_said)
{
    struct config_case k;
    struct buf said = BUF_HEAP;
    const char *notes;

    case_begin(&k);
    case_env(&k, "ATHENA_KEY_12=swordfish");
    case_env(&k, "ATHENA_REDIS_URL=swordfish");
    ck_assert_int_eq(case_core(&k, CLIENTS "- a: swordfish://u:swordfish@h/d\n- postgres://u:swordfish@h/d: x\n"
                                   "- b: [swordfish]\ngateway:\n- logging_pg_uri: {x: swordfish}\n"), ATH_E_CONFIG);
    notes = case_notes(&k);
    has(notes, "postgres_clients[2].b: invalid type: sequence, expected a string");
    hasnt(notes, "swordfish");
    case_end(&k);

    case_begin(&k);
    case_env(&k, "ATHENA_KEY_12= swordfish ");
    ck_assert_int_eq(case_core(&k, CLIENTS "- a: swordfish://u:swordfish@h/d\n- postgres://u:swordfish@h/d: x\n"
                                   "gateway:\n- logging_client: a\n- logging_pg_uri: swordfish\n"), 0);
    ck_assert(str_is(k.core.server.admin_key, " swordfish ")); /* byte for byte */
    ck_assert_int_eq(config_clients(k.c, &k.core, &clients, &k.rep), 0);
    ck_assert_int_eq(boot(&k, &said), ATH_E_CONFIG);
    config_check_keys(k.c, core_tables, core_table_count(), NULL, 0, &k.rep);
    notes = case_notes(&k);
    has(notes, "a connection URI stands where a client's name should");
    hasnt(notes, "swordfish");
    hasnt(said.p, "swordfish");
    case_end(&k);

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, CLIENTS "- a: *swordfish\n"), ATH_E_CONFIG);
    hasnt(case_notes(&k), "swordfish");
    case_end(&k);
    buf_free(&said);
}
END_TEST

SUITE("config clients", uris_are_resolved_or_refused_with_the_published_reason,
      the_logging_client_may_have_a_uri_of_its_own, a_start_without_any_usable_client_is_refused,
      no_secret_is_ever_said)
