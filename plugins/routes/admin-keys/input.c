/* What requests bring, looked at before the database sees it. */
#include "admin_keys.h"

#include <arpa/inet.h>

#include "lib/network.h"

/* ---- ids ---- */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* With dashes or without. */
static bool read_uuid(ath_str s, char ret[37])
{
    size_t at = 0, n = 0;

    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash)
            at += s.n == 36 && at < s.n && s.p[at] == '-';
        else if (at >= s.n || !is_hex(s.p[at]))
            return false;
        else
            n++;
        ret[i] = dash ? '-' : (char)(s.p[at++] | 0x20);
    }
    ret[36] = 0;
    return n == 32 && at == s.n && (s.n == 32 || s.n == 36);
}

static int read_id(ath_req *r, const char *title, const char *words, ath_str *ret, ath_err *e)
{
    char *text = ath_new(ath_arena_of(r), 37);

    if (!read_uuid(ath_param(r, "id"), text))
        return admin_fail(e, "VALIDATION_FAILED", title, "%s", words);
    *ret = str_of(text);
    return 0;
}

int key_id(ath_req *r, ath_str *ret, ath_err *e)
{
    return read_id(r, "Invalid API key id", "The API key id must be a UUID.", ret, e);
}

int right_id(ath_req *r, ath_str *ret, ath_err *e)
{
    return read_id(r, "Invalid API key right id", "The right id must be a UUID.", ret, e);
}

/* ---- times ---- */

/* The digits of a pattern "dddd-dd-dd" into numbers. */
static bool match(ath_str *s, const char *pattern, int *ret)
{
    for (; *pattern; pattern++) {
        char c = s->n ? s->p[0] : 0;
        if (*pattern == 'd' ? c < '0' || c > '9' : c != *pattern)
            return false;
        if (*pattern == 'd')
            *ret = *ret * 10 + (c - '0');
        else
            ret++;
        *s = str_after(*s, 1);
    }
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month < 1 || month > 12 ? 0 : days[month - 1] + (month == 2 && leap);
}

/* ".123" */
static bool skip_fraction(ath_str *s)
{
    size_t n = 0;

    if (!s->n || s->p[0] != '.')
        return true;
    *s = str_after(*s, 1);
    for (; s->n && s->p[0] >= '0' && s->p[0] <= '9'; n++)
        *s = str_after(*s, 1);
    return n > 0;
}

/* "Z", "+02:00"; PostgreSQL knows none beyond 15:59. */
static bool is_zone(ath_str s)
{
    int part[2] = { 0 };

    if (s.n == 1)
        return s.p[0] == 'Z' || s.p[0] == 'z';
    if (!s.n || (s.p[0] != '+' && s.p[0] != '-'))
        return false;
    s = str_after(s, 1);
    return match(&s, "dd:dd", part) && !s.n && part[0] <= 15 && part[1] <= 59;
}

bool is_rfc3339(ath_str s)
{
    int day[3] = { 0 }, time[3] = { 0 };

    if (!match(&s, "dddd-dd-dd", day) || !s.n || (s.p[0] != 'T' && s.p[0] != 't' && s.p[0] != ' '))
        return false;
    s = str_after(s, 1);
    return match(&s, "dd:dd:dd", time) && skip_fraction(&s) && is_zone(s) && day[0] > 0 &&
           day[2] > 0 && day[2] <= days_of(day[0], day[1]) && time[0] <= 23 && time[1] <= 59 &&
           time[2] <= 59;
}

int take_expiry(const struct json *body, ath_str *ret, ath_err *e)
{
    int rc = admin_text(body, "expires_at", ret, e);

    if (rc == 0 && ret->p && !is_rfc3339(*ret))
        return admin_fail(e, "VALIDATION_FAILED", "Invalid timestamp",
                          "'expires_at' must be an RFC3339 timestamp.");
    return rc;
}

/* ---- members ---- */

int take_count(ath_req *r, const struct json *body, const char *name, ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(body, name);
    struct buf b = BUF_ARENA(ath_arena_of(r));
    int64_t n;

    *ret = (ath_str){ NULL, 0 };
    if (!v)
        return 0;
    if (!json_i64(v, &n) || n > INT32_MAX || n < INT32_MIN)
        return ath_raise(e, "malformed_json_payload", "member \"%s\" is no whole number of 32 bits",
                         name);
    buf_i64(&b, n < 0 ? 0 : n);
    *ret = buf_view(&b);
    return 0;
}

static int need(ath_str got, const char *name, ath_err *e)
{
    return got.p ? 0 : ath_raise(e, "malformed_json_payload", "missing member \"%s\"", name);
}

int take_text(const struct json *body, const char *name, ath_str *ret, ath_err *e)
{
    int rc = admin_text(body, name, ret, e);

    return rc < 0 ? rc : need(*ret, name, e);
}

int take_bool(const struct json *body, const char *name, ath_str *ret, ath_err *e)
{
    int rc = admin_bool(body, name, ret, e);

    return rc < 0 ? rc : need(*ret, name, e);
}

int take_client(const struct json *body, ath_str *ret, ath_err *e)
{
    int rc = admin_text(body, "client_name", ret, e);

    if (rc < 0 || !ret->p)
        return rc;
    *ret = str_trim(*ret);
    if (!ret->n)
        return admin_fail(e, "VALIDATION_FAILED", "Invalid client name",
                          "The client name must not be empty.");
    return 0;
}

