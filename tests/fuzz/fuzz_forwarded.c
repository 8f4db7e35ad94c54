/* Forwarding headers of any bytes. The first byte says whether the peer is trusted, what
 * X-Forwarded-For counts for, and whether the first line is X-Real-IP; each line behind it is a
 * header. What must hold: a stranger is himself; what is found is an address in its shortest form,
 * and stands in a header or is the peer's; whoever puts hops in front of the list changes nothing
 * as long as a hop behind them is no proxy.
 */
#include <stdio.h>
#include <stdlib.h>

#include "auth/ip.h"

enum { LINES = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t stranger[16] = { [10] = 0xFF, 0xFF, 203, 0, 113, 9 };
static const uint8_t proxy[16] = { [10] = 0xFF, 0xFF, 10, 0, 0, 1 };

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

struct asker {
    struct req r;
    ath_pair header[LINES + 1];
};

static void ask(struct asker *a, uint8_t how, ath_str lines)
{
    ath_str line;

    memset(a, 0, sizeof(*a));
    arena_init(&a->r.task.arena);
    a->r.peer_address = how & 1 ? proxy : stranger;
    a->r.peer = how & 1 ? ATH_S("10.0.0.1") : ATH_S("203.0.113.9");
    a->r.header = a->header;
    a->r.header_bits = ~(uint64_t)0;
    while (a->r.header_count < LINES && str_next(&lines, '\n', &line)) {
        bool real = a->r.header_count == 0 && (how & 2);
        a->header[a->r.header_count++] =
            (ath_pair){ real ? ATH_S("x-real-ip") : ATH_S("x-forwarded-for"), line };
    }
}

static void put_in_front(struct asker *a, ath_str hops)
{
    memmove(a->header + 1, a->header, a->r.header_count * sizeof(a->header[0]));
    a->header[0] = (ath_pair){ ATH_S("x-forwarded-for"), hops };
    a->r.header_count++;
}

static void well_formed(ath_str address, const uint8_t *bytes)
{
    uint8_t again[16];
    char text[ADDRESS_ROOM];

    must(address_read(address, again), "it is an address");
    must(str_eq(address, str_from(text, address_write(again, text))), "in its shortest form");
    must(!bytes || memcmp(again, bytes, sizeof(again)) == 0, "the bytes are the text");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t how = size ? data[0] : 0, first[16], after[16];
    ath_str lines = size ? str_from((const char *)data + 1, size - 1) : ATH_S("");
    const ath_str trusted = ATH_S("10.0.0.0/8, fd00::/8");
    struct asker a;
    ath_err e;

    must(ip_configure(&(struct ip_rules){ trusted, how & 4, how & 8 }, &e) == 0, "rules are read");
    ask(&a, how, lines);
    well_formed(ip_of(&a.r), a.r.address_bytes);
    well_formed(ip_of_for_logs(&a.r), NULL);
    must(ip_bytes_of(&a.r, first), "it is known");
    if (!(how & 1))
        must(memcmp(first, stranger, sizeof(first)) == 0, "a stranger is himself");
    arena_free(&a.r.task.arena);
    ask(&a, how, lines);
    put_in_front(&a, ATH_S("192.0.2.66, 10.0.0.66"));
    must(ip_bytes_of(&a.r, after), "it is known");
    must(memcmp(first, after, sizeof(first)) == 0 || first[12] == 10 || first[0] == 0xfd ||
             !(how & 8),
         "what stands in front changes nothing");
    arena_free(&a.r.task.arena);
    return 0;
}
