/* Rights: which granted names cover what (auth.md 5.1, 5.2, 21.8), and where they do not (D-7). */
#include <stdlib.h>

#include "auth/right.h"
#include "support/check_main.h"

static const struct right_rules usual = { .protected_schemas = {
                                              "athena, pg_catalog,information_schema", 37 } };
static const struct right_rules strict = {
    .strict = true, .protected_schemas = { "athena,pg_catalog,information_schema", 36 }
};

/* "users.read orders.*": a set of them. */
static struct right_set *set_of(const char *names)
{
    ath_str name[16], rest = str_of(names);
    size_t n = 0;

    while (n < 16 && str_next(&rest, ' ', &name[n]))
        n++;
    return right_set_new(name, n);
}

static bool covers(const char *granted, const char *required)
{
    struct right_set *s = set_of(granted);
    bool yes = right_covers(s, str_of(required));

    right_set_free(s);
    return yes;
}

static bool allows(const char *granted, const char *schema, const char *table, const char *action)
{
    struct right_set *s = set_of(granted);
    bool yes = right_allows(s, &(ath_right){ str_of(schema), str_of(table), str_of(action) });

    right_set_free(s);
    return yes;
}

#define yes(...) ck_assert(__VA_ARGS__)
#define no(...)  ck_assert(!(__VA_ARGS__))

START_TEST(table_of_matches_row_by_row_21_8)
{
    static const struct {
        const char *granted, *required;
        bool match;
    } row[] = {
        { "users.*", "users.read", true },
        { "*.read", "users.read", true },
        { "*.read", "gateway.read", true },
        { "*.read", "management.read", true },
        { "gateway.read", "users.read", true },
        { "users.read", "gateway.read", false },
        { "gateway.*", "gateway.rpc.execute", true },
        { "gateway.*", "management.tables.drop", true },
        { "gateway.read", "management.read", true },
        { "management.*", "management.tables.write", true },
        { "management.tables.*", "management.tables.write", false },
        { "*.tables.write", "management.tables.write", true },
        /* the rules, one by one */
        { "*", "management.tables.drop", true },
        { "*", "gateway.access", true },
        { "gateway.query", "gateway.query", true },
        { "gateway.query", "gateway.rpc.execute", false },
        { "gateway.read", "users.write", false },
        { "Users.read", "users.read", false },
        { "users.READ", "users.read", false },
        { "users", "users.read", false },
        { "users", "users", true },
        { "*.*", "users.read", false },
        { "*.*", "users.*", true },
        { "gateway", "users.read", false },
        { "user.read", "users.read", false },
        { "users.rea", "users.read", false },
        { "users.reads", "users.read", false },
    };

    right_configure(&usual);
    for (size_t i = 0; i < ATH_COUNT(row); i++)
        ck_assert_msg(covers(row[i].granted, row[i].required) == row[i].match, "%s for %s",
                      row[i].granted, row[i].required);
}
END_TEST

START_TEST(without_rights_nothing_is_covered)
{
    right_configure(&usual);
    no(right_covers(NULL, ATH_S("users.read")));
    no(right_allows(NULL, &(ath_right){ ATH_S("public"), ATH_S("users"), ATH_S("read") }));
    no(covers("", "users.read"));
    no(covers("", ""));
    no(allows("", "public", "users", "read"));
}
END_TEST

START_TEST(relations_by_their_names)
{
    right_configure(&usual);
    yes(allows("users.read", "public", "users", "read"));
    yes(allows("users.read", "sales", "users", "read"));
    yes(allows("users.*", "public", "users", "delete"));
    yes(allows("*.read", "public", "users", "read"));
    yes(allows("gateway.read", "public", "users", "read"));
    yes(allows("gateway.*", "public", "users", "write"));
    yes(allows("*", "public", "users", "delete"));
    yes(allows("sales.users.read", "sales", "users", "read"));
    yes(allows("sales.users.*", "sales", "users", "write"));
    no(allows("sales.users.read", "public", "users", "read"));
    no(allows("sales.users.read", "sales", "users", "write"));
    no(allows("users.read", "public", "users", "write"));
    no(allows("users.read", "public", "user", "read"));
    no(allows("orders.read gateway.write", "public", "users", "read"));
    no(allows("sales.*", "sales", "users", "read"));
    no(allows("gateway.query", "public", "users", "read"));
}
END_TEST

