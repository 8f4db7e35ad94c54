/* core/server/notify.h - telling systemd (sd_notify(3)): one datagram, no library.
 *
 * Source of the protocol: sd_notify(3), section "Notes"; sd_watchdog_enabled(3).
 */
#ifndef CORE_SERVER_NOTIFY_H
#define CORE_SERVER_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1"; nothing happens without NOTIFY_SOCKET. */
void notify_send(const char *state);

/* How often systemd wants WATCHDOG=1, in ms (half of WATCHDOG_USEC); 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
