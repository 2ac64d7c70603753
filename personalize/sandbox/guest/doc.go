// Package guest is the part of a disk cell that runs inside User-Mode-Linux:
// init of that kernel, and the one that carries out file commands on the disk.
//
// It is in an attacker's reach: the disk's file systems may be made to exploit
// this kernel, and scripts run programs of the disk as its root. Nothing here is
// a boundary; the jail around the kernel is. What this package owes is that an
// honest disk with hostile links in it gets no command to act outside of it, and
// that no command lies about what it did.
//
// # Rules
//
//   - The disk is ubdb, and is called /dev/sda, its partitions /dev/sda1 and so
//     on, as scripts know them. /dev is a tmpfs with nodes that we make.
//   - The tool root is read-only; /run and /tmp are small tmpfs.
//   - The serial line is opened once and never closed: what comes after is lost.
//   - One request at a time, read and carried out by one goroutine, so that the
//     host is held back by what it has sent.
package guest
