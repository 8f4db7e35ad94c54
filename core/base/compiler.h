/* core/base/compiler.h - the compiler's extensions that the core uses, listed in one place. */
#ifndef CORE_BASE_COMPILER_H
#define CORE_BASE_COMPILER_H

/* Runs destroy(&variable) when the variable goes out of scope. */
#define ATH_CLEANUP(destroy) __attribute__((cleanup(destroy)))
#define ATH_UNUSED __attribute__((unused))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
