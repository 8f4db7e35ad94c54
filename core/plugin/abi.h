/* core/plugin/abi.h - reading structs that somebody else's header laid out.
 *
 * What the writer's struct did not have yet is zero; what it has beyond ours is not looked at.
 */
#ifndef CORE_PLUGIN_ABI_H
#define CORE_PLUGIN_ABI_H

#include "base/arena.h"

/* One struct, whose writer says that it has `src_size` bytes. */
void abi_copy(void *dst, size_t dst_size, const void *src, size_t src_size);

/* `count` elements that lie `stride` bytes apart, as an array of ours in the arena; each element's
 * own size is the stride. NULL when there are none. */
void *abi_array(ath_arena *a, size_t our_size, const void *src, size_t stride, size_t count);

#define ABI_ARRAY(a, type, src, stride, count)                                                     \
    ((type *)abi_array((a), sizeof(type), (src), (stride), (count)))

#endif
