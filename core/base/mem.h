/* core/base/mem.h - heap memory that is never NULL.
 *
 * Small allocations whose size no peer chooses abort when memory is out; what a peer sizes is
 * bounded first, or uses mem_try(). Tests make the n-th mem_try() fail.
 */
#ifndef CORE_BASE_MEM_H
#define CORE_BASE_MEM_H

#include <stddef.h>

#include <athena/plugin.h>

void *mem_new(size_t n);                  /* zeroed */
void *mem_resize(void *p, size_t n);      /* not zeroed */
char *mem_dup(const char *p, size_t n);   /* with a NUL behind */
char *mem_dup_str(ath_str s);
char *mem_dup_z(const char *z);
void *mem_try(size_t n);                  /* zeroed, or NULL */

/* The n-th mem_try() from now fails; 0: none. */
void mem_fail_at(unsigned n);

/* Once, at the start: large pieces come from the system and go back to it when they are freed. glibc
 * would move its limit up with the first large piece that is freed, and a process that once held many
 * would keep their memory for ever. */
void mem_large_apart(void);

/* For ATH_CLEANUP on a char *. */
void mem_freep(char **p);

#define MEM_NEW(type) ((type *)mem_new(sizeof(type)))

#endif
