// Command bench measures goldstream beside its peers on the same machine, in
// the same run, in interleaved rounds, and prints one table of medians and
// ratios.
//
// What the figures can and cannot say: the machine is often shared and noisy,
// so only ratios within one run compare; the client of a network test takes a
// core of its own, so the CPU time of the server for each operation says more
// than operations a second; everything is cached, so disks are not measured
// but where a line says "durable".
//
//	go run ./bench [-short] [-json FILE] [-only clone,import,start,nbd,fuse,storm,blockstore,lifecycle] [-part TEXT]
//
// The part blockstore (make bench-blockstore) is not run unless it is named: it
// measures the store in this process against its bars, without servers.
//
// The rows of "nbd" have bars against nbdkit and qemu-nbd on the same disk; a
// missed one is shown and does not fail the run, since a loaded machine can
// make any of them miss.
//
// The part storm (make bench-nbd) replays the reads of a recorded boot of Debian
// on a thousand connections at once, each to a clone of its own. The image is not
// in memory when they begin; how much of it is read from the disk is counted.
//
// The part lifecycle (make bench-lifecycle) deploys 1,000 server profiles through the
// API of a daemon, lists them, and starts the daemon again.
//
// It needs nbdkit, qemu-utils and fio, and a few GiB in -dir. It fails if a
// clone takes 5 seconds or more, which is what the old appliance promised.
package main
