/* athena-gen-errors IN.yaml OUT.c: the table of error codes, written at build time.
 *
 * IN is one mapping: code: { number, status, class, message, hint }. A wrong entry, or a number that
 * two have, fails the build with its line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static const char *const classes[] = {
    "input", "auth", "denied", "missing", "conflict", "limit", "too_large", "timeout",
    "canceled", "upstream", "retry", "lease", "config", "abi", "memory", "bug",
};

struct entry {
    char *code, *message, *hint;
    int number, status, rc;
};

static const char *in_name;

static void refuse(const yaml_node_t *n, const char *what)
{
    fprintf(stderr, "%s:%zu: %s\n", in_name, n->start_mark.line + 1, what);
    exit(1);
}

static char *text_of(yaml_document_t *doc, int node)
{
    yaml_node_t *n = yaml_document_get_node(doc, node);

    if (n->type != YAML_SCALAR_NODE)
        refuse(n, "expected text");
    return (char *)n->data.scalar.value;
}

static int class_of(const yaml_node_t *n, const char *word)
{
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i], word) == 0)
            return -(int)i - 1;
    refuse(n, "unknown class");
    return 0;
}

static void member(yaml_document_t *doc, struct entry *e, const yaml_node_pair_t *m)
{
    yaml_node_t *n = yaml_document_get_node(doc, m->key);
    char *key = text_of(doc, m->key), *value = text_of(doc, m->value);

    if (strcmp(key, "number") == 0)
        e->number = atoi(value);
    else if (strcmp(key, "status") == 0)
        e->status = atoi(value);
    else if (strcmp(key, "class") == 0)
        e->rc = class_of(n, value);
    else if (strcmp(key, "message") == 0)
        e->message = value;
    else if (strcmp(key, "hint") == 0)
        e->hint = value;
    else
        refuse(n, "unknown key; known: number status class message hint");
}

/* A number is one code's; 0 is nobody's. */
static void take_number(const yaml_node_t *n, int number)
{
    static char taken[10000];

    if (number < 0 || number >= (int)sizeof(taken))
        refuse(n, "expected a number below 10000");
    if (number && taken[number]++)
        refuse(n, "another code has this number");
}

static void write_text(FILE *out, const char *s)
{
    fputc('"', out);
    for (; s && *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void write_entry(FILE *out, const struct entry *e)
{
    fputs("    { .code = ", out);
    write_text(out, e->code);
    fputs(", .message = ", out);
    write_text(out, e->message);
    fputs(",\n      .hint = ", out);
    write_text(out, e->hint);
    fprintf(out, ", .rc = %d, .status = %d, .number = %d },\n", e->rc, e->status, e->number);
}

int main(int argc, char **argv)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    yaml_node_t *root;
    FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL, *out = argc == 3 ? fopen(argv[2], "w") : NULL;

    if (!in || !out) {
        fputs("usage: athena-gen-errors IN.yaml OUT.c\n", stderr);
        return 1;
    }
    in_name = argv[1];
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_file(&parser, in);
    if (!yaml_parser_load(&parser, &doc) || !(root = yaml_document_get_root_node(&doc)) ||
        root->type != YAML_MAPPING_NODE) {
        fprintf(stderr, "%s:%zu: %s\n", in_name, parser.problem_mark.line + 1,
                parser.problem ? parser.problem : "not a mapping");
        return 1;
    }
    fputs("/* Made from errors.yaml; do not edit. */\n#include \"base/err.h\"\n\n"
          "const ath_error err_table[] = {\n", out);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        struct entry e = { .code = text_of(&doc, p->key) };
        yaml_node_t *body = yaml_document_get_node(&doc, p->value);
        if (body->type != YAML_MAPPING_NODE)
            refuse(body, "expected { number, status, class, message }");
        for (yaml_node_pair_t *m = body->data.mapping.pairs.start; m < body->data.mapping.pairs.top; m++)
            member(&doc, &e, m);
        if (!e.message || !e.rc || !e.status)
            refuse(body, "message, class and status are required");
        take_number(body, e.number);
        write_entry(out, &e);
    }
    fputs("};\n\nconst size_t err_table_count = sizeof(err_table) / sizeof(err_table[0]);\n", out);
    yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    fclose(in);
    return fclose(out) ? 1 : 0;
}
