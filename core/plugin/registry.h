/* core/plugin/registry.h - the loaded plugins and what they bring, in the host's own structs.
 *
 * Whatever a plugin's header looked like, here everything has this server's layout: arrays have our
 * stride, members that the plugin did not know are zero. The registry is made on the main thread
 * before the loops serve; afterwards only configurations change (registry_view_set).
 */
#ifndef CORE_PLUGIN_REGISTRY_H
#define CORE_PLUGIN_REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "io/loop.h"
#include "plugin/installed.h"

enum { SELF_MAGIC = 0x5e1f0001, SERVICES_MOST = 16 };

struct registry;

/* How far a plugin is in its life; each includes what is before it. */
enum plugin_stage { STAGE_LOADED = 1, STAGE_INIT, STAGE_STARTED, STAGE_DRAINED, STAGE_DOWN };

/* One capability, copied. `cap.kind` says which member of the union it is. */
struct capability {
    union {
        ath_cap cap;
        ath_routes routes; /* .route: an array of ours */
        ath_sink sink;
        ath_worker worker; /* .queue: one of ours */
        ath_queue queue;
        ath_driver driver;
        ath_command command; /* .field: an array of ours */
        ath_check check;
        ath_schema schema; /* .step: an array of ours */
    };
    ath_self *self;
    const ath_field *gate; /* BOOL field that opens it; NULL: it has none */
    int32_t open;          /* the gate's value; 0 too when its plugin is down */
};

struct ath_self {
    uint32_t magic;
    uint32_t number;  /* place in registry.self, in ath_loop.local, in a view */
    const char *name; /* "sink-file" */
    enum plugin_kind kind;
    enum plugin_stage stage;
    bool optional; /* may fail to load or to start */
    struct registry *registry;
    const char *path;
    const struct note *note;
    void *object; /* of dlopen */
    ath_plugin d; /* the descriptor; .field .metric .error are arrays of ours */
    struct capability *cap;
    uint32_t cap_count;
    uint32_t *metric; /* ids of log/metric.h, by the plugin's own index */
    /* .field and what the host adds for its kind; one struct holds both. Of a sink:
     * log_queue_options_of() finds its queue's settings here. */
    const ath_field *all_field;
    uint32_t all_count;
    size_t config_room; /* bytes of that struct */
    void *state;
    uint32_t loops_up; /* loops whose loop_init has succeeded */
};

/* The configurations of all plugins at one moment; tasks keep the one that they began with. */
struct plugin_view {
    ath_arena arena;
    struct plugin_view *older;
    uint32_t count;
    void *config[]; /* by plugin number */
};

/* Why a plugin is not there. */
struct refusal {
    const char *name;
    ath_err err;
    bool optional; /* said, but no reason not to start */
    struct refusal *next;
};

struct core_service {
    const char *name;
    uint32_t version;
    const void *vtable;
    char word[64]; /* "athena.catalog@1" */
};

struct registry {
    ath_arena arena;
    struct installed installed;
    ath_self **self; /* providers first */
    uint32_t count;
    struct refusal *refused, **refused_last;
    uint32_t fatal; /* refusals that are not optional */
    struct core_service service[SERVICES_MOST];
    uint32_t service_count;
    char core_offers[SERVICES_MOST * 64];
    _Atomic(struct plugin_view *) view;
    ath_loop *const *loop; /* of stage_up() */
    uint32_t loop_count;
};

struct registry *registry_new(void);

/* After stage_down(), when no task is left. What was loaded stays mapped until the process ends:
 * error codes, metrics and late log lines may still point into it. */
void registry_free(struct registry *r);

/* Offers a service of the core; before loading. A plugin that offers the same one is preferred. */
void registry_offer(struct registry *r, const char *name, uint32_t version, const void *vtable);

ath_self *registry_find(const struct registry *r, ath_str name);

/* The i-th capability of a kind over all plugins that are up, providers first; NULL: no more. */
struct capability *registry_cap(const struct registry *r, uint32_t kind, uint32_t i);

/* The command whose words `given` begins with ("backup create" of "backup create --to x"); the
 * longest wins. *ret_words: how many words it takes. */
struct capability *registry_command(const struct registry *r, const char *const *word,
                                    uint32_t words, uint32_t *ret_words);

/* A service for `s`, which must have listed it; NULL: nobody offers it, or its plugin is down. */
const void *registry_service(const ath_self *s, const char *name, uint32_t version);

/* The present configuration of a plugin; of a task, as it began with it. */
const void *registry_config(const ath_self *s);
const void *registry_task_config(ath_task *t, const ath_self *s);
const struct plugin_view *registry_task_view(ath_task *t, const struct registry *r);

/* A view with zeroed configs of the right sizes, to be filled; then either made the present one,
 * which also moves the gates, or dropped. Tasks that run keep theirs. */
struct plugin_view *registry_view_new(const struct registry *r);
struct plugin_view *registry_view_alloc(uint32_t room); /* the same, without configs */
void registry_view_set(struct registry *r, struct plugin_view *v);
void registry_view_drop(struct plugin_view *v);

/* Notes that a plugin is not there. `e` is copied. */
void registry_refuse(struct registry *r, const char *name, bool optional, const ath_err *e);

/* All refusals as text, one or two lines each: for the terminal. */
struct buf;
void registry_print_refusals(const struct registry *r, struct buf *b);

#endif
