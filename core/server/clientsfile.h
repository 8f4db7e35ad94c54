/* core/server/clientsfile.h - `athena clients ...`: the local file of clients, config/clients.json.
 *
 *     {"default": "shop", "clients": {"shop": "postgres://..."}}
 *
 * Only these commands and `athena fetch` read it, the server never does. It is written whole, to a
 * new file that takes the old one's place, readable by its owner alone; passwords are shown as ***.
 */
#ifndef CORE_SERVER_CLIENTSFILE_H
#define CORE_SERVER_CLIENTSFILE_H

#include "server/cli.h"

int command_clients_list(const struct cli *cli);
int command_clients_add(const struct cli *cli);         /* the first one becomes the default */
int command_clients_remove(const struct cli *cli);      /* 1: there is no such client */
int command_clients_set_default(const struct cli *cli); /* the same */

#endif
