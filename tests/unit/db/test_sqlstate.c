/* SQLSTATE to code: each row of the contract's table, and what becomes of names and details. */
#include "base/err.h"
#include "db/query.h"
#include "lib/text.h"
#include "support/check_main.h"

START_TEST(each_state_has_its_code_and_status)
{
    static const struct {
        const char *state, *code;
        uint32_t status;
    } row[] = {
        { "23505", "unique_violation", 409 },      { "23503", "foreign_key_violation", 409 },
        { "23502", "not_null_violation", 400 },    { "23514", "check_constraint_violation", 400 },
        { "23P01", "exclusion_violation", 409 },   { "22021", "invalid_text_encoding", 400 },
        { "22P02", "data_exception", 400 },        { "22003", "data_exception", 400 },
        { "42703", "undefined_column", 400 },      { "42P01", "undefined_table", 400 },
        { "42601", "syntax_error", 400 },          { "42501", "insufficient_privilege", 403 },
        { "42883", "undefined_function", 400 },    { "42804", "query_syntax", 400 },
        { "08006", "connection_error", 503 },      { "25006", "read_only", 403 },
        { "40001", "serialization_failure", 409 }, { "40P01", "deadlock_detected", 409 },
        { "53300", "backend_unavailable", 503 },   { "55P03", "backend_unavailable", 503 },
        { "57P01", "backend_unavailable", 503 },   { "57014", "query_timeout", 504 },
        { "28P01", "backend_unavailable", 503 },   { "P0001", "raised_exception", 400 },
        { "0A000", "query_syntax", 400 },          { "21000", "query_syntax", 400 },
        { "25001", "query_syntax", 400 },          { "2BP01", "query_syntax", 400 },
        { "3F000", "query_syntax", 400 },          { "44000", "check_constraint_violation", 400 },
        { "54000", "data_exception", 400 },        { "P0003", "raised_exception", 400 },
        { "XX000", "database_error", 500 },        { "", "database_error", 500 },
    };

    for (size_t i = 0; i < ATH_COUNT(row); i++) {
        ath_err e;
        struct db_failure f = { .sqlstate = row[i].state, .message = "m" };
        ck_assert_int_lt(db_fail(&f, &e), 0);
        ck_assert_msg(str_is(err_get(&e, "code"), row[i].code), "%s gave %s", row[i].state,
                      err_get(&e, "code").p);
        ck_assert_uint_eq(err_entry(&e)->status, row[i].status);
        ck_assert(str_is(err_get(&e, "sqlstate"), row[i].state));
        ck_assert_int_eq(err_get(&e, "retry_after").n > 0, row[i].status == 503);
    }
}
END_TEST

START_TEST(a_wrong_number_of_values_is_no_broken_connection)
{
    struct db_failure f = { .sqlstate = "08P01", .message = "bind message supplies 0 parameters",
                            .function = "exec_bind_message" };
    ath_err e;

    ck_assert_int_lt(db_fail(&f, &e), 0);
    ck_assert_uint_eq(err_entry(&e)->status, 400);
    f.function = "pg_getmsgend";
    db_fail(&f, &e);
    ck_assert_uint_eq(err_entry(&e)->status, 503);
}
END_TEST

START_TEST(what_is_missing_is_named)
{
    struct db_failure column = { .sqlstate = "42703", .message = "column \"nmae\" does not exist" };
    struct db_failure bare = { .sqlstate = "42703", .message = "column t.nmae does not exist" };
    struct db_failure table = { .sqlstate = "42P01",
                                .message = "relation \"shop.usr\" does not exist" };
    ath_err e;

    db_fail(&column, &e);
    ck_assert(str_is(err_get(&e, "column"), "nmae"));
    ck_assert(str_is(err_get(&e, "title"), "The specified column 'nmae' does not exist"));
    db_fail(&bare, &e);
    ck_assert(str_is(err_get(&e, "column"), "nmae"));
    db_fail(&table, &e);
    ck_assert(str_is(err_get(&e, "table"), "shop.usr"));
    ck_assert(str_is(err_get(&e, "title"), "The table 'shop.usr' was not found."));
}
END_TEST

START_TEST(operators_are_told_from_functions)
{
    struct db_failure f = { .sqlstate = "42883",
                            .message = "operator does not exist: text = uuid" };
    ath_err e;

    db_fail(&f, &e);
    ck_assert(str_is(err_get(&e, "code"), "text_uuid_operator_mismatch"));
    f.message = "operator does not exist: timestamp with time zone >= integer";
    db_fail(&f, &e);
    ck_assert(str_is(err_get(&e, "code"), "type_operator_mismatch"));
    ck_assert(str_is(err_get(&e, "lhs_type"), "timestamp with time zone"));
    ck_assert(str_is(err_get(&e, "operator"), ">="));
    ck_assert(str_is(err_get(&e, "rhs_type"), "integer"));
    f.message = "function foo(integer) does not exist";
    db_fail(&f, &e);
    ck_assert(str_is(err_get(&e, "code"), "undefined_function"));
}
END_TEST

START_TEST(what_postgres_tells_becomes_details)
{
    struct db_failure f = {
        .sqlstate = "23505",
        .message = "duplicate key value",
        .detail = "Key (id)=(1) already exists.",
        .constraint = "t_pkey",
        .table = "t",
        .schema = "public",
    };
    ath_err e;

    db_fail(&f, &e);
    ck_assert(str_is(err_get(&e, "constraint"), "t_pkey") && str_is(err_get(&e, "table"), "t"));
    ck_assert(str_is(err_get(&e, "category"), "database_constraint"));
    ck_assert(str_is(err_get(&e, "detail"), "Key (id)=(1) already exists."));
    ck_assert(str_is(err_get(&e, "sql_state"), "23505"));
    f = (struct db_failure){ .sqlstate = "P0001", .message = "no", .hint = "Ask again." };
    db_fail(&f, &e);
    ck_assert(str_is(err_get(&e, "hint"), "Ask again.") && str_is(err_get(&e, "message"), "no"));
}
END_TEST

SUITE("sqlstate", each_state_has_its_code_and_status, a_wrong_number_of_values_is_no_broken_connection, what_is_missing_is_named,
      operators_are_told_from_functions, what_postgres_tells_becomes_details)
