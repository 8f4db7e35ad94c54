/* athena/abi.h - what everything else stands on: versions, layout, texts, handles, capability
 * heads. */
#ifndef ATHENA_ABI_H
#define ATHENA_ABI_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */

/* The version of this header. A host loads a plugin whose major is its own and whose minor is not
 * above its own. A plugin that was built with a newer header but can live on an older host is
 * compiled with -DATH_ABI_MINOR=2u, and asks ATH_HAS before it uses what came later. */
#define ATH_ABI_MAJOR 1u
#ifndef ATH_ABI_MINOR
#define ATH_ABI_MINOR 0u
#endif

/* The only exported symbol of a plugin; the major is in its name. */
#define ATH_ENTRY     athena_plugin_v1

/* Sizes that decide how structs lie in memory: pointer, size_t and int, one byte each from the
 * lowest. 0x040808 on 64-bit Linux. Both sides must have the same. */
#define ATH_LAYOUT    ((uint32_t)(sizeof(void *) | sizeof(size_t) << 8 | sizeof(int) << 16))

#define ATH_API       __attribute__((visibility("default")))
#define ATH_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define ATH_COUNT(a)  (sizeof(a) / sizeof((a)[0]))

/* Fills the three members that describe an array f: pointer, stride and count. */
#define ATH_ARRAY(f, a) .f = (a), .f##_size = sizeof((a)[0]), .f##_count = ATH_COUNT(a)

/* Does the peer's struct reach as far as `m`, and is it set? */
#define ATH_HAS(p, m) \
    ((p) && (p)->size >= offsetof(__typeof__(*(p)), m) + sizeof((p)->m) && (p)->m)

/* Handles: made, owned and freed by the host; a plugin passes them on and never looks inside. */
typedef struct ath_self    ath_self;    /* the loaded plugin; lives as long as the process */
typedef struct ath_loop    ath_loop;    /* one event-loop thread */
typedef struct ath_task    ath_task;    /* what operations hang on; it outlives them all */
typedef struct ath_task    ath_req;     /* a task that ends with an HTTP reply */
typedef struct ath_task    ath_job;     /* a task that ends with a job's result */
typedef struct ath_rows    ath_rows;    /* one result set */
typedef struct ath_stream  ath_stream;  /* bytes in order, bounded; one writer, one reader */
typedef struct ath_session ath_session; /* a database connection that one task holds */
typedef struct ath_err     ath_err;     /* where a failure is described */
typedef struct ath_arena   ath_arena;   /* memory freed all at once with its owner */
struct uv_loop_s;                       /* only for plugins that link libuv themselves */

/* Text by pointer and length; frozen. It never owns. What the host gives ends in a NUL that `n`
 * does not count; what a plugin gives need not. p NULL means "none" (of a value: SQL null), n 0
 * with a pointer means empty; where the difference does not matter either will do. */
typedef struct { const char *p; size_t n; } ath_str;

typedef struct { ath_str name, value; } ath_pair;            /* frozen; header, argument, setting */
typedef struct { ath_str schema, table, action; } ath_right; /* frozen; see ath_req_api.allow */

#define ATH_S(lit)  ((ath_str){ "" lit, sizeof(lit) - 1 })   /* a literal as an ath_str */

typedef void ath_fn(void *arg);

/* Capabilities: what a plugin brings. Each kind has a struct of its own whose first member is an
 * ath_cap; the descriptor points at these heads. */
enum {
    ATH_CAP_ROUTES = 1,          /* ath_routes  (route.h)    HTTP routes */
    ATH_CAP_SINK,                /* ath_sink    (sink.h)     where events go */
    ATH_CAP_WORKER,              /* ath_worker  (job.h)      runs jobs or ticks */
    ATH_CAP_QUEUE,               /* ath_queue   (job.h)      a table of jobs */
    ATH_CAP_DRIVER,              /* ath_driver  (host.h)     a service for other plugins */
    ATH_CAP_COMMAND,             /* ath_command (command.h)  athena NAME ... */
    ATH_CAP_CHECK,               /* ath_check   (schema.h)   athena doctor, /health */
    ATH_CAP_SCHEMA               /* ath_schema  (schema.h)   tables that it needs */
};

/* The frozen head of each. size: the writer's sizeof of the whole capability. name: unique among
 * the plugin's capabilities of that kind; what else it means is said at each. */
typedef struct { uint32_t size, kind; const char *name; } ath_cap;
#define ATH_CAP(type, kind_, name_) .cap = { sizeof(type), (kind_), (name_) }

/* clang-format on */
#endif
