/* core/plugin/installed.h - which plugins lie in the folder, known from their notes.
 *
 * A plugin's name is its file's name without ".so": kind and name, "sink-file". Nothing is loaded.
 */
#ifndef CORE_PLUGIN_INSTALLED_H
#define CORE_PLUGIN_INSTALLED_H

#include "base/arena.h"
#include "plugin/note.h"

enum plugin_kind { /* bits, so that a role can say which it wants */
                   PLUGIN_ROUTES = 1,
                   PLUGIN_SINK = 2,
                   PLUGIN_WORKER = 4,
                   PLUGIN_DRIVER = 8,
};

struct installed_plugin {
    const char *name, *path;
    enum plugin_kind kind; /* 0: the name begins with none */
    struct note note;
    int rc; /* of looking at the file; < 0: `why` has the words */
    ath_err *why;
};

struct installed {
    const char *dir;
    struct installed_plugin *plugin; /* by name */
    uint32_t count;
    ath_arena arena;
};

/* The folder to search: `given` (the configuration's), else the build tree's when the running
 * program lies in the build tree, else the one that was installed with the program, wherever that
 * installation is now, else the one that was meant when it was built. Lives as long as the process;
 * control thread only. */
const char *plugin_dir(const char *given);

/* Looks at every *.so of the folder. A folder that cannot be read is refused; a plugin that cannot
 * be used is listed with its reason. */
int installed_read(struct installed *in, const char *dir, ath_err *e);
void installed_free(struct installed *in);

const struct installed_plugin *installed_find(const struct installed *in, ath_str name);

/* Whose note offers `word` ("command.backup", "storage.s3@1"); NULL: nobody's. */
const struct installed_plugin *installed_offering(const struct installed *in, ath_str word);

/* "sink-file" is PLUGIN_SINK; 0: none of the kinds. */
enum plugin_kind plugin_kind_of(ath_str name);
const char *plugin_kind_name(enum plugin_kind kind); /* "sink" */

#endif
