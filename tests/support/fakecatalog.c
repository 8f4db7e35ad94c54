/* A catalogue from a text. */
#include "support/fakecatalog.h"

#include "base/arena.h"
#include "lib/text.h"

enum {
    MOST_COLUMNS = 64,
    MOST_REFERENCES = 16,
    MOST_KEYS = 8,
    MOST_ARGUMENTS = 8,
    OID_TABLE = 20000,
    OID_ROW = 30000,
    OID_PAIR = 16510
};

struct ath_snapshot {
    ath_relation *relation;
    size_t n;
    ath_relation *pair;
    ath_function *function;
};

static const struct {
    const char *name;
    uint32_t oid, element;
    char kind, category;
} types[] = {
    { "int4", 23, 0, 'b', 'N' },          { "int8", 20, 0, 'b', 'N' },
    { "int2", 21, 0, 'b', 'N' },          { "text", 25, 0, 'b', 'S' },
    { "bool", 16, 0, 'b', 'B' },          { "numeric", 1700, 0, 'b', 'N' },
    { "float4", 700, 0, 'b', 'N' },       { "float8", 701, 0, 'b', 'N' },
    { "timestamptz", 1184, 0, 'b', 'D' }, { "timestamp", 1114, 0, 'b', 'D' },
    { "date", 1082, 0, 'b', 'D' },        { "uuid", 2950, 0, 'b', 'U' },
    { "json", 114, 0, 'b', 'U' },         { "jsonb", 3802, 0, 'b', 'U' },
    { "varchar", 1043, 0, 'b', 'S' },     { "bytea", 17, 0, 'b', 'U' },
    { "int4range", 3904, 0, 'r', 'R' },   { "text[]", 1009, 25, 'b', 'A' },
    { "int4[]", 1007, 23, 'b', 'A' },     { "jsonb[]", 3807, 3802, 'b', 'A' },
    { "mood", 16500, 0, 'e', 'E' },       { "pair", OID_PAIR, 0, 'c', 'C' },
    { "inet", 869, 0, 'b', 'I' },         { "pair[]", 16511, OID_PAIR, 'b', 'A' },
    { "void", 2278, 0, 'p', 'P' },        { "record", 2249, 0, 'p', 'P' },
    { "trigger", 2279, 0, 'p', 'P' },     { "anyelement", 2283, 0, 'p', 'P' },
    { "json[]", 199, 114, 'b', 'A' },
};

static const struct fake_function {
    const char *name, *arguments, *result;
} functions[] = {
    { "act", "", "void procedure" },
    { "add", "a int4, b int4 =", "int8" },
    { "add", "a int4, b int4, c int4 =", "int8" },
    { "any", "a anyelement, b anyelement =", "anyelement" },
    { "between", "low int4, high int4", "projects setof stable" },
    { "doc", "v jsonb", "json setof stable" },
    { "give", "k int4 =, out a int4, both b text =, out c json", "record volatile" },
    { "lines", "n int4, table x int4, table y pair", "record setof stable" },
    { "list", "variadic v int4[]", "int4 setof stable" },
    { "nothing", "", "void volatile" },
    { "nums", "", "int4 setof volatile" },
    { "one", "v int4[], w pair =, p pair[] =, m mood =, j json =, js json[] =, t text =", "text" },
    { "over", "a int2", "int4" },
    { "over", "a int4", "int4" },
    { "over", "a text", "text" },
    { "raw", "", "record" },
    { "seen", "", "trigger" },
    { "we\"ird", "my arg int4", "pair" },
};

static ath_str word(ath_str *rest)
{
    ath_str piece = { "", 0 };

    *rest = str_trim(*rest);
    if (rest->n)
        str_next(rest, ' ', &piece);
    if (!rest->p)
        *rest = (ath_str){ "", 0 };
    return piece;
}

static ath_attribute *attribute_of(const ath_relation *r, ath_str name)
{
    for (uint32_t i = 0; i < r->column_count; i++)
        if (str_eq(r->column[i].name, name))
            return (ath_attribute *)(uintptr_t)&r->column[i];
    return NULL;
}

