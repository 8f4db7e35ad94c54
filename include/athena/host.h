/* athena/host.h - the host's table, the plugin's descriptor, its note, and the entry.
 *
 * How a plugin is loaded: the host reads the note (without running any of the file's code), checks
 * file, layout, versions, name and needs, then loads the object, calls the entry once and copies
 * the descriptor. Then, for all plugins in the order of their needs, providers first:
 *
 *     check      cross-field rules of the config            also run by `athena check-config`
 *     init       makes the shared state                     main thread
 *     loop_init  makes the state of one loop                on each loop's thread
 *     start      every plugin's init has been run           main thread
 *     ...        serving
 *     drain      no new work; in-flight work still finishes main thread, needers first
 *     loop_fini  after the last task                        on each loop's thread
 *     fini       gives `state` back                         main thread, needers first
 *
 * A stage that fails ends the start: what was done is undone in reverse. `fini` runs when `init`
 * succeeded, `loop_fini` on each loop whose loop_init succeeded. The host counts what is in flight;
 * a plugin only closes what it opened itself. Code is never unloaded while the process runs.
 */
#ifndef ATHENA_HOST_H
#define ATHENA_HOST_H

#include <athena/abi.h>
#include <athena/config.h>
#include <athena/err.h>
#include <athena/http.h>
#include <athena/job.h>
#include <athena/log.h>
#include <athena/pg.h>
#include <athena/stream.h>
#include <athena/task.h>

/* clang-format off */

/* What a plugin offers to others. cap.name is the service ("storage.s3"), and its vtable is
 * described by a header in athena/service/. The note's offers say "storage.s3@1" too. */
typedef struct {
    ath_cap     cap;
    uint32_t    version, pad;    /* a table whose meaning changed has another; appending does not */
    const void *vtable;          /* starts with `size`, like everything else; lives on */
} ath_driver;

/* One small table per subject; each lives as long as the process. A table that this server does not
 * have is NULL: a plugin that can do without asks ATH_HAS(ath_host_, job); a member that it does
 * not have likewise. */
typedef struct {
    uint32_t size;
    uint16_t abi_major, abi_minor;       /* of the host */
    const char *version;                 /* of the server, "0.1.0" */
    const ath_err_api    *err;
    const ath_log_api    *log;
    const ath_mem_api    *mem;
    const ath_loop_api   *loop;
    const ath_task_api   *task;
    const ath_stream_api *stream;
    const ath_req_api    *req;
    const ath_pg_api     *pg;
    const ath_job_api    *job;
    /* An outgoing request: d->status, d->header, d->bytes or d->stream, whose reader sets the pace. A
     * status of 400 and more is no failure; ATH_E_UPSTREAM: no answer; ATH_E_DENIED: an address that
     * flags refuse; ATH_E_TOO_LARGE: over max_body. What says how a connection carries the bytes
     * (content-length, connection ...) is no header that may be given. */
    ATH_OP(fetch, const ath_fetch *f);
    /* The table of a service that the plugin's note lists in its needs; from `init` on, on any
     * thread. NULL: nobody offers it (`?need`), or it was not listed. */
    const void *(*service)(ath_self *s, const char *name, uint32_t version);
    /* What the process knows, as JSON in the task's arena: "routes", "plugins", "pools", "metrics"
     * (text), "config" ... Empty: unknown. */
    ath_str (*inspect)(ath_task *t, const char *what);
} ath_host;

/* ---- the descriptor ---- */

/* Static data of the plugin, filled by ATH_PLUGIN. The first four members are frozen. */
typedef struct {
    uint32_t size;
    uint16_t abi_major, abi_minor; /* these two and `layout` guard the rest: keep first */
    uint32_t layout, flags;      /* flags: 0 */
    const char *name;            /* as in the file's name and the config: "sink-file" */
    const char *version;         /* "1.0.0" */
    const char *needs, *offers;  /* as in the note */
    const char *summary;         /* one line */
    const ath_field *field;      /* NULL: takes no config */
    uint32_t field_size, field_count;
    size_t   config_size;        /* of the struct that the fields fill */
    const ath_metric *metric;
    uint32_t metric_size, metric_count;
    const ath_error *error;
    uint32_t error_size, error_count;
    const ath_cap *const *cap;   /* ..., NULL */
    /* Rules between fields. May run without init, and more than once. */
    int  (*check)(const void *config, ath_err *e);
    /* `config` is valid until fini. *state is given to everything below. */
    int  (*init)(ath_self *s, const void *config, void **state, ath_err *e);
    int  (*loop_init)(ath_loop *l, void *state, void **local, ath_err *e);   /* on l's thread */
    int  (*start)(void *state, ath_err *e);                      /* after every init */
    void (*drain)(void *state);  /* no new work; in-flight work still finishes */
    void (*loop_fini)(ath_loop *l, void *state, void *local);
    void (*fini)(void *state);
} ath_plugin;

/* The entry: keeps `host` and `self`, returns the descriptor. It does nothing else: no thread, no
 * allocation, no call of the host. */
typedef const ath_plugin *ath_entry_fn(const ath_host *host, ath_self *self);

/* The ELF note, read before dlopen; frozen. Owner "Athena", type 1; then layout, major, minor and
 * four texts, each with its NUL: name, version, needs, offers. */
#define ATH_NOTE_(text_) \
    __attribute__((used, section(".note.athena"), aligned(4))) static const struct { \
        uint32_t namesz, descsz, type; \
        char     owner[8]; \
        uint32_t layout; \
        uint16_t major, minor; \
        char     text[sizeof(text_)]; \
    } ath_note_ = { 7, 8 + sizeof(text_), 1, "Athena", \
                    ATH_LAYOUT, ATH_ABI_MAJOR, ATH_ABI_MINOR, text_ }

/* The host's table and the plugin's own handle, for all files of a plugin. */
extern const ath_host *ath_host_ __attribute__((visibility("hidden")));
extern ath_self       *ath_self_ __attribute__((visibility("hidden")));

/* In exactly one file of a plugin: name, version, needs and offers as string literals, then members
 * of ath_plugin. Needs are services between blanks, "storage.s3@1 ?athena.cache@1" (`?`: may be
 * absent); offers are services and "command.NAME". */
#define ATH_PLUGIN(name_, version_, needs_, offers_, ...) \
    ATH_NOTE_(name_ "\0" version_ "\0" needs_ "\0" offers_); \
    const ath_host *ath_host_; \
    ath_self *ath_self_; \
    ATH_API const ath_plugin *ATH_ENTRY(const ath_host *host, ath_self *self); \
    const ath_plugin *ATH_ENTRY(const ath_host *host, ath_self *self) \
    { \
        static const ath_plugin plugin = { \
            .size = sizeof(ath_plugin), .abi_major = ATH_ABI_MAJOR, .abi_minor = ATH_ABI_MINOR, \
            .layout = ATH_LAYOUT, .name = (name_), .version = (version_), .needs = (needs_), \
            .offers = (offers_), __VA_ARGS__ }; \
        ath_host_ = host; \
        ath_self_ = self; \
        return &plugin; \
    } \
    _Static_assert(1, "")

/* clang-format on */
#endif
