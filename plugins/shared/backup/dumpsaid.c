#include "backup/dumpsaid.h"

#include <stdlib.h>

static bool holds(ath_str s, const char *part)
{
    return s.n && memmem(s.p, s.n, part, strlen(part)) != NULL;
}

/* The end of a text that is too long, from the beginning of a character on (D-48). */
static ath_str tail(ath_str s, size_t most)
{
    size_t from = s.n > most ? s.n - most : 0;

    while (from && from < s.n && ((unsigned char)s.p[from] & 0xc0) == 0x80)
        from++;
    return str_after(s, from);
}

static void keep(struct dumpsaid_lines *l, ath_str line)
{
    char *to = l->text[l->n++ % DUMPSAID_LINES];

    line = tail(line, DUMPSAID_LINE - 1);
    memcpy(to, line.p, line.n);
    to[line.n] = 0;
    utf8_mend(to, line.n);
}

static uint64_t orphan_of(ath_str line)
{
    static const char before[] = "role with OID ";
    const char *at = line.n ? memmem(line.p, line.n, before, sizeof(before) - 1) : NULL;
    char digits[24] = "";
    size_t n = 0;

    if (!at || !holds(line, "does not exist"))
        return 0;
    for (at += sizeof(before) - 1; at < line.p + line.n && n < sizeof(digits) - 1; at++) {
        if (*at < '0' || *at > '9')
            break;
        digits[n++] = *at;
    }
    return strtoull(digits, NULL, 10);
}

static bool says_ssl(ath_str line)
{
    return holds(line, "no encryption") || holds(line, "SSL off") || holds(line, "SSL required") ||
           holds(line, "sslmode=require") || holds(line, "SSL connection is required") ||
           holds(line, "SSL/TLS required");
}

void dumpsaid_line(struct dumpsaid *s, ath_str line)
{
    line = str_trim(line);
    if (!line.n || memchr(line.p, 0, line.n))
        return;
    if (holds(line, "could not find referenced extension")) {
        s->extensions++;
        return;
    }
    if (!s->orphan)
        s->orphan = orphan_of(line);
    s->wants_ssl |= says_ssl(line);
    s->disk_full |= holds(line, "No space left on device") || holds(line, "Disk quota exceeded");
    if (holds(line, "warning: "))
        keep(&s->warnings, line);
    else if (holds(line, "error: ") || holds(line, "fatal: ") || holds(line, "FATAL: "))
        keep(&s->errors, line);
    else
        keep(&s->others, line);
}

static void put_lines(struct buf *b, const char *name, const struct dumpsaid_lines *l)
{
    uint32_t from = l->n > DUMPSAID_LINES ? l->n - DUMPSAID_LINES : 0;

    if (!l->n)
        return;
    buf_printf(b, " %s: ", name);
    if (from)
        buf_printf(b, "(%u before) ", from);
    for (uint32_t i = from; i < l->n; i++)
        buf_printf(b, "%s%s", i > from ? " | " : "", l->text[i % DUMPSAID_LINES]);
}

void dumpsaid_summary(const struct dumpsaid *s, int status, int signal, struct buf *b)
{
    struct buf said = BUF_HEAP;
    ath_str end;

    if (signal)
        buf_printf(b, "pg_dump was ended by signal %d.", signal);
    else
        buf_printf(b, "pg_dump exited with code %d.", status);
    if (s->extensions)
        buf_printf(b, " Suppressed %u missing-extension warnings.", s->extensions);
    put_lines(&said, "Warnings", &s->warnings);
    put_lines(&said, "Errors", &s->errors);
    if (!s->errors.n)
        put_lines(&said, "Output", &s->others);
    if (s->orphan)
        buf_printf(
            &said,
            " Detected orphaned role reference (OID %llu): something is owned by a role that "
            "does not exist any more; recovery_strategy repair_missing_role_oids gives it to "
            "the role of the backup.",
            (unsigned long long)s->orphan);
    end = tail(buf_view(&said), DUMPSAID_MOST - b->n);
    buf_str(b, end);
    buf_free(&said);
}