START_TEST(a_short_name_opens_no_protected_schema_D_7_21_8)
{
    right_configure(&usual);
    no(allows("users.read users.*", "athena", "users", "read"));
    no(allows("pg_authid.read", "pg_catalog", "pg_authid", "read"));
    no(allows("athena.*", "athena", "users", "read"));
    yes(allows("athena.users.read", "athena", "users", "read"));
    no(allows("athena.users.read", "athena", "users", "write"));
    no(allows("athena.users.read", "public", "users", "read"));
    yes(allows("gateway.read", "athena", "users", "read"));
    yes(allows("*", "athena", "users", "read"));
    yes(allows("users.read", "athena_two", "users", "read"));

    right_configure(&strict);
    no(allows("gateway.read gateway.* *.read", "athena", "users", "read"));
    no(allows("gateway.read gateway.* *.read", "information_schema", "tables", "read"));
    yes(allows("athena.users.read", "athena", "users", "read"));
    yes(allows("*", "athena", "users", "read"));
    yes(allows("gateway.read", "public", "users", "read"));
}
END_TEST

START_TEST(strict_keeps_data_rights_from_management_D_7)
{
    right_configure(&strict);
    no(covers("gateway.*", "management.tables.drop"));
    no(covers("gateway.read", "management.read"));
    no(covers("gateway.*", "billing.read"));
    no(covers("gateway.*", "billing.document.read"));
    yes(covers("gateway.*", "gateway.rpc.execute"));
    yes(covers("gateway.read", "users.read"));
    yes(covers("management.*", "management.tables.drop"));
    yes(covers("*.read", "management.read"));
    yes(covers("*", "management.tables.drop"));
}
END_TEST

START_TEST(tables_called_like_capabilities_D_7)
{
    right_configure(&usual);
    no(allows("management.read", "public", "management", "read"));
    no(allows("management.* billing.*", "public", "billing", "read"));
    no(allows("management.tables.write", "management", "tables", "write"));
    no(allows("billing.document.read", "billing", "document", "read"));
    yes(allows("public.management.read", "public", "management", "read"));
    yes(allows("public.gateway.read", "public", "gateway", "read"));
    yes(allows("gateway.read", "public", "management", "read"));
    yes(allows("gateway.write", "management", "tables", "write"));
    /* a right that is about a table is none about a capability */
    no(allows("public.gateway.read", "", "gateway", "query"));
    no(allows("gateway.query", "public", "gateway", "read"));
}
END_TEST

START_TEST(names_that_are_no_identifiers_have_no_right_of_their_own)
{
    right_configure(&usual);
    no(allows("my table.read", "public", "my table", "read"));
    no(allows("a.b.read", "public", "a.b", "read"));
    no(allows("public.a.b.read", "public", "a.b", "read"));
    no(allows("public.a.b.read", "public.a", "b", "read"));
    no(allows("1st.read", "public", "1st", "read"));
    yes(allows("gateway.read", "public", "my table", "read"));
    yes(allows("_1st.read", "public", "_1st", "read"));
    no(allows("a.read", "", "a.b", "read"));
    yes(allows("gateway.read", "", "a.b", "read"));
}
END_TEST

START_TEST(kinds_of_routes)
{
    right_configure(&usual);
    yes(allows("gateway.query", "", "gateway", "query"));
    yes(allows("gateway.rpc.execute", "", "gateway.rpc", "execute"));
    yes(allows("gateway.*", "", "gateway.rpc", "execute"));
    no(allows("gateway.read", "", "gateway.rpc", "execute"));
    yes(allows("unheard.read", "", "unheard", "read"));
}
END_TEST

static void is_named(const char *schema, const char *table, const char *action, const char *name)
{
    struct buf b = BUF_HEAP;

    right_name(&b, &(ath_right){ str_of(schema), str_of(table), str_of(action) });
    ck_assert_str_eq(b.p, name);
    buf_free(&b);
}

