#include "lib/network.h"

#include <arpa/inet.h>

bool address_read(ath_str s, uint8_t ret[16])
{
    char text[INET6_ADDRSTRLEN];

    if (s.n == 0 || s.n >= sizeof(text))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (inet_pton(AF_INET6, text, ret) == 1)
        return true;
    memset(ret, 0, 10);
    ret[10] = ret[11] = 0xFF;
    return inet_pton(AF_INET, text, ret + 12) == 1;
}

bool address_is_v4(const uint8_t address[16])
{
    static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };

    return memcmp(address, mapped, sizeof(mapped)) == 0;
}

size_t address_write(const uint8_t address[16], char ret[ADDRESS_ROOM])
{
    bool v4 = address_is_v4(address);

    inet_ntop(v4 ? AF_INET : AF_INET6, address + (v4 ? 12 : 0), ret, ADDRESS_ROOM);
    return strlen(ret);
}

bool network_read(ath_str s, struct network *ret)
{
    size_t slash = str_find(s, '/');
    bool v4 = str_find(str_from(s.p, slash), ':') == slash;
    uint64_t bits = v4 ? 32 : 128;

    if (!address_read(str_from(s.p, slash), ret->address) ||
        (slash < s.n && (!str_u64(str_after(s, slash + 1), &bits) || bits > (v4 ? 32 : 128))))
        return false;
    ret->bits = (uint8_t)(v4 ? bits + 96 : bits);
    return true;
}

bool network_has(const struct network *net, const uint8_t address[16])
{
    uint32_t bytes = net->bits / 8, rest = net->bits % 8;
    uint8_t mask = (uint8_t)(0xFF00u >> rest);

    return memcmp(net->address, address, bytes) == 0 &&
           (rest == 0 || ((net->address[bytes] ^ address[bytes]) & mask) == 0);
}

int networks_read(ath_str list, struct network *ret, uint32_t most, ath_str *ret_bad)
{
    uint32_t n = 0;
    ath_str one;

    *ret_bad = ATH_S("");
    while (str_next(&list, ',', &one)) {
        one = str_trim(one);
        if (one.n == 0)
            continue;
        if (n == most)
            return -1;
        if (!network_read(one, &ret[n++])) {
            *ret_bad = one;
            return -1;
        }
    }
    return (int)n;
}

bool networks_have(const struct network *net, uint32_t n, ath_str peer)
{
    uint8_t address[16];

    if (!address_read(peer.n ? peer : ATH_S("127.0.0.1"), address))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (network_has(&net[i], address))
            return true;
    return false;
}
