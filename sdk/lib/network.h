/* sdk/lib/network.h - addresses and networks in text. */
#ifndef SDK_LIB_NETWORK_H
#define SDK_LIB_NETWORK_H

#include "lib/text.h"

enum { ADDRESS_ROOM = 46 };      /* of an address in text, with its NUL */

struct network {                 /* IPv4 stands mapped into IPv6 */
    uint8_t address[16];
    uint8_t bits;
};

/* "10.1.2.3", "2001:db8::1"; false: it is no address. */
bool address_read(ath_str s, uint8_t ret[16]);

/* Its text, shortest form, NUL behind it; mapped IPv4 as IPv4. How many bytes without the NUL. */
size_t address_write(const uint8_t address[16], char ret[ADDRESS_ROOM]);

bool address_is_v4(const uint8_t address[16]);

/* "10.0.0.0/8", "::1"; false: it is no network. */
bool network_read(ath_str s, struct network *ret);

bool network_has(const struct network *net, const uint8_t address[16]);

/* A list between commas into ret[0 .. most-1]. How many there are, or -1: then *ret_bad is what is
 * no network, or empty when there are more than `most`. */
int networks_read(ath_str list, struct network *ret, uint32_t most, ath_str *ret_bad);

/* Does one of them hold the address that `peer` is in text? An empty one came through a Unix socket:
 * it is on this machine. */
bool networks_have(const struct network *net, uint32_t n, ath_str peer);

#endif
