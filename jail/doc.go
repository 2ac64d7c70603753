// Package jail runs one program confined, so that a bug in it stays in it. It
// is meant for parsers of hostile input (disk images) and for programs that
// an operator's scripts start.
//
// # Vocabulary
//
//   - The *jail* is the set of namespaces, mounts, limits and filters; the
//     *program* is what runs in it. One Start makes one jail for one program.
//   - The *stage* is our own executable, started again through /proc/self/exe
//     in new namespaces. It builds the jail around itself and then becomes the
//     program by execve(2): nothing of ours stays inside. MaybeInit must
//     therefore be the first call of main (and of TestMain).
//   - The *order* is what the parent tells the stage over a pipe.
//   - A *bind* makes one host file or directory visible. What is not bound
//     does not exist inside: no /etc, no shared library, no /proc.
//   - The *host id* is the uid and gid that the program has on the host. It
//     owns nothing there. Inside, it looks like uid 0 without capabilities.
//   - A *profile* is a seccomp allow list.
//
// # Layers, from the outside in
//
//  1. user, mount, pid, net, ipc, uts and cgroup namespaces; the host id
//  2. a root of exactly the binds asked for, read-only, nosuid, nodev; the old
//     root is unmounted
//  3. memory and pid limits by cgroup where there is one, RLIMITs everywhere
//  4. no capability, an empty bounding set, locked securebits, no_new_privs
//  5. Landlock: files by path, no TCP
//  6. seccomp
//
// The layers overlap on purpose: the tests run each attack with the filter off
// as well, to see that the layers below hold alone.
//
// # Hazards
//
//   - The program is pid 1 of its pid namespace. Its end ends every process in
//     the jail, which is what makes Kill complete. But the kernel drops
//     signals that pid 1 has no handler for (pid_namespaces(7)): SIGTERM from
//     outside does nothing, and abort(3) falls through to a trap. Only SIGKILL
//     counts. Orphans become its children; it may not wait for them.
//   - PR_SET_PDEATHSIG fires when the parent *thread* ends, not the process
//     (prctl(2)). A goroutine locked to its thread therefore starts the
//     program and stays until it ends. The program cannot clear the signal:
//     no profile allows prctl(PR_SET_PDEATHSIG).
//   - Cancelling the context kills the program; that is the deadline. Set-up
//     has a deadline of its own.
//   - A file that only its owner may read cannot be opened by the host id,
//     bound or not. Bind.AsOwner maps the owner for this one mount; the host's
//     file is not changed.
//   - A bind shows the file that was opened, even if its path names another
//     one since.
//   - A process that serves a FUSE mount and is killed while it waits for an
//     answer of that mount never ends: the wait keeps its device open, and the
//     open device the wait. So a file there is named with Bind.Mount, and only
//     the stage, which is another process, asks for it.
//   - RLIMIT_NPROC counts per host id; before kernel 5.14 over all jails
//     together. The cgroup's pid limit is exact.
//   - Started without privileges, the jail has the caller's own uid and keeps
//     its supplementary groups (user_namespaces(7) forbids to drop them), and
//     cgroup limits are usually not available. Process.Missing says so.
//
// Needs Linux 5.12 (mount_setattr) with user namespaces.
package jail
