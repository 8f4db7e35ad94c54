/* plugins/shared/sqltext: tokens and statements as PostgreSQL's own lexer has them (G-15, G-17). */
#include "sqltext/sqltext.h"
#include "support/check_main.h"

/* "line-line control verb|text" of each statement, a line each. */
static void show(const char *script, char *to, size_t room)
{
    struct sql_scan s = { .text = str_of(script), .line = 1 };
    struct sql_statement st;
    size_t n = 0;

    to[0] = 0;
    while (sql_statement(&s, &st))
        n += (size_t)snprintf(to + n, room - n, "%u-%u %c%s %.*s|%.*s\n", st.line_start,
                              st.line_end, "-OCIP"[st.control], st.broken ? "!" : "",
                              STR_ARG(st.verb.text), STR_ARG(st.text));
}

static const struct {
    const char *script, *want;
} statements[] = {
    { "", "" },
    { " ;; -- nothing\n /* at /* all */ */ ;", "" },
    { "select 1", "1-1 - select|select 1\n" },
    { "select 1; select 2 ;", "1-1 - select|select 1\n1-1 - select|select 2\n" },
    { "\n\nselect\n 1\n;\nselect 2", "3-4 - select|select\n 1\n6-6 - select|select 2\n" },
    /* comments anywhere */
    { "-- a; b\nselect 1 -- c; d\n; /* e; */ select 2 /* f */",
      "2-2 - select|select 1\n3-3 - select|select 2\n" },
    { "select 1 /* a /* b; */ ; */ + 1; select 2",
      "1-1 - select|select 1 /* a /* b; */ ; */ + 1\n1-1 - select|select 2\n" },
    { "select 1 --", "1-1 - select|select 1\n" },
    { "select 4 /*/ 2; */ , 1", "1-1 - select|select 4 /*/ 2; */ , 1\n" },
    { "select 1 +/* ; */ 1", "1-1 - select|select 1 +/* ; */ 1\n" },
    { "select 1 -- a\r; select 2", "1-1 - select|select 1\n1-1 - select|select 2\n" },
    /* quotes */
    { "select 'a;b', 'it''s; x'; select 2",
      "1-1 - select|select 'a;b', 'it''s; x'\n1-1 - select|select 2\n" },
    { "select E'it\\'s; x'; select 2",
      "1-1 - select|select E'it\\'s; x'\n1-1 - select|select 2\n" },
    { "select e'\\\\'; select 2", "1-1 - select|select e'\\\\'\n1-1 - select|select 2\n" },
    { "select 'a\\'; select 2", "1-1 - select|select 'a\\'\n1-1 - select|select 2\n" },
    { "select U&'\\0041;', U&\"x;\\0041\" ; select 2",
      "1-1 - select|select U&'\\0041;', U&\"x;\\0041\"\n1-1 - select|select 2\n" },
    { "select u&'\\'; select 2", "1-1 - select|select u&'\\'\n1-1 - select|select 2\n" },
    { "select E'a'\n 'b\\'; c'; select 2",
      "1-2 - select|select E'a'\n 'b\\'; c'\n2-2 - select|select 2\n" },
    { "select E'a' -- x\n 'b\\'; c'; select 2",
      "1-2 - select|select E'a' -- x\n 'b\\'; c'\n2-2 - select|select 2\n" },
    { "select E'a' 'b\\'; select 2", "1-1 - select|select E'a' 'b\\'\n1-1 - select|select 2\n" },
    { "select B'1', X'f', N'n;'; select 2",
      "1-1 - select|select B'1', X'f', N'n;'\n1-1 - select|select 2\n" },
    { "select \"a;\"\"b\" from t; select 2",
      "1-1 - select|select \"a;\"\"b\" from t\n1-1 - select|select 2\n" },
    { "select $$a;'b$$, $x$ ; $$ $y$ ; $x$; select 2",
      "1-1 - select|select $$a;'b$$, $x$ ; $$ $y$ ; $x$\n1-1 - select|select 2\n" },
    { "select a$b$c; select $1; select 2",
      "1-1 - select|select a$b$c\n1-1 - select|select $1\n1-1 - select|select 2\n" },
    { "select $1$2; select 2", "1-1 - select|select $1$2\n1-1 - select|select 2\n" },
    { "select $\xc3\xa9$;$\xc3\xa9$; select 2",
      "1-1 - select|select $\xc3\xa9$;$\xc3\xa9$\n1-1 - select|select 2\n" },
    /* what never closes goes as it is */
    { "select 1; select 'a; b", "1-1 - select|select 1\n1-1 -! select|select 'a; b\n" },
    { "select 1 /* a; b", "1-1 -! select|select 1 /* a; b\n" },
    { "/* a; b", "1-1 -! |/* a; b\n" },
    { "select $a$ x; $b$", "1-1 -! select|select $a$ x; $b$\n" },
    /* brackets and bodies */
    { "create rule r as on insert to t do (select 1; select 2); select 3",
      "1-1 - create|create rule r as on insert to t do (select 1; select 2)\n1-1 - select|select "
      "3\n" },
    { "select 1); select 2", "1-1 - select|select 1)\n1-1 - select|select 2\n" },
    { "create or replace function f(a int) returns int begin atomic select 1; select case when a = "
      "1 "
      "then 2 else 3 end; end; select 2",
      "1-1 - create|create or replace function f(a int) returns int begin atomic select 1; select "
      "case "
      "when a = 1 then 2 else 3 end; end\n1-1 - select|select 2\n" },
    { "create procedure p() begin atomic; end; select 2",
      "1-1 - create|create procedure p() begin atomic; end\n1-1 - select|select 2\n" },
    { "create function f() returns int language plpgsql as $$ begin return 1; end $$; select 2",
      "1-1 - create|create function f() returns int language plpgsql as $$ begin return 1; end $$\n"
      "1-1 - select|select 2\n" },
    { "create table begin (atomic int); select 2",
      "1-1 - create|create table begin (atomic int)\n1-1 - select|select 2\n" },
    { "do $$ begin perform 1; end $$; select 2",
      "1-1 - do|do $$ begin perform 1; end $$\n1-1 - select|select 2\n" },
    /* what a statement does */
    { "(select 1) union (select 2)", "1-1 - select|(select 1) union (select 2)\n" },
    { "with a as (insert into t values (1) returning *) select * from a",
      "1-1 - select|with a as (insert into t values (1) returning *) select * from a\n" },
    { "with recursive a(x) as (select 1), b as materialized (select 2) delete from t",
      "1-1 - delete|with recursive a(x) as (select 1), b as materialized (select 2) delete from "
      "t\n" },
    { "with a as (select 1), insert as (select 2) table insert",
      "1-1 - table|with a as (select 1), insert as (select 2) table insert\n" },
    { "/* c */ Table t", "1-1 - Table|Table t\n" },
    /* transactions */
    { "begin; start transaction; start x",
      "1-1 O begin|begin\n1-1 O start|start transaction\n1-1 - start|start x\n" },
    { "commit; end; rollback; abort work; commit and chain; rollback and no chain",
      "1-1 C commit|commit\n1-1 C end|end\n1-1 C rollback|rollback\n1-1 C abort|abort work\n"
      "1-1 O commit|commit and chain\n1-1 C rollback|rollback and no chain\n" },
    { "savepoint a; release a; rollback to a; rollback work to savepoint a",
      "1-1 I savepoint|savepoint a\n1-1 I release|release a\n1-1 I rollback|rollback to a\n"
      "1-1 I rollback|rollback work to savepoint a\n" },
    { "prepare transaction 'a'; commit prepared 'a'; rollback prepared 'a'; prepare p as select 1",
      "1-1 C prepare|prepare transaction 'a'\n1-1 P commit|commit prepared 'a'\n"
      "1-1 P rollback|rollback prepared 'a'\n1-1 - prepare|prepare p as select 1\n" },
    { "-- x\n/* y */ CoMmIt /* z */", "2-2 C CoMmIt|CoMmIt\n" },
    { "select 'commit'; \"commit\"", "1-1 - select|select 'commit'\n1-1 - |\"commit\"\n" },
};

