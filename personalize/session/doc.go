// Package session carries out the program of a deployment on the disk of a cell.
//
// # Words
//
// A *session* is one cell (package sandbox) with one disk, in which all steps of a
// program run, in order, each on what the one before left. The first that fails ends
// it. A session does not make anything durable: whoever has the disk does that, once
// the cell is gone, and believes its store and not the session.
//
// # Kinds of steps
//
// A native step (package step) works on the tree that is mounted. Where nothing is,
// the disk's one operating system is mounted for it, with what its fstab names, and
// stays so for the native steps behind it. A plan script (package runner) mounts what
// it wants itself, as it always did: what native steps have mounted is unmounted before.
package session
