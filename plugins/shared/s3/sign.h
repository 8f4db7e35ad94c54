/* plugins/shared/s3/sign.h - signature version 4: what makes a request somebody's.
 *
 *     canonical request   method, path, query, headers, names of headers, digest of the body
 *     text to sign        algorithm, time, scope (day/region/service), digest of the above
 *     key                 the secret, folded with each part of the scope
 *
 * Nothing here knows what time it is or sends anything. A text that is signed must be sent as it was
 * signed: path and query come encoded (sign_encode) and go into the URL as they are.
 */
#ifndef SHARED_S3_SIGN_H
#define SHARED_S3_SIGN_H

#include "lib/buf.h"

enum { SIGN_TIME = 17, SIGN_DIGEST = 32, SIGN_HEX = 65, SIGN_HEADERS = 24 };

struct sign {
    const char *method;
    ath_str path;                /* encoded, from its first slash on */
    ath_str query;               /* encoded, by name: "list-type=2&prefix=a%2F" */
    const ath_pair *header;      /* names in lower case, in any order; the host is one of them */
    uint32_t header_count;       /* at most SIGN_HEADERS */
    ath_str payload;             /* digest of the body in hexadecimal, or SIGN_UNSIGNED */
    const char *time;            /* sign_time() */
    ath_str region;
    const char *service;         /* "s3" */
    ath_str access, secret;
};

#define SIGN_UNSIGNED ATH_S("UNSIGNED-PAYLOAD")

/* "20130524T000000Z", of seconds since 1970. */
void sign_time(int64_t seconds, char ret[SIGN_TIME]);

/* Appends what stands in the header Authorization. */
void sign_authorization(const struct sign *s, struct buf *b);

/* Appends a query that makes a link of `s`, whose own query is empty: everybody who has it may do that
 * one thing until `seconds` after its time. `token` belongs to keys that are lent; empty: none. */
void sign_link(const struct sign *s, uint32_t seconds, ath_str token, struct buf *b);

/* Appends `text` with every byte but letters, digits, "-._~" (and slashes, when they are kept) as %XX. */
void sign_encode(struct buf *b, ath_str text, bool slashes);

/* SHA-256 in hexadecimal, with a NUL. */
void sign_digest(ath_str data, char ret[SIGN_HEX]);
void sign_hex(const uint8_t *bytes, size_t n, char *ret); /* 2 n digits and a NUL */

#endif
