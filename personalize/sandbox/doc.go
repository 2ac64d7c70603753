// Package sandbox opens disks that nobody trusts, and runs what is on them,
// where neither can reach this host.
//
// # Vocabulary
//
//   - A *disk cell* is one User-Mode-Linux kernel in a jail, with one disk. It
//     mounts the disk's file systems, carries out file commands on them and runs
//     the disk's own programs. It serves one disk once and is then killed.
//   - A *script cell* is the same jail without a kernel of its own: no disk, but a
//     directory in memory, a shell and the usual tools of this host. What a plan
//     script does beside the disk happens there.
//   - The *guest* is goldstream-guest as init of that kernel (package guest); it is
//     spoken to over the serial line (package wire).
//   - The *tool root* is the read-only file system that the kernel boots from: the
//     guest, kernel modules, LVM. One file, shared by all cells, made from what is
//     installed on this host by Prepare, and named by a digest of its content.
//   - The *disk* is a file: the volume's, as the slot of a cell shows it.
//   - A *slot* is a place for a disk that shows no volume or one (package fuse makes
//     them). A *pool* keeps a cell booted in each of its slots; a *lease* is one that
//     was taken for a volume.
//
// # What holds
//
//   - The kernel keeps hostile file systems off the host's kernel. It does not
//     confine its own root: the boundary is the jail. In it are the kernel, libc, the
//     tool root, the disk and memory; nothing else of the host exists.
//   - A script cell is one layer less: its programs talk to the host's kernel, as far
//     as the filter of the jail lets them. It has nothing of the disk but what was
//     put into its directory.
//   - The guest is believed in nothing. What it sends has caps; what it says about a
//     disk is what the disk's owner says. Durability is none of its business: ubd
//     sends no flush and loses write errors. Whoever writes to a disk asks its store
//     for the flush, and for the errors that the store counted, after Close.
//   - A cell has a deadline, always, and its processes end with it, with Kill, with
//     the context, and with this process.
//
// # Hazards
//
//   - The kernel takes a disk that begins with the magic of its copy-on-write files
//     for such a file, whose header names another: Start refuses those disks.
//   - A kernel that panics may spin for ever, and ignores all signals but SIGKILL.
//   - SIGSTOP kills the kernel: cells cannot be paused.
package sandbox
