/* plugins/drivers/s3/part.h - a piece of an object on its way, with what proves it.
 *
 * Digests are made as the bytes come, so that no loop stands still for a whole part.
 */
#ifndef DRIVERS_S3_PART_H
#define DRIVERS_S3_PART_H

#include <openssl/evp.h>

#include "driver.h"

enum { PART_CRC_TEXT = 9, PART_MD5_TEXT = 25, PART_MD5 = 16 };

struct part {
    struct buf bytes;
    EVP_MD_CTX *sha, *md5;
    uint32_t crc;
    bool md5_on, crc_on;         /* which of both has seen all bytes */
    char digest[SIGN_HEX];       /* from here on: sealed */
    char crc_text[PART_CRC_TEXT];
    char md5_text[PART_MD5_TEXT]; /* empty: not known */
    uint8_t md5_bytes[PART_MD5];
};

void part_begin(struct part *p, bool crc); /* crc: for DIALECT_CRC32, else for MD5 */
void part_add(struct part *p, ath_str b);
void part_seal(struct part *p);  /* no more is added */
void part_free(struct part *p);

/* The headers of dialect `d` behind those of the call, and body and digest. */
void part_headers(struct part *p, struct call *c, enum dialect d);

/* Whether a good answer is about the same bytes: 0, or ATH_E_UPSTREAM. */
int part_judge(const struct part *p, const struct call *c, const ath_done *d, ath_err *e);

/* "9bb58f26192e4ba00f01e2e7b136bbd8" without its quotes, if it has any. */
ath_str part_etag(const ath_done *d);
bool part_is_md5(ath_str etag, uint8_t ret[PART_MD5]);

#endif
