/* plugins/shared/pressure/sample.h - which logged statements a database may be asked to plan.
 *
 * EXPLAIN runs nothing but the planner, yet the text is a caller's: so it is one statement, reads
 * only by its looks, needs no parameters, and holds no semicolon anywhere. The transaction that it
 * is planned in may not write, whatever it looks like.
 */
#ifndef PLUGINS_SHARED_PRESSURE_SAMPLE_H
#define PLUGINS_SHARED_PRESSURE_SAMPLE_H

#include "lib/text.h"

enum { SAMPLE_BYTES = 65536 }; /* a longer text is none */

bool sample_is_safe(ath_str sql);

#endif
