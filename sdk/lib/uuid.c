#include "lib/uuid.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/text.h"

void uuid_put(uint64_t high, uint64_t low, char ret[UUID_TEXT])
{
    char digits[32];

    str_put_hex(digits, (high & ~(uint64_t)0xF000) | 0x4000);                   /* version 4 */
    str_put_hex(digits + 16, (low & ~((uint64_t)3 << 62)) | (uint64_t)2 << 62); /* variant */
    memcpy(ret, digits, 8);
    memcpy(ret + 9, digits + 8, 4);
    memcpy(ret + 14, digits + 12, 4);
    memcpy(ret + 19, digits + 16, 4);
    memcpy(ret + 24, digits + 20, 12);
    ret[8] = ret[13] = ret[18] = ret[23] = '-';
    ret[36] = 0;
}

void uuid_make(char ret[UUID_TEXT])
{
    uint64_t bits[2];

    if (getrandom(bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
        abort();
    uuid_put(bits[0], bits[1], ret);
}