START_TEST(what_is_missing_has_a_name_that_would_do)
{
    right_configure(&strict);
    is_named("public", "users", "read", "users.read");
    is_named("athena", "users", "read", "athena.users.read");
    is_named("public", "management", "read", "public.management.read");
    is_named("public", "my table", "read", "gateway.read");
    is_named("management", "tables", "write", "tables.write");
    is_named("management", "billing", "write", "gateway.write");
    is_named("", "gateway.rpc", "execute", "gateway.rpc.execute");
    is_named("", "gateway", "query", "gateway.query");
    is_named("", "a.b", "read", "gateway.read");
}
END_TEST

START_TEST(the_one_that_covers_is_told)
{
    struct right_set *s = set_of("users.read gateway.query *.write");
    const ath_str *names;

    right_configure(&usual);
    ck_assert(str_is(*right_covering(s, ATH_S("users.read")), "users.read"));
    ck_assert(str_is(*right_covering(s, ATH_S("users.write")), "*.write"));
    ck_assert(
        str_is(*right_allowing(s, &(ath_right){ ATH_S("public"), ATH_S("users"), ATH_S("write") }),
               "*.write"));
    ck_assert_uint_eq(right_set_names(s, &names), 3);
    ck_assert(str_is(names[0], "*.write") && str_is(names[2], "users.read"));
    right_set_free(s);
    s = set_of("b b  a b");
    ck_assert_uint_eq(right_set_names(s, &names), 2);
    right_set_free(s);
}
END_TEST

/* Many names that begin alike, each found and no other. */
START_TEST(thousands_of_rights)
{
    enum { MANY = RIGHTS_MOST + 10 };
    static char text[MANY][40];
    static ath_str name[MANY];
    struct right_set *s;
    const ath_str *names;

    right_configure(&usual);
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof(text[i]), "customer_orders_%04d.read", (i * 7919) % MANY);
        name[i] = str_of(text[i]);
    }
    s = right_set_new(name, MANY);
    ck_assert_uint_eq(right_set_names(s, &names), RIGHTS_MOST);
    for (int i = 0; i < MANY; i++) {
        ath_str table = str_from(name[i].p, name[i].n - 5);
        ck_assert_int_eq(right_covers(s, name[i]), i < RIGHTS_MOST);
        ck_assert_int_eq(right_allows(s, &(ath_right){ ATH_S("public"), table, ATH_S("read") }),
                         i < RIGHTS_MOST);
        no(right_allows(s, &(ath_right){ ATH_S("public"), table, ATH_S("write") }));
    }
    right_set_free(s);
}
END_TEST

/* Whatever length: what is too long to be found is not covered, and nothing is written past an end.
 */
START_TEST(long_names)
{
    static char a[2000];
    struct right_set *s;
    ath_str name;

    right_configure(&usual);
    memset(a, 'x', sizeof(a));
    memcpy(a + 1000, ".read", 5);
    name = str_from(a, 1005);
    s = right_set_new(&name, 1);
    yes(right_covers(s, name));
    no(right_covers(s, str_from(a, 1004)));
    yes(right_allows(s, &(ath_right){ ATH_S("public"), str_from(a, 1000), ATH_S("read") }));
    no(right_allows(s, &(ath_right){ ATH_S("public"), str_from(a, 999), ATH_S("read") }));
    no(right_allows(s, &(ath_right){ str_from(a, 900), str_from(a, 900), ATH_S("read") }));
    right_set_free(s);
}
END_TEST

START_TEST(names_that_rights_may_have_D_45)
{
    yes(right_well_formed(ATH_S("users.read")));
    yes(right_well_formed(ATH_S("*")));
    no(right_well_formed(ATH_S("")));
    no(right_well_formed(ATH_S("  ")));
    no(right_well_formed(ATH_S(" users.read")));
    no(right_well_formed(ATH_S("users.read ")));
    no(right_well_formed(ATH_S("users\n.read")));
}
END_TEST

SUITE("right", table_of_matches_row_by_row_21_8, without_rights_nothing_is_covered,
      relations_by_their_names, a_short_name_opens_no_protected_schema_D_7_21_8,
      strict_keeps_data_rights_from_management_D_7, tables_called_like_capabilities_D_7,
      names_that_are_no_identifiers_have_no_right_of_their_own, kinds_of_routes,
      what_is_missing_has_a_name_that_would_do, the_one_that_covers_is_told, thousands_of_rights,
      long_names, names_that_rights_may_have_D_45)
