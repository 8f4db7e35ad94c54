/* Functions that lose track of lengths do not compile; use ath_str and struct buf.
 * Included by text.h and buf.h, so by nearly every file of ours.
 */
#ifndef SDK_LIB_BANNED_H
#define SDK_LIB_BANNED_H

#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#define BANNED(f) f##_is_banned_use_ath_str_or_buf

#undef strcpy
#define strcpy(a, b) BANNED(strcpy)
#undef strcat
#define strcat(a, b) BANNED(strcat)
#undef strncpy
#define strncpy(a, b, n) BANNED(strncpy)
#undef strncat
#define strncat(a, b, n) BANNED(strncat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf)
#undef strtok
#define strtok(a, b) BANNED(strtok)
#undef gets
#define gets(a) BANNED(gets)

#endif
