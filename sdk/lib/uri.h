/* sdk/lib/uri.h - connection URIs, to be shown. */
#ifndef SDK_LIB_URI_H
#define SDK_LIB_URI_H

#include "lib/buf.h"

/* Appends the URI with "***" in place of its password and of the values of parameters that are
 * secrets (password, sslpassword and the like, however their names are encoded). When in doubt more
 * is taken out; a text that is no URI and may hold a password is "***" as a whole. */
void buf_uri_masked(struct buf *b, ath_str uri);

#endif
