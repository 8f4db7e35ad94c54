/* tests/support/fakecatalog.h - a catalogue from a text, for tests of what is built upon one.
 *
 *     const struct fake_table tables[] = {
 *         { "public.tasks", "id int4 pk, project_id int4 -> projects.id, title text, tags text[]" },
 *     };
 *     const ath_snapshot *s = fake_catalog(&arena, tables, ATH_COUNT(tables));
 *
 * Behind a type: "pk", "uq" or a foreign key. "matview public.seen" is a materialized view. Types are
 * the built-in ones by their short names, "mood" (an enum), "pair" (a composite of a int4 and b text)
 * and the rows of the tables. Oids of tables count from 20000, of their row types from 30000, attnums
 * from 1. A few functions are in every catalogue: an argument is [in|out|both|variadic|table] name
 * type [=], a result type [setof] [stable|volatile|procedure].
 */
#ifndef TESTS_SUPPORT_FAKECATALOG_H
#define TESTS_SUPPORT_FAKECATALOG_H

#include <athena/service/catalog.h>

struct fake_table {
    const char *name, *columns;
};

const ath_snapshot *fake_catalog(ath_arena *a, const struct fake_table *t, size_t n);

/* The tables of the recorded data set, with a few more for joins. */
const ath_snapshot *fake_catalog_recorded(ath_arena *a);

extern const ath_catalog fake_catalog_api;

#endif
