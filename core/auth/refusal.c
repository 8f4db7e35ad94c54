/* The event of a refusal: texts on the stack, copied once by the log. */
#include "auth/refusal.h"

#include <time.h>

#include "base/clock.h"
#include "log/log.h"

enum { ROUTE_MOST = 512, TIME_ROOM = 40 };

bool refusal_query_route(const struct req *r)
{
    return r->match.route && strcmp(r->match.route->def.path, "/gateway/query") == 0;
}

bool refusal_defer_asked(const struct req *r)
{
    static const char *const yes[] = { "1", "true", "TRUE", "yes", "YES" };
    ath_str given = req_find(r, ATH_S("x-athena-defer"));

    for (size_t i = 0; i < ATH_COUNT(yes); i++)
        if (str_is(given, yes[i]))
            return true;
    return false;
}

/* The pattern, so that there are few of them; what matched none is cut (D-42). */
static ath_str route_of(const struct req *r)
{
    ath_str s = r->match.route ? str_of(r->match.route->def.path) : req_asked_path(r);

    return str_from(s.p, s.n < ROUTE_MOST ? s.n : ROUTE_MOST);
}

static ath_str now_text(char room[TIME_ROOM])
{
    uint64_t ns = clock_wall_ns();
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm tm;
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(room, TIME_ROOM, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(room + n, TIME_ROOM - n, ".%06uZ", (unsigned)(ns % 1000000000u / 1000));
    return str_from(room, n);
}

static const ath_str none = { NULL, 0 };

static ath_str text_or_null(ath_str s)
{
    return s.n ? s : none;
}

static ath_str truth(bool yes)
{
    return yes ? ATH_S("true") : ATH_S("false");
}

struct numbers {
    char room[4][STR_U64_ROOM];
};

static ath_str number_if(bool there, uint64_t v, char room[STR_U64_ROOM])
{
    return there ? str_from_u64(v, room) : none;
}

#define FACT(name, text, form)                                                                     \
    {                                                                                              \
        ATH_S(name), text, form, 0                                                                 \
    }

void refusal_tell(const struct req *r, const struct refusal *f)
{
    static const ath_str name = { "gateway_admission", 17 };
    uint64_t bytes;
    bool sized = str_u64(req_find(r, ATH_S("content-length")), &bytes);
    char size[STR_U64_ROOM], when[TIME_ROOM];
    struct numbers n;

    if (!log_takes_row(name))
        return;
    ath_fact fact[] = {
        FACT("created_at", now_text(when), ATH_V_TEXT),
        FACT("event_id", str_from(r->id, UUID_TEXT - 1), ATH_V_TEXT),
        FACT("method", r->method, ATH_V_TEXT),
        FACT("route", route_of(r), ATH_V_TEXT),
        FACT("client_name", text_or_null(r->client_name), ATH_V_TEXT),
        FACT("request_bytes", number_if(sized, bytes, size), ATH_V_NUMBER),
        FACT("defer_requested", truth(refusal_defer_asked(r)), ATH_V_BOOL),
        FACT("is_query_route", truth(refusal_query_route(r)), ATH_V_BOOL),
        FACT("decision", str_of(f->decision), ATH_V_TEXT),
        FACT("reason", str_of(f->reason), ATH_V_TEXT),
        FACT("retry_after_seconds", str_from_u64(f->retry_after_s, n.room[0]), ATH_V_NUMBER),
        FACT("window_seconds", number_if(f->window_s, f->window_s, n.room[1]), ATH_V_NUMBER),
        FACT("global_limit_per_window", number_if(f->window_s, f->global, n.room[2]), ATH_V_NUMBER),
        FACT("per_client_limit_per_window", number_if(f->window_s, f->per_client, n.room[3]),
             ATH_V_NUMBER),
        FACT("meta", f->meta, ATH_V_JSON),
    };
    ath_event e = { .size = sizeof(e),
                    .level = ATH_INFO,
                    .flags = ATH_EV_ROW,
                    .source = ATH_S("athena::admission"),
                    .name = name,
                    .request_id = str_from(r->id, UUID_TEXT - 1),
                    .trace_id = r->trace_id,
                    .fact = fact,
                    .fact_count = ATH_COUNT(fact) };

    log_event(&e);
}
