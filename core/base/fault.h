/* core/base/fault.h - places where tests kill the process: FAULT("jobs.claimed").
 *
 * With ATHENA_FAULT=jobs.claimed in the environment the first pass ends the process by SIGKILL, with
 * ATHENA_FAULT=jobs.claimed:3 the third. Built in only with ATHENA_FAULTS (test builds).
 */
#ifndef CORE_BASE_FAULT_H
#define CORE_BASE_FAULT_H

#ifdef ATHENA_FAULTS
void fault_pass(const char *name);
#define FAULT(name) fault_pass(name)
#else
#define FAULT(name) ((void)0)
#endif

#endif
