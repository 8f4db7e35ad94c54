/* routes-admin-keys: API keys, their rights and addresses, and whether they are asked for. */
#include "admin_keys.h"

#include <stdlib.h>

/* clang-format off */
#define ADMIN(method_, path_, handle_, summary_) \
    { .method = (method_), .path = (path_), .handle = (handle_), .summary = (summary_), .auth = ATH_AUTH_ADMIN }

static const ath_route routes[] = {
    ADMIN("GET", "/admin/api-keys", keys_list, "API keys, newest first"),
    ADMIN("POST", "/admin/api-keys", keys_create, "Makes an API key; its secret is shown once"),
    ADMIN("GET", "/admin/api-keys/{id}", keys_one, "One API key"),
    ADMIN("PATCH", "/admin/api-keys/{id}", keys_patch, "Changes what the body names"),
    ADMIN("DELETE", "/admin/api-keys/{id}", keys_delete, "Removes an API key"),
    ADMIN("POST", "/admin/api-keys/{id}/rotate", keys_rotate, "Another key in its place, and a time in which both hold"),
    ADMIN("GET", "/admin/api-keys/{id}/can", key_can, "Would a key be let through, and why"),
    ADMIN("GET", "/admin/api-keys/{id}/ip-policy", key_policy, "Where a key may be used from"),
    ADMIN("POST", "/admin/api-keys/{id}/ip-whitelist", key_allow, "Adds addresses that a key may be used from"),
    ADMIN("DELETE", "/admin/api-keys/{id}/ip-whitelist", key_disallow, "Removes some of them"),
    ADMIN("POST", "/admin/api-keys/{id}/ip-blacklist", key_block, "Adds addresses that a key may not be used from"),
    ADMIN("DELETE", "/admin/api-keys/{id}/ip-blacklist", key_unblock, "Removes some of them"),
    ADMIN("GET", "/admin/api-keys/{id}/ip-seen", key_seen, "Addresses that a learning key was used from"),
    ADMIN("POST", "/admin/api-keys/{id}/virgin/promote", virgin_promote, "Locks a key to the addresses that it has seen"),
    ADMIN("POST", "/admin/api-keys/{id}/virgin/reset", virgin_reset, "Lets a key learn again"),
    ADMIN("GET", "/admin/ip-global-whitelist", global_white_list, "Addresses that every key may be used from"),
    ADMIN("POST", "/admin/ip-global-whitelist", global_white_put, "Adds one, or changes its label"),
    ADMIN("DELETE", "/admin/ip-global-whitelist", global_white_delete, "Removes one"),
    ADMIN("GET", "/admin/ip-global-blacklist", global_black_list, "Addresses that no key may be used from"),
    ADMIN("POST", "/admin/ip-global-blacklist", global_black_put, "Adds one, or changes its label"),
    ADMIN("DELETE", "/admin/ip-global-blacklist", global_black_delete, "Removes one"),
    ADMIN("GET", "/admin/api-key-rights", rights_list, "Names of rights that may be granted"),
    ADMIN("POST", "/admin/api-key-rights", rights_create, "Declares a right"),
    ADMIN("PATCH", "/admin/api-key-rights/{id}", rights_patch, "Renames a right"),
    ADMIN("DELETE", "/admin/api-key-rights/{id}", rights_delete, "Removes a right from all keys"),
    ADMIN("GET", "/admin/rights/catalog", catalog_show, "Rights that the server asks for, and those that were declared"),
    ADMIN("GET", "/admin/api-key-config", switch_show, "Whether keys are asked for"),
    ADMIN("PUT", "/admin/api-key-config", switch_put, "Asks for keys, or stops it"),
    ADMIN("GET", "/admin/api-key-clients", clients_show, "Clients with a word of their own about that"),
    ADMIN("PUT", "/admin/api-key-clients/{client_name}", clients_put, "Asks for keys of one client, or stops it"),
    ADMIN("DELETE", "/admin/api-key-clients/{client_name}", clients_delete, "What holds in general holds for the client"),
};

#define T struct admin_keys_config
static const ath_field fields[] = {
    ATH_BOOL(T, make_rights, "make_rights", "true", "A right to a table (\"orders.read\") that is granted needs no declaration.", .flags = ATH_CF_RELOAD),
    ATH_MSEC(T, refresh_ms, "refresh_timeout", "1s", "0..30s", "How long a change waits until this process acts by it.", .flags = ATH_CF_RELOAD),
};
/* clang-format on */

static int init(ath_self *self, const void *config, void **ret, ath_err *e)
{
    struct admin_keys_state *s = calloc(1, sizeof(*s));

    (void)config;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    s->auth = ath_host_->service(self, "athena.auth", 1);
    s->clients = ath_host_->service(self, "athena.clients", 1);
    s->rights = ath_host_->service(self, "athena.rights", 1);
    s->secrets = ath_host_->service(self, "athena.secrets", 1);
    *ret = s;
    return 0;
}

static const ath_routes group = {
    ATH_CAP(ath_routes, ATH_CAP_ROUTES, "admin-keys"),
    ATH_ARRAY(route, routes),
};
static const ath_cap *const caps[] = {
    &group.cap,
    &keys_list_command.cap,
    &keys_show_command.cap,
    &keys_create_command.cap,
    &keys_rights_command.cap,
    &keys_rotate_command.cap,
    &keys_revoke_command.cap,
    &keys_delete_command.cap,
    &keys_enforce_command.cap,
    &keys_can_command.cap,
    NULL,
};

ATH_PLUGIN("routes-admin-keys", "1.0.0", "?athena.auth@1 athena.clients@1 athena.rights@1 athena.secrets@1",
           "command.keys", .summary = "API keys, their rights and addresses",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct admin_keys_config), .cap = caps,
           .init = init, .fini = free);
