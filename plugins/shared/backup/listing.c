#include "backup/listing.h"

#include <string.h>

/* ---- the list ---- */

static uint32_t major_of(ath_str version)
{
    uint64_t n = 0;
    size_t i = 0;

    version = str_trim(version);
    while (i < version.n && version.p[i] >= '0' && version.p[i] <= '9')
        i++;
    return str_u64(str_from(version.p, i), &n) && n < 1000 ? (uint32_t)n : 0;
}

static void comment(struct listing *l, ath_str line)
{
    static const char from[] = "Dumped from database version:", by[] = "Dumped by pg_dump version:";

    line = str_trim(str_after(line, 1));
    if (str_starts(line, from))
        l->from_major = major_of(str_after(line, strlen(from)));
    else if (str_starts(line, by))
        l->by_major = major_of(str_after(line, strlen(by)));
    else if (str_is(line, "Format: DIRECTORY"))
        l->directory = true;
}

/* "3340; 0 16385 TABLE DATA public items postgres": number, two OIDs, what it is, whose. */
static void entry(struct listing *l, ath_str line)
{
    ath_str rest = line, piece;

    for (int i = 0; i < 3; i++)
        if (!str_next(&rest, ' ', &piece))
            return;
    l->entries++;
    if (str_starts(rest, "TABLE DATA "))
        l->loads++;
    else if (str_starts(rest, "TABLE ") && !str_starts(rest, "TABLE ATTACH "))
        l->tables++;
}

void listing_line(struct listing *l, ath_str line)
{
    if (line.n && line.p[0] == ';')
        comment(l, line);
    else if (line.n && line.p[0] >= '0' && line.p[0] <= '9')
        entry(l, line);
}

/* ---- errors ---- */

static bool has(ath_str s, const char *part)
{
    return s.n >= strlen(part) && memmem(s.p, s.n, part, strlen(part)) != NULL;
}

/* The words behind "ERROR:  " of the server. */
static bool harmless(ath_str words)
{
    if (has(words, " already exists"))
        return str_starts(words, "schema \"") || str_starts(words, "extension \"");
    return str_starts(words, "must be owner of extension ") ||
           str_starts(words, "must be owner of schema public") ||
           str_is(words, "unrecognized configuration parameter \"transaction_timeout\"");
}

enum listing_said listing_said(ath_str line)
{
    static const char refused[] = "could not execute query: ERROR:";
    const char *at;

    if (has(line, "processing data for table "))
        return SAID_LOADING;
    if (!has(line, ": error: ") && !has(line, ": fatal: "))
        return SAID_NOISE;
    at = memmem(line.p, line.n, refused, strlen(refused));
    if (!at)
        return SAID_ERROR;
    at += strlen(refused);
    return harmless(str_trim(str_from(at, (size_t)(line.p + line.n - at)))) ? SAID_HARMLESS
                                                                            : SAID_ERROR;
}
