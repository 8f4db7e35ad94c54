/* The scripts hold the tables as words; what is typed is looked up in them, so nothing is started
 * while somebody types.
 *
 * All three do the same: of the words before the cursor those that are neither options nor their
 * values are the command, as far as it is typed; then come its next word, its options and the
 * global ones, or the words that an option or argument takes.
 */
#include "server/completion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plugin/host.h"
#include "plugin/load.h"
#include "server/setup.h"

struct item {
    const char *name, *summary;
    struct config_table table;
};

struct script {
    ath_arena arena;
    struct item *item;
    size_t n, room;
    struct buf out;
};

static void add(struct script *l, const char *name, const char *summary,
                const struct config_table *t)
{
    if (l->n == l->room) {
        l->room = l->room * 2 + 32;
        l->item = mem_resize(l->item, l->room * sizeof(*l->item));
    }
    l->item[l->n++] = (struct item){ name, summary ? summary : "", *t };
}

static void add_plugin(struct script *l, struct setup *s, const struct installed_plugin *p)
{
    ath_self *self;
    ath_err e;

    if (p->rc < 0 || !strstr(note_offers(&p->note), "command.") ||
        load_open(s->registry, p, host_table(), &self, &e) < 0)
        return;
    for (uint32_t i = 0; i < self->cap_count; i++) {
        const ath_command *c = &self->cap[i].command;
        struct config_table t = { .section = c->cap.name,
                                  .field = c->field,
                                  .field_size = sizeof(ath_field),
                                  .field_count = c->field_count };
        if (c->cap.kind == ATH_CAP_COMMAND)
            add(l, c->cap.name, c->summary, &t);
    }
}

static void collect(struct script *l, struct setup *s)
{
    const struct cli_command *c;

    for (size_t i = 0; (c = cli_command_at(i)); i++) {
        struct config_table t = cli_table(c);
        add(l, c->name, c->summary, &t);
    }
    for (uint32_t i = 0; i < s->registry->installed.count; i++)
        add_plugin(l, s, &s->registry->installed.plugin[i]);
}

/* ---- words of the tables ---- */

/* '...' for all three shells; a quote inside becomes a blank, no name has one. */
static void put_quoted(struct buf *b, ath_str text)
{
    buf_char(b, '\'');
    for (size_t i = 0; i < text.n; i++)
        buf_char(b, text.p[i] == '\'' || text.p[i] == '\\' || text.p[i] == '\n' ? ' ' : text.p[i]);
    buf_char(b, '\'');
}

typedef void put_option(struct script *l, ath_str spelling, const ath_field *f);

/* Each spelling of each option. */
static void each_option(struct script *l, const struct config_table *t, put_option *put)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        ath_str rest, word;
        ath_field f;
        config_field(t, i, &f);
        if (f.flags & ATH_CF_ARG)
            continue;
        put(l, cli_spelled(&l->arena, f.key), &f);
        rest = str_of(f.alias);
        while (str_next(&rest, ' ', &word))
            if (word.n)
                put(l, word, &f);
    }
}

static void put_word(struct script *l, ath_str spelling, const ath_field *f)
{
    (void)f;
    buf_char(&l->out, ' ');
    buf_str(&l->out, spelling);
}

static void put_if_valued(struct script *l, ath_str spelling, const ath_field *f)
{
    if (f->type != ATH_T_BOOL)
        put_word(l, spelling, f);
}

/* The words that a field may have ("text|json"), blank between; empty: any. */
static ath_str words_of(struct script *l, const ath_field *f)
{
    struct buf b = ARENA_BUF(&l->arena);

    for (const char *c = f->type == ATH_T_STR && f->range ? f->range : ""; *c; c++)
        buf_char(&b, *c == '|' ? ' ' : *c);
    return buf_view(&b);
}

/* What the command's first argument may be, when that is one of some words. */
static ath_str first_words(struct script *l, const struct config_table *t)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        ath_field f;
        config_field(t, i, &f);
        if (f.flags & ATH_CF_ARG)
            return words_of(l, &f);
    }
    return (ath_str){ "", 0 };
}

/* `key` is "COMMAND --option", as the scripts look words up. */
static void put_option_words(struct script *l, const struct item *item)
{
    for (uint32_t i = 0; i < item->table.field_count; i++) {
        ath_str words;
        ath_field f;
        config_field(&item->table, i, &f);
        words = words_of(l, &f);
        if (words.n == 0 || f.flags & ATH_CF_ARG)
            continue;
        buf_printf(&l->out, "    '%s %s') echo ", item->name, cli_spelled(&l->arena, f.key).p);
        put_quoted(&l->out, words);
        buf_lit(&l->out, ";;\n");
    }
}

/* ---- what bash and zsh share: functions of plain shell ---- */

static void put_names(struct script *l)
{
    buf_lit(&l->out, "_athena_commands() {\n  cat <<'END'\n");
    for (size_t i = 0; i < l->n; i++)
        buf_printf(&l->out, "%s\n", l->item[i].name);
    buf_lit(&l->out, "END\n}\n");
}

