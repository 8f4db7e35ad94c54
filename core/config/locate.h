/* core/config/locate.h - where config.yaml is. */
#ifndef CORE_CONFIG_LOCATE_H
#define CORE_CONFIG_LOCATE_H

#include "config/config.h"

enum { LOCATIONS_MAX = 4 };

struct location {
    const char *path, *label;
};

/* The places of discovery in their order, without doubles; returns how many. */
size_t locate_all(struct config *c, const char *cwd, struct location ret[LOCATIONS_MAX]);

/* Loads .env of `folder` into c->env; with `upward`, of its nearest parent that has one. */
void locate_dotenv(struct config *c, const char *folder, bool upward, struct config_report *rep);

/* Writes the default file to the first location that can be written. */
int locate_seed(struct config *c, const struct location *at, size_t n, struct location *ret,
                ath_err *e);

bool locate_is_file(const char *path);

#endif