/* A member that is an array of texts; *ret NULL when it is absent or null. */
static int take_texts(const struct json *body, const char *name, const struct json **ret,
                      ath_err *e)
{
    *ret = json_given(body, name);
    if (!*ret)
        return 0;
    if ((*ret)->type != JSON_ARRAY)
        return ath_raise(e, "malformed_json_payload", "member \"%s\" is no array", name);
    json_each(v, *ret)
    {
        if (v->type != JSON_STRING || v->nul)
            return ath_raise(e, "malformed_json_payload", "member \"%s\" holds more than texts",
                             name);
    }
    return 0;
}

int take_rights(const struct json *body, ath_str *ret, ath_err *e)
{
    enum { MOST = 4096 };
    const struct json *list;
    int rc = take_texts(body, "rights", &list, e);

    if (rc == 0 && list && list->count > MOST)
        return ath_raise(e, "VALIDATION_FAILED", "a key has at most %d rights, not %u", MOST,
                         list->count);
    *ret = rc == 0 && list ? list->raw : (ath_str){ NULL, 0 };
    return rc;
}

/* ---- rights ---- */

static size_t identifier_length(ath_str s)
{
    size_t n = 0;

    while (n < s.n && (s.p[n] == '_' || (s.p[n] >= 'a' && s.p[n] <= 'z') ||
                       (s.p[n] >= 'A' && s.p[n] <= 'Z') || (n && s.p[n] >= '0' && s.p[n] <= '9')))
        n++;
    return n;
}

/* Names of what the server itself does are declared, so that a slip of the pen is no new right. */
static bool is_reserved(ath_str resource)
{
    return str_is(resource, "gateway") || str_is(resource, "management") ||
           str_is(resource, "billing");
}

bool is_table_right(ath_str name)
{
    ath_str rest = name;

    for (int parts = 0; parts < 2; parts++) {
        size_t n = identifier_length(rest);
        if (!n || n == rest.n || rest.p[n] != '.' || (!parts && is_reserved(str_from(rest.p, n))))
            return false;
        rest = str_after(rest, n + 1);
        if (str_is(rest, "read") || str_is(rest, "write") || str_is(rest, "delete") ||
            str_is(rest, "*"))
            return true;
    }
    return false;
}

/* ---- addresses ---- */

/* "255.255.0.0" as the number of its bits, -1: it is no mask. */
static int mask_bits(ath_str text)
{
    uint8_t mask[16];
    uint32_t bits, m;

    if (str_find(text, ':') < text.n || !address_read(text, mask))
        return -1;
    m = (uint32_t)mask[12] << 24 | (uint32_t)mask[13] << 16 | (uint32_t)mask[14] << 8 | mask[15];
    bits = m ? 32 - (uint32_t)__builtin_ctz(m) : 0;
    return m == (bits ? UINT32_MAX << (32 - bits) : 0) ? (int)bits : -1;
}

/* A network, or an address with a netmask of four numbers behind it. */
static bool read_any(ath_str text, struct network *ret)
{
    size_t slash = str_find(text, '/');
    int bits = -1;

    if (network_read(text, ret))
        return true;
    if (slash < text.n && str_find(text, ':') == text.n)
        bits = mask_bits(str_after(text, slash + 1));
    if (bits < 0 || !address_read(str_from(text.p, slash), ret->address))
        return false;
    ret->bits = (uint8_t)(bits + 96);
    return true;
}

static void mask_host(struct network *net)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = net->bits > i * 8 ? net->bits - i * 8u : 0;
        if (kept < 8)
            net->address[i] &= (uint8_t)(0xFF00u >> kept);
    }
}

static void put_network(struct buf *b, const struct network *net)
{
    static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
    bool v4 = net->bits >= 96 && memcmp(net->address, mapped, sizeof(mapped)) == 0;
    char text[INET6_ADDRSTRLEN];

    inet_ntop(v4 ? AF_INET : AF_INET6, net->address + (v4 ? 12 : 0), text, sizeof(text));
    buf_z(b, text);
    buf_char(b, '/');
    buf_u64(b, v4 ? net->bits - 96u : net->bits);
}

int read_network(ath_req *r, ath_str text, ath_str *ret, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    struct network net;

    if (!read_any(text, &net))
        return admin_fail(e, "VALIDATION_FAILED", "Invalid IP address or CIDR",
                          "'%.*s' is not a valid IP address or CIDR block.", STR_ARG(text));
    mask_host(&net);
    put_network(&b, &net);
    *ret = buf_view(&b);
    return 0;
}

int take_addresses(ath_req *r, const struct json *body, const char *name, ath_str *ret,
                   uint32_t *ret_n, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    const struct json *list;
    int rc = take_texts(body, name, &list, e);

    *ret_n = 0;
    buf_char(&b, '[');
    if (rc == 0 && list)
        json_each(v, list)
        {
            ath_str text = str_trim(v->text), network;
            if (!text.n)
                continue;
            if ((rc = read_network(r, text, &network, e)) < 0)
                return rc;
            if ((*ret_n)++)
                buf_char(&b, ',');
            buf_json(&b, network);
        }
    buf_char(&b, ']');
    *ret = buf_view(&b);
    return rc;
}
