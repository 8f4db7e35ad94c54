/* Where the file is, what is written when there is none, and the .env files around it. */
#include "config_case.h"

#define GOOD HEAD "api:\n- port: 4252\n"

static int open_with(struct config_case *k, const char *path, bool seed, const char *cwd)
{
    struct config_options o = { .path = path, .environ = k->env, .cwd = cwd, .seed = seed };

    return config_open(&o, &k->c, &k->rep);
}

static char *at(struct config_case *k, const char *name)
{
    static char path[4][256];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", k->folder, name);
    return path[turn];
}

static void env_at(struct config_case *k, char store[256], const char *name, const char *path)
{
    snprintf(store, 256, "%s=%s/%s", name, k->folder, path);
    case_env(k, store);
}

START_TEST(discovery_follows_its_order)
{
    static const char *const places[][2] = {
        { "cwd/config.yaml", "Current working directory" },
        { "home/.athena/config.yaml", "Home config (.athena)" },
        { "home/.config/athena/config.yaml", "Home config (.config)" },
        { "xdg/athena/config.yaml", "XDG config home" },
    };
    struct config_case k;
    char home[256], xdg[256];

    case_begin(&k);
    env_at(&k, home, "HOME", "home");
    env_at(&k, xdg, "XDG_CONFIG_HOME", "xdg");
    for (size_t i = 0; i < ATH_COUNT(places); i++) { /* each new one beats those before */
        case_file(&k, places[i][0], GOOD);
        ck_assert_int_eq(open_with(&k, NULL, true, at(&k, "cwd")), 0);
        ck_assert_str_eq(k.c->label, places[i][1]);
        ck_assert_str_eq(k.c->path, at(&k, places[i][0]));
        ck_assert(k.c->discovered && !k.c->seeded);
        config_close(k.c);
    }
    case_file(&k, "xdg/athena/config.yaml", "urls: []\n"); /* broken: the next one is not tried */
    ck_assert_int_eq(open_with(&k, NULL, true, at(&k, "cwd")), ATH_E_CONFIG);
    has(case_notes(&k), "athena: Failed to load config 'config.yaml': missing field `hosts`. Looked in:\n"
                        "- XDG config home (xdg/athena/config.yaml)\n");
    case_end(&k);
}
END_TEST

START_TEST(an_explicit_path_never_falls_back)
{
    struct config_case k;
    char variable[256];

    case_begin(&k);
    case_file(&k, "config.yaml", GOOD);
    ck_assert_int_eq(open_with(&k, at(&k, "nothere.yaml"), true, k.folder), ATH_E_CONFIG);
    has(case_notes(&k), "athena: Failed to load config 'nothere.yaml': No such file or directory. Looked in:\n"
                        "- explicit config path (nothere.yaml)\n");
    ck_assert_int_ne(access(at(&k, "nothere.yaml"), F_OK), 0);
    config_close(k.c);
    config_report_free(&k.rep);
    env_at(&k, variable, "ATHENA_CONFIG_PATH", "nothere.yaml");
    ck_assert_int_eq(open_with(&k, k.path, false, k.folder), 0); /* the flag beats the variable */
    ck_assert_str_eq(k.c->label, "explicit --config path");
    config_close(k.c);
    ck_assert_int_eq(open_with(&k, NULL, true, k.folder), ATH_E_CONFIG);
    config_close(k.c);
    config_report_free(&k.rep);
    k.env[0] = "ATHENA_CONFIG_PATH="; /* blank: as if unset */
    ck_assert_int_eq(open_with(&k, NULL, false, k.folder), 0);
    ck_assert_str_eq(k.c->label, "Current working directory");
    case_end(&k);
}
END_TEST

