/* core/base/version.h - our own version, and the published one whose interface we serve. */
#ifndef CORE_BASE_VERSION_H
#define CORE_BASE_VERSION_H

extern const char athena_version[];          /* "0.1.0" */
extern const char athena_published_version[]; /* "3.27.1", for cargo_toml_version */

#endif
