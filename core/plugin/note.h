/* core/plugin/note.h - what a plugin says about itself, read without running any of it.
 *
 * dlopen() already runs a file's constructors, so what can be refused is refused before: the note
 * is bytes of an ELF file, found through its program headers. The file is foreign: every size and
 * offset in it is checked against bounds of ours and against the file's own length.
 */
#ifndef CORE_PLUGIN_NOTE_H
#define CORE_PLUGIN_NOTE_H

#include "base/err.h"

enum { NOTE_TEXT = 4096 }; /* most bytes of the four texts together */

struct note {
    uint32_t layout;
    uint16_t major, minor;
    char text[NOTE_TEXT]; /* the four texts, each with its NUL */
    uint16_t version_at, needs_at, offers_at;
};

static inline const char *note_name(const struct note *n)
{
    return n->text;
}

static inline const char *note_version(const struct note *n)
{
    return n->text + n->version_at;
}

static inline const char *note_needs(const struct note *n)
{
    return n->text + n->needs_at;
}

static inline const char *note_offers(const struct note *n)
{
    return n->text + n->offers_at;
}

/* Refuses (ATH_E_ABI, words that begin with the file's name) what is no regular file, what others
 * may write, what is no ELF object of this machine, and what has no or a damaged note. */
int note_read(const char *path, struct note *ret, ath_err *e);

/* Whether layout and version of the note fit this server. `path` is for the words. */
int note_fits(const char *path, const struct note *n, ath_err *e);

#endif
