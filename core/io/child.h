/* core/io/child.h - child processes, started through our own program.
 *
 * task_spawn() (task.h) does not start the tool itself but "athena --as-child", which becomes the tool
 * after it has seen to what only the new process can do: it dies with us (PR_SET_PDEATHSIG, then a
 * look whether we still live), has no descriptors but its three, no ignored or blocked signals, and
 * another user when asked. libuv has put it into a session and process group of its own by then,
 * unless ATH_CHILD_SHOW shares our terminal.
 *
 * The kernel ties a child to the thread that started it: loops that spawn must live until the end.
 * The main thread must not block SIGCHLD.
 *
 * The environment is not inherited but for PATH, HOME and LANG; what the caller gives comes before
 * those. A program that cannot be found is refused by task_spawn(); one that cannot be executed ends
 * with status 127 and says so on its stderr.
 */
#ifndef CORE_IO_CHILD_H
#define CORE_IO_CHILD_H

/* What main() calls first when argv[1] is "--as-child"; returns only to fail, with the exit status:
 *
 *     athena --as-child OPTIONS PROGRAM ARGV0 ...
 *
 * OPTIONS is a list between commas: parent=PID (end at once when it is not our parent any more),
 * keep (may outlive it), user=NAME (drop to it, with its groups), death=SIGNAL (instead of KILL when
 * the parent dies), whole (stay beside the tool, and end its process group when the parent dies: what the
 * tool has started is nobody's child of ours, so no such signal reaches it). A command that drops privileges starts itself so, with ATH_CHILD_SELF. */
int child_shim(int argc, char **argv);

#endif
