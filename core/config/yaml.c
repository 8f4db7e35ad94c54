/* libyaml's events into a tree. The stack of open maps and lists is an array of fixed depth; an
 * anchor is known from its first event, so that an alias to an open node is seen and refused.
 */
#include "config/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define ANCHORS_MAX 1000 /* they are searched one by one; later ones cannot be named */

struct anchor {
    ath_str name;
    struct conf_node *node;
    struct anchor *next;
};

struct level {
    struct conf_node *node;
    const struct conf_node *key; /* of a map: read, its value not yet */
};

struct parse {
    ath_arena *arena;
    struct config_report *rep;
    const char *file;
    yaml_parser_t parser;
    struct level level[YAML_MOST_DEPTH];
    size_t depth;
    struct anchor *anchors;
    unsigned anchor_count;
    struct conf_node *root;
    uint64_t nodes; /* made, plus what aliases unfold to */
    unsigned documents;
};

const char *conf_kind_name(enum conf_kind kind)
{
    return kind == CONF_TEXT ? "string" : kind == CONF_MAP ? "map" : "sequence";
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    const struct conf_node *found = NULL;

    if (!map || map->kind != CONF_MAP)
        return NULL;
    for (const struct conf_link *l = map->first; l; l = l->next)
        if (str_is(l->key->text, key))
            found = l->value;
    return found;
}

static struct config_place place_of(const struct parse *p, yaml_mark_t mark)
{
    return (struct config_place){ .file = p->file,
                                  .line = (uint32_t)mark.line + 1,
                                  .column = (uint32_t)mark.column + 1 };
}

static int refuse(struct parse *p, const struct config_place *at, const char *what)
{
    config_error(p->rep, at, "%s", what);
    return ATH_E_CONFIG;
}

/* Hangs a complete or just opened node below the innermost open one. */
static int attach(struct parse *p, struct conf_node *node)
{
    struct level *up = p->depth ? &p->level[p->depth - 1] : NULL;
    struct conf_link *link;

    p->nodes += node->weight;
    if (p->nodes > YAML_MOST_NODES)
        return refuse(p, &node->at, "the file holds too many values, aliases included");
    if (!up) {
        p->root = node;
        return 0;
    }
    if (up->node->kind == CONF_MAP && !up->key) {
        if (node->kind != CONF_TEXT)
            return refuse(p, &node->at, "a key must be plain text");
        up->key = node;
        return 0;
    }
    link = ARENA_NEW(p->arena, struct conf_link);
    link->key = up->key;
    link->value = node;
    up->key = NULL;
    if (up->node->last)
        up->node->last->next = link;
    else
        up->node->first = link;
    up->node->last = link;
    return 0;
}

static struct conf_node *node_new(struct parse *p, enum conf_kind kind, const yaml_event_t *ev,
                                  const yaml_char_t *anchor)
{
    struct conf_node *node = ARENA_NEW(p->arena, struct conf_node);

    node->kind = kind;
    node->weight = 1;
    node->at = place_of(p, ev->start_mark);
    if (anchor && p->anchor_count++ < ANCHORS_MAX) {
        struct anchor *a = ARENA_NEW(p->arena, struct anchor);
        a->name = arena_str(p->arena, str_of((const char *)anchor));
        a->node = node;
        a->next = p->anchors;
        p->anchors = a;
    }
    return node;
}

static int on_scalar(struct parse *p, const yaml_event_t *ev)
{
    struct conf_node *node = node_new(p, CONF_TEXT, ev, ev->data.scalar.anchor);
    ath_str text = { (const char *)ev->data.scalar.value, ev->data.scalar.length };

    if (str_find(text, 0) < text.n)
        return refuse(p, &node->at, "a value holds a NUL byte");
    node->text = arena_str(p->arena, text);
    node->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return attach(p, node);
}

static int on_open(struct parse *p, enum conf_kind kind, const yaml_event_t *ev,
                   const yaml_char_t *anchor)
{
    struct conf_node *node = node_new(p, kind, ev, anchor);
    int rc = attach(p, node);

    if (rc < 0)
        return rc;
    if (p->depth == YAML_MOST_DEPTH)
        return refuse(p, &node->at, "maps and lists are nested too deeply");
    node->weight = 0; /* open: no alias may name it yet */
    p->level[p->depth++] = (struct level){ .node = node };
    return 0;
}