START_TEST(scripts_are_cut_where_postgresql_cuts_them_G_17)
{
    char have[2000];

    for (size_t i = 0; i < ATH_COUNT(statements); i++) {
        show(statements[i].script, have, sizeof(have));
        ck_assert_msg(strcmp(have, statements[i].want) == 0, "%s\nwant: %shave: %s",
                      statements[i].script, statements[i].want, have);
    }
}
END_TEST

static const struct {
    const char *text, *want; /* kind letter and text, a blank between */
} tokens[] = {
    { "select a.b::int, -1", "wselect wa s. wb s:: wint s, s- n1" },
    { "a<=b!=c<>d=-1", "wa s<= wb s!= wc s<> wd s= s- n1" },
    { "a @-1 ||b", "wa s@- n1 s|| wb" },
    { "1.5e-3 .5 1..2 1e x", "n1.5e-3 n.5 n1 s.. n2 n1 we wx" },
    { "$1 $$x$$ \"a\"\"b\" E'\\''", "p$1 q$$x$$ i\"a\"\"b\" qE'\\''" },
    { "a:=b[1:2]", "wa s:= wb s[ n1 s: n2 s]" },
    { "\xc3\xa9t\xc3\xa9 _x$1", "w\xc3\xa9t\xc3\xa9 w_x$1" },
    { "'a'\n  'b' 'c'", "q'a'\n  'b' q'c'" },
    { "a/*b*/c--d", "wa wc" },
    { "*/ a", "s*/ wa" },
};

