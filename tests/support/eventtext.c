#include "support/eventtext.h"

#include "lib/text.h"

void events_text(struct buf *b, const ath_event *const *batch, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, "%s", batch[i]->name.p);
        for (uint32_t f = 0; f < batch[i]->fact_count; f++) {
            const ath_fact *fact = &batch[i]->fact[f];
            if (!str_is(fact->key, "time"))
                buf_printf(b, " %s=%s", fact->key.p, fact->value.p ? fact->value.p : "null");
        }
        buf_char(b, '\n');
    }
}
