/* plugins/shared/dataplane/route.h - small things that every route of rows does. */
#ifndef PLUGINS_SHARED_DATAPLANE_ROUTE_H
#define PLUGINS_SHARED_DATAPLANE_ROUTE_H

#include <athena/service/cache.h>
#include <athena/service/catalog.h>

#include "lib/jsonread.h"
#include "lib/text.h"

/* Facts of the request's event. */
static inline void dp_note(ath_req *r, const char *key, ath_str value, uint32_t form)
{
    ath_host_->req->note(r, &(ath_fact){ str_of(key), value, form, 0 });
}

static inline void dp_note_number(ath_req *r, const char *key, uint64_t v)
{
    char room[STR_U64_ROOM];

    dp_note(r, key, str_from_u64(v, room), ATH_V_NUMBER);
}

/* The request's body as JSON; refused when it is none. */
int dp_body(ath_req *r, const char *code, const struct json **ret, ath_err *e);

/* What a plugin of such routes needs, in its init. *ret_cache is NULL when nobody keeps answers. */
int dp_services(ath_self *s, const ath_catalog **ret_catalog, const ath_cache **ret_cache,
                ath_err *e);

#endif
