// Package fuse shows golden images and OS volumes as files, so that any tool looks
// into them: one file for the whole disk, one for each partition, and what is
// known of the disk as JSON.
//
//	images/NAME/disk        the golden image, read-only
//	images/NAME/p1, p2 …    its partitions, numbered as in /dev/sda1
//	images/NAME/info.json   what goldstream knows of it, and its partition table
//	volumes/NAME/…          the same of a volume
//
// # Words
//
// A mount is made in two parts, which may be two processes. [Mount] attaches a
// FUSE device to a directory and needs the rights and the mount namespace of
// whoever asked. [Serve] answers what the kernel asks through that device and
// needs the store, which one process owns. In between the device travels as a
// descriptor over a Unix socket. Where the server dies the kernel ends the
// connection: every call on the mount fails, none hangs, and [Unmount] takes the
// dead mount away.
//
// A [Collection] is a directory of disks. Opening a disk of a sealed one always
// reads the same; of another one, it reads as it was when it was opened: what is
// in service is seen as of one instant. Disks that are mounted for writing are
// handed to [Serve] open.
//
// A [Slot] is another kind of mount: one file that shows one volume at a time, for
// a sandbox that keeps the file while volumes come and go. What its guest says of
// its writes is not believed: [Slot.Detach] flushes, and tells of every error of
// the store that the guest had, seen or not.
//
// # Hazards
//
// Disks hold secrets: files are 0400, or 0600 where they can be written, and the
// kernel lets nobody but the user that mounted look at all.
//
// Whatever a disk holds, it is data: nothing of it is mounted or run, only its
// partition table is read, by package disk. A table that contradicts itself gives
// no partitions, and info.json says why.
//
// The page cache is trusted for sealed disks only. A disk that can be written is
// read and written past it, since its partitions are parts of it under other
// names.
//
// A Go program that opens a file of its own mount through package os may hang: the
// runtime asks the file for readiness without letting another thread answer. Use
// plain system calls there. A process that has to end when it is killed, as a daemon
// that holds locks, makes no calls on its own mount at all: killed in one, it waits for
// ever for its own answer, as its open device keeps the connection from being ended. It
// reads by [Slot.ReadAt], clones the mount by its mount point, and leaves the rest to
// other processes. A [Slot] refuses such calls.
package fuse
