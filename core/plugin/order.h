/* core/plugin/order.h - who comes before whom, from needs and offers alone.
 *
 * A list is words between blanks. A need is a service, "storage.s3@1", or a plugin by its name,
 * whose routes are called, "routes-gateway"; with `?` in front it may be absent, but when it is
 * there its provider still comes first.
 */
#ifndef CORE_PLUGIN_ORDER_H
#define CORE_PLUGIN_ORDER_H

#include <stdbool.h>

#include "base/err.h"

/* The next word of a list of needs or offers; *ret_optional (may be NULL): it had a `?`. */
bool order_word(ath_str *rest, ath_str *ret_word, bool *ret_optional);

/* Is `word` in the list? A leading `?` in the list does not matter. */
bool order_has(const char *list, ath_str word);

/* Is `word` what a plugin of this name with these offers gives to others? */
bool order_gives(const char *name, const char *offers, ath_str word);

struct order_item {
    const char *name, *needs, *offers;
    bool refused; /* by order_sort(), or set before: not there for others either */
};

/* Tells about one refusal; the words are in `e`. `need`: the one that is not met, if it is that. */
typedef void order_refuse(void *arg, uint32_t item, ath_str need, const ath_err *e);

/* Writes indexes into ret_order, providers first and otherwise as they stand, and returns how many.
 * `core` lists what needs no provider. Refused, one by one: an offer that an earlier item has; a
 * need that nobody offers, or only somebody refused; those who need each other in a circle. */
uint32_t order_sort(struct order_item *item, uint32_t n, const char *core, uint32_t *ret_order,
                    order_refuse *refuse, void *arg);

#endif