static const ath_relation *relation_of(const ath_snapshot *s, ath_str schema, ath_str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->relation[i].name, name) &&
            str_eq(s->relation[i].schema, schema.n ? schema : ATH_S("public")))
            return &s->relation[i];
    return NULL;
}

static void fill_column(ath_attribute *c, ath_str text, uint32_t number)
{
    ath_str type;

    *c = (ath_attribute){ .size = sizeof(*c), .number = number };
    c->name = word(&text);
    type = word(&text);
    for (size_t i = 0; i < ATH_COUNT(types); i++) {
        if (str_is(type, types[i].name)) {
            c->type = c->base_type = types[i].oid;
            c->element = types[i].element;
            c->kind = types[i].kind;
            c->category = types[i].category;
        }
    }
    c->type_name = type;
    if (str_is(text, "pk"))
        c->flags = ATH_COL_PRIMARY | ATH_COL_NOT_NULL;
}

/* Columns that say "pk" are the primary key together; each that says "uq" is a key of its own. */
static void fill_keys(ath_arena *a, ath_relation *r, const struct fake_table *t)
{
    ath_key *key = arena_alloc(a, MOST_KEYS * sizeof(*key));
    uint32_t *number = arena_alloc(a, 2 * MOST_COLUMNS * sizeof(*number)), n = 0, at = 0;
    ath_str rest = str_of(t->columns), piece;

    for (uint32_t i = 0; i < r->column_count; i++)
        if (r->column[i].flags & ATH_COL_PRIMARY)
            number[n++] = r->column[i].number;
    if (n)
        key[r->key_count++] = (ath_key){
            .size = sizeof(*key), .primary = 1, .number = number, .number_count = n
        };
    while (str_next(&rest, ',', &piece) && ++at)
        if (str_ends(str_trim(piece), " uq")) {
            number[n] = at;
            key[r->key_count++] =
                (ath_key){ .size = sizeof(*key), .number = &number[n++], .number_count = 1 };
        }
    r->key = key;
}

static void fill_relation(ath_arena *a, ath_relation *r, const struct fake_table *t, uint32_t oid)
{
    ath_attribute *column = arena_alloc(a, MOST_COLUMNS * sizeof(*column));
    ath_str rest = str_of(t->columns), piece;
    bool view = str_starts(str_of(t->name), "matview ");
    ath_str name = str_after(str_of(t->name), view ? 8 : 0);
    size_t dot = str_find(name, '.');

    *r = (ath_relation){ .size = sizeof(*r),
                         .kind = view ? ATH_REL_MATVIEW : ATH_REL_TABLE,
                         .oid = oid,
                         .column = column,
                         .column_size = sizeof(*column),
                         .key_size = sizeof(ath_key),
                         .schema = str_from(name.p, dot),
                         .name = str_after(name, dot + 1) };
    r->out = arena_alloc(a, MOST_REFERENCES * sizeof(*r->out));
    r->in = arena_alloc(a, MOST_REFERENCES * sizeof(*r->in));
    while (str_next(&rest, ',', &piece)) {
        ath_attribute *c = &column[r->column_count];
        fill_column(c, str_trim(piece), ++r->column_count);
    }
    fill_keys(a, r, t);
}

/* "project_id int4 -> projects.id" */
static void fill_reference(ath_arena *a, const ath_snapshot *s, ath_relation *r, ath_str text)
{
    ath_str name = word(&text), target;
    ath_reference *f = arena_alloc(a, sizeof(*f));
    uint32_t *number = arena_alloc(a, 2 * sizeof(*number));
    ath_relation *to;
    size_t dot;

    word(&text);
    if (!str_starts(text, "-> "))
        return;
    target = str_trim(str_after(text, 3));
    dot = str_find(target, '.');
    to = (ath_relation *)(uintptr_t)relation_of(s, r->schema, str_from(target.p, dot));
    number[0] = attribute_of(r, name)->number;
    number[1] = attribute_of(to, str_after(target, dot + 1))->number;
    *f = (ath_reference){ .size = sizeof(*f),
                          .count = 1,
                          .from = r,
                          .to = to,
                          .from_number = number,
                          .to_number = number + 1,
                          .name =
                              arena_printf(a, "%.*s_%.*s_fkey", STR_ARG(r->name), STR_ARG(name)) };
    ((const ath_reference **)(uintptr_t)r->out)[r->out_count++] = f;
    ((const ath_reference **)(uintptr_t)to->in)[to->in_count++] = f;
}

