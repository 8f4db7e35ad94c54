/* What a store answers, through the reader of XML. What must hold: nothing beyond the bytes is read,
 * beginnings and ends pair, no element lies deeper than the bound, and what was whole is not whole
 * without its last byte, unless that is a blank, a comment or the like.
 */
#include <stdio.h>
#include <stdlib.h>

#include "s3/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static bool walk(ath_str source, struct buf *scratch)
{
    struct xml x = xml_of(source, scratch);
    unsigned depth = 0;

    while (xml_next(&x)) {
        depth += !x.is_end;
        must(x.depth == depth && depth <= XML_DEPTH, "depth is counted");
        must(x.is_end || x.text.n == 0, "text comes with the end");
        depth -= x.is_end;
    }
    must(!x.whole || depth == 0, "what is whole is closed");
    return x.whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf scratch = BUF_HEAP;
    char *exact = malloc(size ? size : 1); /* so that a byte too many is seen */
    ath_str source = str_from(exact, size);

    if (size)
        memcpy(exact, data, size);
    if (walk(source, &scratch) && exact[size - 1] == '>' && !str_ends(source, "->") &&
        !str_ends(source, "?>") && !str_ends(source, "]>")) {
        source.n--;
        must(!walk(source, &scratch), "a list that is cut short is not whole");
        source.n++;
    }
    xml_member(source, "Key", &scratch);
    buf_free(&scratch);
    free(exact);
    return 0;
}
