/* core/base/siphash.h - a digest under a key of this process: for what callers must not be able to
 * foresee. SipHash-1-3 with 128 bits of result; no digest to be stored or sent.
 */
#ifndef CORE_BASE_SIPHASH_H
#define CORE_BASE_SIPHASH_H

#include <athena/plugin.h>

/* Over two texts in one pass; no two pairs of texts are the same to it. */
void siphash(const uint64_t key[2], ath_str a, ath_str b, uint64_t ret[2]);

#endif