static const ath_relation *row_of(const ath_snapshot *s, uint32_t type)
{
    if (type == OID_PAIR)
        return s->pair;
    return type >= OID_ROW && type - OID_ROW < s->n ? &s->relation[type - OID_ROW] : NULL;
}

/* Also a table's name is a type. */
static void fill_type(const ath_snapshot *s, ath_attribute *to, ath_str name, ath_str type)
{
    char text[64];
    const ath_relation *r = relation_of(s, (ath_str){ "", 0 }, type);

    snprintf(text, sizeof(text), "x %.*s", STR_ARG(type));
    fill_column(to, str_of(text), to->number);
    to->name = name;
    to->type_name = type;
    if (r) {
        to->type = to->base_type = OID_ROW + (uint32_t)(r - s->relation);
        to->kind = 'c';
        to->category = 'C';
    }
}

/* The name may hold blanks, the type does not. */
static void fill_argument(const ath_snapshot *s, ath_argument *to, ath_str text)
{
    static const char *const modes[] = { "in ", "out ", "both ", "variadic ", "table " };
    bool given = str_ends(text, "=");
    size_t space;

    *to = (ath_argument){ .size = sizeof(*to), .mode = 'i' };
    for (size_t i = 0; i < ATH_COUNT(modes); i++)
        if (str_starts(text, modes[i])) {
            to->mode = modes[i][0];
            text = str_after(text, strlen(modes[i]));
            break;
        }
    text = str_trim(str_from(text.p, text.n - given));
    for (space = text.n; space && text.p[space - 1] != ' '; space--)
        ;
    fill_type(s, &to->as, str_trim(str_from(text.p, space)), str_after(text, space));
    to->as.flags = given ? ATH_COL_DEFAULT : 0;
}

static void fill_columns(ath_arena *a, const ath_snapshot *s, ath_function *f)
{
    const ath_relation *row = row_of(s, f->result.type);
    ath_attribute *to = arena_alloc(a, MOST_ARGUMENTS * sizeof(*to));

    f->column = row ? row->column : to;
    f->column_count = row ? row->column_count : 0;
    for (uint32_t i = 0; i < f->argument_count && !row; i++) {
        if (f->argument[i].mode == 'i' || f->argument[i].mode == 'v')
            continue;
        to[f->column_count] = f->argument[i].as;
        to[f->column_count].number = f->column_count + 1;
        f->column_count++;
    }
}

static void fill_function(ath_arena *a, const ath_snapshot *s, ath_function *f,
                          const struct fake_function *from)
{
    ath_argument *argument = arena_alloc(a, MOST_ARGUMENTS * sizeof(*argument));
    ath_str rest = str_of(from->arguments), result = str_of(from->result), piece;

    *f = (ath_function){ .size = sizeof(*f),
                         .schema = ATH_S("public"),
                         .name = str_of(from->name),
                         .kind = strstr(from->result, "procedure") ? 'p' : 'f',
                         .volatility = strstr(from->result, "volatile") ? 'v'
                                       : strstr(from->result, "stable") ? 's'
                                                                        : 'i',
                         .set = strstr(from->result, "setof") != NULL,
                         .argument = argument,
                         .argument_size = sizeof(*argument),
                         .column_size = sizeof(ath_attribute) };
    fill_type(s, &f->result, f->name, word(&result));
    while (rest.n && str_next(&rest, ',', &piece)) {
        fill_argument(s, &argument[f->argument_count], str_trim(piece));
        argument[f->argument_count].as.number = f->argument_count + 1;
        f->argument_count++;
    }
    fill_columns(a, s, f);
}