START_TEST(tokens_are_postgresql_s)
{
    for (size_t i = 0; i < ATH_COUNT(tokens); i++) {
        struct sql_scan s = { .text = str_of(tokens[i].text), .line = 1 };
        struct sql_token t;
        char have[500] = "";
        size_t n = 0;
        while (sql_next(&s, &t))
            n += (size_t)snprintf(have + n, sizeof(have) - n, "%s%c%.*s", n ? " " : "",
                                  " wiqnps!"[t.kind], STR_ARG(t.text));
        ck_assert_str_eq(have, tokens[i].want);
    }
}
END_TEST

START_TEST(what_may_give_rows_is_known)
{
    static const char *const yes = "select 1; (select 1); values (1); table t; show all; explain select 1; "
                                   "fetch 1 from c; execute p; with a as (select 1) select 1; "
                                   "insert into t values (1) RETURNING id; with a as (select 1) delete from t "
                                   "returning 1; \"x\"; whatever";
    static const char *const no = "insert into t select 1; update t set a = 1; delete from t; "
                                  "with a as (select 1) insert into t select 1; create table t as select 1; "
                                  "set a = 1; call p(); do $$ select 1 $$; vacuum; begin; commit; "
                                  "refresh materialized view m; prepare p as select 1; merge into t using s on true "
                                  "when matched then delete";
    struct sql_scan s = { .text = str_of(yes), .line = 1 };
    struct sql_statement st;

    while (sql_statement(&s, &st))
        ck_assert_msg(st.rows, "%.*s", STR_ARG(st.text));
    s = (struct sql_scan){ .text = str_of(no), .line = 1 };
    while (sql_statement(&s, &st))
        ck_assert_msg(!st.rows, "%.*s", STR_ARG(st.text));
}
END_TEST

START_TEST(a_nul_byte_is_a_byte)
{
    struct sql_scan s = { .text = ATH_S("select 1\0;x"), .line = 1 };
    struct sql_statement st;

    ck_assert(sql_statement(&s, &st));
    ck_assert_uint_eq(st.text.n, 9);
    ck_assert(sql_statement(&s, &st));
    ck_assert(str_is(st.text, "x"));
}
END_TEST

SUITE("sqltext", scripts_are_cut_where_postgresql_cuts_them_G_17, tokens_are_postgresql_s,
      what_may_give_rows_is_known,
      a_nul_byte_is_a_byte)
