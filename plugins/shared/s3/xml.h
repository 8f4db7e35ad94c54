/* plugins/shared/s3/xml.h - reading the small XML documents that stores answer with.
 *
 * One pass, no tree: each call gives the next beginning or end of an element. At an end, `text` is what
 * stood in it since the last beginning or end, decoded, so an element that holds text alone is read
 * where it ends:
 *
 *     struct xml x = xml_of(body, scratch);
 *     while (xml_next(&x))
 *         if (x.is_end && x.depth == 2 && str_is(x.name, "Code"))
 *             code = x.text;
 *     if (!x.whole) ...                          cut short, or no XML
 *
 * Names come without their prefix. Attributes, comments and processing instructions are passed over;
 * there is no DTD and no entity but the five of XML and those by number. Elements lie at most XML_DEPTH
 * deep. The source is bounded by whoever read it.
 */
#ifndef SHARED_S3_XML_H
#define SHARED_S3_XML_H

#include "lib/buf.h"

enum { XML_DEPTH = 16 };

struct xml {
    ath_str name, text;          /* text: until the next call */
    unsigned depth;              /* of the element, 1: the outermost */
    bool is_end;                 /* else its beginning */
    bool whole;                  /* nothing was left open, and there was something */
    /* private */
    ath_str rest;
    ath_str open[XML_DEPTH];     /* full names, with their prefix */
    unsigned level;
    bool empty;                  /* <Name/>: its end comes next */
    struct buf *to;
};

/* `scratch` holds the texts. */
struct xml xml_of(ath_str source, struct buf *scratch);

/* False: there is no more, or it is malformed. */
bool xml_next(struct xml *x);

/* The text of the first element of that name right below the outermost; empty: there is none. Lives in
 * `scratch`. */
ath_str xml_member(ath_str source, const char *name, struct buf *scratch);

#endif