static void on_close(struct parse *p)
{
    struct conf_node *node = p->level[--p->depth].node;
    uint64_t weight = 1;

    for (const struct conf_link *l = node->first; l; l = l->next)
        weight += l->value->weight + (l->key ? 1 : 0);
    node->weight = weight > YAML_MOST_NODES ? YAML_MOST_NODES + 1 : (uint32_t)weight;
}

static int on_alias(struct parse *p, const yaml_event_t *ev)
{
    struct config_place at = place_of(p, ev->start_mark);
    ath_str name = str_of((const char *)ev->data.alias.anchor);
    struct anchor *a = p->anchors;

    while (a && !str_eq(a->name, name))
        a = a->next;
    if (!a) /* the name is not shown: an unquoted password may look like an alias */
        return refuse(p, &at, "an alias names no anchor that stands before it");
    if (a->node->weight == 0)
        return refuse(p, &at, "an alias stands inside of what it names");
    return attach(p, a->node);
}

/* 1: the stream has ended. */
static int on_event(struct parse *p, const yaml_event_t *ev)
{
    struct config_place at = place_of(p, ev->start_mark);

    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(p, ev);
    case YAML_MAPPING_START_EVENT:
        return on_open(p, CONF_MAP, ev, ev->data.mapping_start.anchor);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(p, CONF_LIST, ev, ev->data.sequence_start.anchor);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        on_close(p);
        return 0;
    case YAML_ALIAS_EVENT:
        return on_alias(p, ev);
    case YAML_DOCUMENT_START_EVENT:
        if (p->documents++)
            return refuse(p, &at,
                          "deserializing from YAML containing more than one document is not "
                          "supported");
        return 0;
    case YAML_STREAM_END_EVENT:
        return 1;
    default:
        return 0;
    }
}

/* libyaml's words speak of tokens and indentation, never of the text itself. */
static int syntax_error(struct parse *p)
{
    struct config_place at = place_of(p, p->parser.problem_mark);
    const char *context = p->parser.context;

    config_error(p->rep, &at, "%s%s%s",
                 p->parser.problem ? p->parser.problem : "the file is not readable as UTF-8",
                 context ? ", " : "", context ? context : "");
    return ATH_E_CONFIG;
}

static int run(struct parse *p)
{
    int rc = 0;

    while (rc == 0) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&p->parser, &ev))
            return syntax_error(p);
        rc = on_event(p, &ev);
        yaml_event_delete(&ev);
    }
    return rc < 0 ? rc : 0;
}

int yaml_parse(ath_arena *a, const char *file, ath_str text, const struct conf_node **ret,
               struct config_report *rep)
{
    struct parse p = { .arena = a, .rep = rep, .file = file };
    struct config_place whole = { .file = file };
    int rc;

    if (text.n > YAML_MOST_BYTES)
        return refuse(&p, &whole, "the file is too large");
    if (!yaml_parser_initialize(&p.parser))
        return refuse(&p, &whole, "out of memory");
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    rc = run(&p);
    yaml_parser_delete(&p.parser);
    if (rc == 0)
        *ret = p.root && p.root->kind == CONF_TEXT && p.root->text.n == 0 ? NULL : p.root;
    return rc;
}

static ssize_t read_whole(int fd, char *at, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t r = read(fd, at + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

int config_file_read(ath_arena *a, const char *file, size_t most, ath_str *ret, ath_err *e)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n;
    char *p;

    if (fd < 0 || fstat(fd, &st) < 0) {
        err_fail(e, ATH_E_MISSING, "%s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return ATH_E_MISSING;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > most) {
        close(fd);
        return err_fail(e, ATH_E_MISSING, "%s",
                        S_ISREG(st.st_mode) ? "the file is too large" : "not a regular file");
    }
    p = arena_raw(a, (size_t)st.st_size + 1);
    n = read_whole(fd, p, (size_t)st.st_size);
    if (n < 0)
        err_fail(e, ATH_E_MISSING, "%s", strerror(errno));
    close(fd);
    if (n < 0)
        return ATH_E_MISSING;
    p[n] = 0;
    *ret = str_from(p, (size_t)n);
    return 0;
}

int yaml_read(ath_arena *a, const char *file, const struct conf_node **ret,
              struct config_report *rep, ath_err *e)
{
    ath_str text;
    int rc = config_file_read(a, file, YAML_MOST_BYTES, &text, e);

    if (rc < 0)
        return rc;
    rc = yaml_parse(a, file, text, ret, rep);
    if (rc < 0)
        err_fail(e, rc, "%s", "the file could not be parsed");
    return rc;
}
