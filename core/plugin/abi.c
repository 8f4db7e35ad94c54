/* Size-aware copies: the whole of what lets old and new headers meet. */
#include "plugin/abi.h"

#include <string.h>

void abi_copy(void *dst, size_t dst_size, const void *src, size_t src_size)
{
    size_t n = src_size < dst_size ? src_size : dst_size;

    memcpy(dst, src, n);
    memset((char *)dst + n, 0, dst_size - n);
}

void *abi_array(ath_arena *a, size_t our_size, const void *src, size_t stride, size_t count)
{
    char *ret;

    if (count == 0 || !src)
        return NULL;
    ret = arena_raw(a, our_size * count);
    for (size_t i = 0; i < count; i++)
        abi_copy(ret + i * our_size, our_size, (const char *)src + i * stride, stride);
    return ret;
}