static void put_lookups(struct script *l)
{
    struct config_table global = cli_table(NULL);

    buf_lit(&l->out, "_athena_options() {\n  case \"$1\" in\n");
    for (size_t i = 0; i < l->n; i++) {
        buf_printf(&l->out, "    '%s') echo '", l->item[i].name);
        each_option(l, &l->item[i].table, put_word);
        buf_lit(&l->out, "';;\n");
    }
    buf_lit(&l->out, "  esac\n  echo '");
    each_option(l, &global, put_word);
    buf_lit(&l->out, "'\n}\n_athena_words() {\n  case \"$1\" in\n");
    for (size_t i = 0; i < l->n; i++) {
        ath_str words = first_words(l, &l->item[i].table);
        put_option_words(l, &l->item[i]);
        if (words.n) {
            buf_printf(&l->out, "    '%s') echo ", l->item[i].name);
            put_quoted(&l->out, words);
            buf_lit(&l->out, ";;\n");
        }
    }
    buf_lit(&l->out, "  esac\n}\n");
}

/* Options that take the next word. One list for all commands: names mean the same everywhere. */
static void put_valued(struct script *l, const char *assign)
{
    struct config_table global = cli_table(NULL);

    buf_printf(&l->out, "%s'", assign);
    each_option(l, &global, put_if_valued);
    for (size_t i = 0; i < l->n; i++)
        each_option(l, &l->item[i].table, put_if_valued);
    buf_lit(&l->out, " '\n");
}

static const char shared_text[] =
    "# Sets command (what is typed of it) and pending (an option that waits for its value).\n"
    "_athena_look() {\n"
    "  command= pending=\n"
    "  local word\n"
    "  for word in \"$@\"; do\n"
    "    if [ -n \"$pending\" ]; then pending=; continue; fi\n"
    "    case \"$word\" in\n"
    "      --*=*) ;;\n"
    "      -*) case \"$_athena_valued\" in *\" $word \"*) pending=$word;; esac;;\n"
    "      *) command=\"${command:+$command }$word\";;\n"
    "    esac\n"
    "  done\n"
    "}\n"
    "# The longest command that the typed words begin with.\n"
    "_athena_chosen() {\n"
    "  local name best=\n"
    "  while IFS= read -r name; do\n"
    "    case \"$1 \" in \"$name \"*) [ ${#name} -gt ${#best} ] && best=$name;; esac\n"
    "  done <<< \"$(_athena_commands)\"\n"
    "  echo \"$best\"\n"
    "}\n"
    "# Words that may come next after those typed.\n"
    "_athena_next() {\n"
    "  local name rest\n"
    "  while IFS= read -r name; do\n"
    "    if [ -z \"$1\" ]; then echo \"${name%% *}\"; continue; fi\n"
    "    case \"$name\" in \"$1 \"*) rest=${name#\"$1 \"}; echo \"${rest%% *}\";; esac\n"
    "  done <<< \"$(_athena_commands)\"\n"
    "}\n"
    "# All that may stand at the cursor, which is at the word $1.\n"
    "_athena_candidates() {\n"
    "  local chosen\n"
    "  chosen=$(_athena_chosen \"$command\")\n"
    "  if [ -n \"$pending\" ]; then _athena_words \"$chosen $pending\"; return; fi\n"
    "  case \"$1\" in -*) _athena_options \"$chosen\"; return;; esac\n"
    "  _athena_next \"$command\"\n"
    "  [ \"$chosen\" = \"$command\" ] && [ -n \"$chosen\" ] && _athena_words \"$chosen\"\n"
    "}\n";

static void put_bash(struct script *l)
{
    buf_lit(&l->out, "# bash completion of athena: source <(athena completion bash)\n");
    put_names(l);
    put_lookups(l);
    put_valued(l, "_athena_valued=");
    buf_z(&l->out, shared_text);
    buf_lit(
        &l->out,
        "_athena() {\n"
        "  local command pending current=${COMP_WORDS[COMP_CWORD]}\n"
        "  _athena_look \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"\n"
        "  COMPREPLY=($(compgen -W \"$(_athena_candidates \"$current\")\" -- \"$current\" || :))\n"
        "}\n"
        "complete -o default -F _athena athena athena_rs athena-cli\n");
}

static void put_zsh(struct script *l)
{
    buf_lit(&l->out, "#compdef athena athena_rs athena-cli\n"
                     "# zsh completion of athena: source <(athena completion zsh)\n");
    put_names(l);
    put_lookups(l);
    put_valued(l, "_athena_valued=");
    buf_z(&l->out, shared_text);
    buf_lit(&l->out, "_athena() {\n"
                     "  local command pending\n"
                     "  local -a found\n"
                     "  _athena_look \"${(@)words[2,CURRENT-1]}\"\n"
                     "  found=(${(u)=$(_athena_candidates \"$words[CURRENT]\")})\n"
                     "  if (( $#found )); then compadd -- $found; else _files; fi\n"
                     "}\n"
                     "(( $+functions[compdef] )) && compdef _athena athena athena_rs athena-cli\n");
}