START_TEST(a_missing_file_is_seeded_only_when_asked)
{
    struct config_case k;
    char home[256];

    case_begin(&k);
    env_at(&k, home, "HOME", "home");
    mkdir(at(&k, "cwd"), 0755);
    ck_assert_int_eq(open_with(&k, NULL, false, at(&k, "cwd")), ATH_E_CONFIG);
    has(case_notes(&k), "no config.yaml was found");
    ck_assert_int_ne(access(at(&k, "home"), F_OK), 0);
    config_close(k.c);
    config_report_free(&k.rep);
    case_env(&k, "POSTGRES_ATHENA_LOGGING_URI=postgres://u@h/d");
    ck_assert_int_eq(open_with(&k, NULL, true, at(&k, "cwd")), 0);
    ck_assert(k.c->seeded);
    ck_assert_str_eq(k.c->path, at(&k, "home/.config/athena/config.yaml"));
    ck_assert_int_eq(core_config_fill(k.c, &k.core, &k.rep), 0);
    ck_assert(k.core.gateway.enforce_api_keys && k.core.enforce_stated); /* what we ship enforces */
    ck_assert(str_is(k.core.gateway.auth_client, "athena_logging"));
    ck_assert_uint_eq(k.rep.n, 0);
    config_close(k.c);
    ck_assert_int_eq(open_with(&k, NULL, true, at(&k, "cwd")), 0);
    ck_assert(!k.c->seeded);
    case_end(&k);
}
END_TEST

START_TEST(env_files_fill_in_what_the_environment_lacks)
{
    struct config_case k;
    ath_str v;

    case_begin(&k);
    case_env(&k, "BOTH=real");
    case_file(&k, ".env", "BOTH=upper\nUPPER=upper\nSHARED=upper\n");
    case_file(&k, "c/.env", "BOTH=side\nSHARED=side\nATHENA_API_PORT=4300\n");
    case_file(&k, "c/config.yaml", GOOD);
    mkdir(at(&k, "a"), 0755);
    mkdir(at(&k, "a/b"), 0755);
    ck_assert_int_eq(open_with(&k, at(&k, "c/config.yaml"), false, at(&k, "a/b")), 0);
    ck_assert(env_get_z(&k.c->env, "BOTH", &v) && str_is(v, "real"));
    ck_assert(env_get_z(&k.c->env, "UPPER", &v) && str_is(v, "upper"));
    ck_assert(env_get_z(&k.c->env, "SHARED", &v) && str_is(v, "upper"));
    ck_assert_str_eq(k.c->dotenv_status, "loaded");
    ck_assert_str_eq(k.c->dotenv, at(&k, "c/.env"));
    ck_assert_int_eq(core_config_fill(k.c, &k.core, &k.rep), 0);
    ck_assert_int_eq(k.core.api.port, 4300);
    config_close(k.c);
    case_file(&k, "c/.env", "GOOD=1\nbad line\nLATER=2\n");
    ck_assert_int_eq(open_with(&k, at(&k, "c/config.yaml"), false, at(&k, "a/b")), 0);
    ck_assert(env_get_z(&k.c->env, "GOOD", &v) && !env_get_z(&k.c->env, "LATER", &v));
    ck_assert_str_eq(k.c->dotenv_status, "parse failed");
    has(case_notes(&k), "warning: c/.env:2:1: found a .env file but failed to parse this line");
    case_end(&k);
}
END_TEST

START_TEST(companions_are_looked_for_beside_the_file_first)
{
    struct config_case k;

    case_begin(&k);
    ck_assert_int_eq(case_open(&k, GOOD), 0);
    case_file(&k, "config/pipelines.yaml", "");
    ck_assert_str_eq(config_companion(k.c, &k.c->arena, "config/pipelines.yaml"), at(&k, "config/pipelines.yaml"));
    ck_assert_str_eq(config_companion(k.c, &k.c->arena, "/abs"), "/abs");
    case_end(&k);
}
END_TEST

SUITE("config open", discovery_follows_its_order, an_explicit_path_never_falls_back,
      a_missing_file_is_seeded_only_when_asked, env_files_fill_in_what_the_environment_lacks,
      companions_are_looked_for_beside_the_file_first)
