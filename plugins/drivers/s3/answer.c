/* What a store says instead of an answer:
 *
 *     <Error><Code>NoSuchKey</Code><Message>...</Message> ... </Error>
 *
 * with a status that says most of it; to HEAD the status alone. Its words are shown as far as they
 * hold nothing that could be used: no link, no signature, no key.
 */
#include "driver.h"
#include "lib/json.h"
#include "s3/xml.h"

enum { MESSAGE_SHOWN = 200, CODE_SHOWN = 64 };

static bool has(ath_str s, const char *word)
{
    return s.n && memmem(s.p, s.n, word, strlen(word)) != NULL;
}

static bool is_harmless(ath_str s)
{
    static const char *const words[] = { "://", "ignature=", "AWS4-HMAC", "Credential" };

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (has(s, words[i]))
            return false;
    return str_utf8(s) && !str_has_control(s);
}

/* At most so many bytes, at the border of a character. */
static ath_str shown(ath_str s, size_t most)
{
    if (s.n <= most)
        return s;
    while (most && ((unsigned char)s.p[most] & 0xC0) == 0x80)
        most--;
    return str_from(s.p, most);
}

/* Refusals that another try may not meet. */
static bool is_passing(int32_t status, ath_str code)
{
    static const char *const codes[] = { "RequestTimeout",
                                         "SlowDown",
                                         "InternalError",
                                         "ServiceUnavailable",
                                         "Throttling",
                                         "BadDigest",
                                         "XAmzContentSHA256Mismatch",
                                         "OperationAborted" };

    if (status == 501)
        return false;
    if (status >= 500 || status == 429 || status == 408)
        return true;
    for (size_t i = 0; i < ATH_COUNT(codes); i++)
        if (str_is(code, codes[i]))
            return true;
    return false;
}

void refusal_read(struct refusal *r, int32_t status, ath_str body, struct buf *scratch)
{
    struct xml x = xml_of(body, scratch);
    struct buf texts = { .alloc = scratch->alloc, .arena = scratch->arena };
    size_t code = 0;

    *r = (struct refusal){ .status = status, .code = ATH_S(""), .message = ATH_S("") };
    while (xml_next(&x)) {
        if (!x.is_end || x.depth != 2)
            continue;
        if (str_is(x.name, "Code") && code == 0 && is_harmless(x.text)) {
            buf_str(&texts, shown(x.text, CODE_SHOWN));
            code = texts.n;
        } else if (str_is(x.name, "Message") && code && is_harmless(x.text)) {
            buf_str(&texts, shown(x.text, MESSAGE_SHOWN));
            break;
        }
    }
    buf_reset(scratch);
    buf_str(scratch, buf_view(&texts));
    buf_free(&texts);
    r->code = str_from(buf_view(scratch).p, code);
    r->message = str_after(buf_view(scratch), code);
    r->again = is_passing(status, r->code);
}

static int class_of(const struct refusal *r)
{
    switch (r->status) {
    case 301:
    case 307:
        return ATH_E_CONFIG;
    case 401:
    case 403:
        return ATH_E_DENIED;
    case 404:
        return ATH_E_MISSING;
    case 408:
        return ATH_E_UPSTREAM;
    case 409:
    case 412:
        return ATH_E_CONFLICT;
    case 429:
        return ATH_E_UPSTREAM;
    default:
        return r->status >= 400 && r->status < 500 ? ATH_E_INPUT : ATH_E_UPSTREAM;
    }
}

ATH_PRINTF(2, 3) static void hint(ath_err *e, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->err->hint(e, fmt, ap);
    va_end(ap);
}

static void give_hint(const struct refusal *r, ath_err *e)
{
    if (r->status == 301 || str_is(r->code, "AuthorizationHeaderMalformed"))
        hint(e, "The bucket may lie in another region than backup.s3_region says.");
    else if (str_is(r->code, "SignatureDoesNotMatch"))
        hint(e, "The secret key may be wrong, or this machine's clock.");
    else if (str_is(r->code, "NoSuchBucket"))
        hint(e, "backup.s3_bucket names a bucket that has to exist.");
}

int refusal_fail(const struct call *c, const struct refusal *r, ath_err *e)
{
    struct buf code = BUF_HEAP;
    ath_str key = shown(c->key, 512), message = r->message;
    char status[12];
    int rc;

    rc = ath_fail(e, class_of(r), "could not %s%s%.*s%s in bucket \"%.*s\": %d%s%.*s%s%.*s",
                  c->doing, key.n ? " \"" : "", STR_ARG(key), key.n ? "\"" : "",
                  STR_ARG(shown(c->bucket, 64)), (int)r->status, r->code.n ? " " : "",
                  STR_ARG(r->code), message.n ? ": " : "", STR_ARG(message));
    give_hint(r, e);
    snprintf(status, sizeof(status), "%d", (int)r->status);
    ath_host_->err->detail(e, "status", str_of(status));
    buf_json(&code, r->code);
    if (r->code.n)
        ath_host_->err->detail(e, "s3_code", buf_view(&code));
    buf_free(&code);
    return rc;
}