/* ---- fish ---- */

static void put_fish_option(struct script *l, ath_str spelling, const ath_field *f)
{
    if (str_starts(spelling, "--"))
        buf_printf(&l->out, " -l %.*s", STR_ARG(str_after(spelling, 2)));
    else
        buf_printf(&l->out, " -s %.*s", STR_ARG(str_after(spelling, 1)));
    (void)f;
}

/* One line for each option, all its spellings on it. */
static void put_fish_options(struct script *l, const struct config_table *t, const char *command)
{
    for (uint32_t i = 0; i < t->field_count; i++) {
        struct config_table one = *t;
        ath_field f;
        config_field(t, i, &f);
        if (f.flags & ATH_CF_ARG)
            continue;
        one.field = &f;
        one.field_count = 1;
        one.field_size = sizeof(f);
        buf_lit(&l->out, "complete -c athena");
        if (command)
            buf_printf(&l->out, " -n \"__athena_within '%s'\"", command);
        each_option(l, &one, put_fish_option);
        if (f.type != ATH_T_BOOL)
            buf_lit(&l->out, " -r");
        if (words_of(l, &f).n) {
            buf_lit(&l->out, " -f -a ");
            put_quoted(&l->out, words_of(l, &f));
        }
        buf_lit(&l->out, " -d ");
        put_quoted(&l->out, str_of(f.help));
        buf_char(&l->out, '\n');
    }
}

/* The command's last word, where those before it are typed. */
static void put_fish_name(struct script *l, const struct item *item)
{
    const char *last = strrchr(item->name, ' ');
    size_t before = last ? (size_t)(last - item->name) : 0;

    buf_printf(&l->out, "complete -c athena -f -n \"__athena_at '%.*s'\" -a %s -d ", (int)before,
               item->name, last ? last + 1 : item->name);
    put_quoted(&l->out, str_of(item->summary));
    buf_char(&l->out, '\n');
    for (const char *c = strchr(item->name, ' '); c; c = strchr(c + 1, ' ')) {
        const char *from = c;
        while (from > item->name && from[-1] != ' ')
            from--;
        buf_printf(&l->out, "complete -c athena -f -n \"__athena_at '%.*s'\" -a %.*s\n",
                   from > item->name ? (int)(from - item->name - 1) : 0, item->name,
                   (int)(c - from), from);
    }
    if (first_words(l, &item->table).n) {
        buf_printf(&l->out, "complete -c athena -f -n \"__athena_at '%s'\" -a ", item->name);
        put_quoted(&l->out, first_words(l, &item->table));
        buf_char(&l->out, '\n');
    }
}

static void put_fish(struct script *l)
{
    struct config_table global = cli_table(NULL);

    buf_lit(&l->out, "# fish completion of athena: athena completion fish | source\n");
    put_valued(l, "set -g _athena_valued ");
    buf_lit(&l->out,
            "function __athena_typed\n"
            "  set -l skip 0\n"
            "  set -l typed\n"
            "  for w in (commandline -opc)[2..-1]\n"
            "    if test $skip = 1; set skip 0; continue; end\n"
            "    switch $w\n"
            "      case '--*=*'\n"
            "      case '-*'\n"
            "        string match -q -- \"* $w *\" $_athena_valued; and set skip 1\n"
            "      case '*'\n"
            "        set -a typed $w\n"
            "    end\n"
            "  end\n"
            "  echo \"$typed\"\n"
            "end\n"
            "function __athena_at; test (__athena_typed) = \"$argv[1]\"; end\n"
            "function __athena_within; string match -q -- \"$argv[1]*\" (__athena_typed); end\n");
    put_fish_options(l, &global, NULL);
    for (size_t i = 0; i < l->n; i++) {
        put_fish_name(l, &l->item[i]);
        put_fish_options(l, &l->item[i].table, l->item[i].name);
    }
}

int command_completion(const struct cli *cli)
{
    const struct cli_completion_options *o = cli->options;
    struct setup_options options = setup_options_of(cli);
    struct script l = { .out = BUF_HEAP };
    struct setup s;
    ath_err e;

    options.optional = true;
    (void)setup_open(&s, &options, &e); /* only for the plugins' folder */
    (void)installed_read(&s.registry->installed, s.plugin_dir, &e);
    arena_init(&l.arena);
    collect(&l, &s);
    if (str_is(o->shell, "bash"))
        put_bash(&l);
    else if (str_is(o->shell, "zsh"))
        put_zsh(&l);
    else
        put_fish(&l);
    fwrite(buf_view(&l.out).p, 1, l.out.n, stdout);
    buf_free(&l.out);
    free(l.item);
    arena_free(&l.arena);
    setup_close(&s);
    return 0;
}
