/* Where requests came from, by what trusted proxies say of their callers: the sums that the sink of
 * rows keeps for each address, those first that came last.
 */
#include "admin_clients.h"

static const struct admin_member members[] = {
    { "address", ADMIN_TEXT },
    { "total_requests", ADMIN_INT },
    { "successful_requests", ADMIN_INT },
    { "failed_requests", ADMIN_INT },
    { "total_cached_requests", ADMIN_INT },
    { "first_seen_at", ADMIN_TIME },
    { "last_seen_at", ADMIN_TIME },
};

static const char addresses_sql[] =
    "select a.ipv4_address, coalesce(s.total_requests, 0), coalesce(s.successful_requests, 0), "
    "coalesce(s.failed_requests, 0), coalesce(s.total_cached_requests, 0), " ADMIN_UTC(
        a.first_seen_at) ", " ADMIN_UTC(a.last_seen_at) " from ip_addresses a "
                                                        "left join ip_addresses_statistics s on "
                                                        "s.ip_address_id = a.id "
                                                        "order by a.last_seen_at desc, a.id desc "
                                                        "limit $1::bigint offset $2::bigint";

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_page *page = d->arg;
    struct buf b = admin_answer(t, "Listed addresses");

    (void)e;
    buf_json_int(&b, "limit", page->limit);
    buf_json_int(&b, "offset", page->offset);
    buf_json_key(&b, "addresses");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(members));
    return admin_reply(t, 200, &b);
}

int addresses_list(ath_req *r, ath_err *e)
{
    struct admin_page *page = ath_new(ath_arena_of(r), sizeof(*page));
    ath_str *param = ath_new(ath_arena_of(r), 2 * sizeof(*param));
    int rc = admin_page(r, 100, 1000, page, e);

    if (rc < 0)
        return rc;
    param[0] = page->limit_text;
    param[1] = page->offset_text;
    return admin_read(r, ADMIN_LOGGING, "Failed to list addresses", addresses_sql, param, 2, listed,
                      page, e);
}
