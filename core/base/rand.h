/* core/base/rand.h - ids, secrets, and comparing secrets. */
#ifndef CORE_BASE_RAND_H
#define CORE_BASE_RAND_H

#include <stdbool.h>
#include <stddef.h>

#include <athena/plugin.h>

#include "lib/uuid.h"

/* Bytes for secrets and keys, from the kernel. Aborts if it has none. */
void rand_secret(void *ret, size_t n);

/* A fast generator per thread (xoshiro256**, seeded by the kernel), for ids and jitter only. */
uint64_t rand_u64(void);

/* A random UUID, version 4 (RFC 9562, 5.4), in lower case. From the fast generator: an id, no secret. */
void rand_uuid(char ret[UUID_TEXT]);

/* Equal texts? The time depends on the length of `given` only. */
bool rand_same(ath_str given, ath_str secret);

#endif