static void fill_functions(ath_arena *a, struct ath_snapshot *s)
{
    static const struct fake_table pair = { "public.pair", "a int4, b text" };

    s->pair = arena_alloc(a, sizeof(*s->pair));
    fill_relation(a, s->pair, &pair, OID_PAIR);
    s->function = arena_alloc(a, ATH_COUNT(functions) * sizeof(*s->function));
    for (size_t i = 0; i < ATH_COUNT(functions); i++)
        fill_function(a, s, &s->function[i], &functions[i]);
}

const ath_snapshot *fake_catalog(ath_arena *a, const struct fake_table *t, size_t n)
{
    struct ath_snapshot *s = arena_alloc(a, sizeof(*s));

    s->relation = arena_alloc(a, n * sizeof(*s->relation));
    s->n = n;
    for (size_t i = 0; i < n; i++)
        fill_relation(a, &s->relation[i], &t[i], OID_TABLE + (uint32_t)i);
    for (size_t i = 0; i < n; i++) {
        ath_str rest = str_of(t[i].columns), piece;
        while (str_next(&rest, ',', &piece))
            fill_reference(a, s, &s->relation[i], str_trim(piece));
    }
    fill_functions(a, s);
    return s;
}

const ath_snapshot *fake_catalog_recorded(ath_arena *a)
{
    static const struct fake_table tables[] = {
        { "public.kinds", "id int4 pk, title text" },
        { "public.items", "id int4 pk, name text, note text, price numeric, qty int4, active bool, "
                          "kind_id int4 -> kinds.id, made_at timestamptz" },
        { "public.keyed", "id uuid pk, label text, stamp timestamptz" },
        { "public.all_types", "id int4 pk, c_mood mood, c_pair pair, c_json json, c_jsonb jsonb, "
                              "c_int_arr int4[], c_text_arr text[], c_bytea bytea, c_inet inet, "
                              "c_int4range int4range, c_date date, c_ts timestamp, c_bool bool, "
                              "c_int8 int8, c_varchar varchar, c_jsonb_arr jsonb[]" },
        { "public.Mixed", "Id int4 pk, fullName text, order int4" },
        { "public.owners", "id int4 pk, name text, boss_id int4" },
        { "public.projects", "id int4 pk, name text, owner_id int4 -> owners.id" },
        { "public.tasks", "id int4 pk, project_id int4 -> projects.id, title text, done bool" },
        { "public.labels", "id int4 pk, word text" },
        { "public.task_labels", "task_id int4 -> tasks.id, label_id int4 -> labels.id" },
        { "public.rooms", "id int4 pk, room_id int4, data jsonb" },
        { "public.folders", "id int4 pk, parent_id int4 -> folders.id, name text" },
        { "public.notes", "id int4 pk, owner_id int4, body text" },
        { "public.mails", "id int4 pk, from_id int4 -> owners.id, to_id int4 -> owners.id" },
        { "private.items", "id int4 pk, secret text" },
        { "public.we\"ird", "id int4 pk, my col text, a\"b text" },
    };

    return fake_catalog(a, tables, ATH_COUNT(tables));
}

static const ath_attribute *api_column(const ath_relation *r, ath_str name)
{
    return attribute_of(r, name);
}

static const ath_relation *api_at(const ath_snapshot *s, uint32_t i)
{
    return i < s->n ? &s->relation[i] : NULL;
}

static ath_str api_type_name(const ath_snapshot *s, uint32_t oid)
{
    (void)s;
    return oid == 16500 ? ATH_S("public.mood") : (ath_str){ "", 0 };
}

static const ath_function *api_function(const ath_snapshot *s, ath_str schema, ath_str name,
                                        uint32_t n)
{
    for (size_t i = 0; i < ATH_COUNT(functions); i++)
        if (str_eq(s->function[i].name, name) && str_is(schema, "public") && n-- == 0)
            return &s->function[i];
    return NULL;
}

static uint64_t api_version(const ath_snapshot *s)
{
    (void)s;
    return 1;
}

const ath_catalog fake_catalog_api = { .size = sizeof(fake_catalog_api),
                                       .version = api_version,
                                       .relation = relation_of,
                                       .column = api_column,
                                       .at = api_at,
                                       .type_name = api_type_name,
                                       .function = api_function,
                                       .row_type = row_of };
