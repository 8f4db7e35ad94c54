/* athena/service/secrets.h - "athena.secrets@1": secrets that lie in tables, and URIs that are shown.
 *
 * What is sealed reads "enc:v1:" and more, and can be opened by processes that have the same key
 * (ATHENA_SECRETS_KEY). Without a key texts stay as they are, so that a table can be read by whoever
 * read it before; `open` takes both forms.
 *
 * And what secrets of a plugin's own are made of: random bytes and digests.
 */
#ifndef ATHENA_SERVICE_SECRETS_H
#define ATHENA_SERVICE_SECRETS_H

#include <athena/plugin.h>

typedef struct {
    uint32_t size, pad;
    int (*on)(void);             /* 1: there is a key */
    /* For a table; in the arena. */
    ath_str (*seal)(ath_arena *a, ath_str text);
    /* What lies in a table, as it was before it was sealed. ATH_E_CONFIG: no key that this process
     * has opens it. */
    int (*open)(ath_arena *a, ath_str stored, ath_str *ret, ath_err *e);
    /* A connection URI for people: "***" in place of its password and of parameters that are
     * secrets; whatever the text is, it is no URI that could be used. */
    ath_str (*mask)(ath_arena *a, ath_str uri);
    /* Bytes for secrets, from the kernel. Ends the process when it has none. */
    void (*random)(void *ret, size_t n);
    /* SHA-256 in 64 lower-case hexadecimal digits; in the arena. */
    ath_str (*sha256)(ath_arena *a, ath_str text);
    /* A key of a plugin's own as people write it: 32 bytes in 64 hexadecimal digits or base64; and
     * its id, the first 8 digits of its SHA-256, with a NUL. 1: it is one. Any thread. */
    int (*key)(ath_str text, uint8_t ret[32], char ret_id[9]);
} ath_secrets;

#endif
