// Package daemon puts goldstream together: it opens the stores of a data
// directory, wires the packages to each other and owns start order, drain
// order, signals and listeners. It is the only package that knows all others.
//
// # Two ways to run
//
// [Daemon.Run] serves: volumes and golden images over NBD, the API on the
// socket DATA/goldstream.sock. [Daemon.Embed] serves the same API inside the
// calling process, for a command line without a daemon. Either way one process
// owns the data directory; blocks/ carries the lock.
//
// # Order
//
// Start: store (takes the lock), NBD listeners, API socket, the store of plans
// and tasks, whose unfinished ones go on, dnsmasq where it is asked for, then the
// readiness line. Disks are
// served even where that store cannot be opened; without a daemon it is opened
// when a command first needs it. The socket of a daemon that was killed is replaced, which is safe
// because the lock is held.
//
// Stop, on SIGTERM or SIGINT: NBD first (requests that were read are answered,
// then connections close; a kernel client reconnects after a closed connection
// and gives up after an error reply; writes that wait for space are not
// answered), then tasks (where they are: they go on at the next start) and the cells, then the
// API (short requests end, long
// work is cancelled after [Options.DrainTimeout]), then the socket's file, then
// the store. A second signal cuts the waiting short; the store is closed all
// the same.
//
// # Deployments
//
// A deployment is a task of two steps, clone and personalize. What it runs is sealed
// in the task's record as it was when it was asked for (seal.go, program.go). The
// steps of the plan run in a disk cell that has the volume through a slot (cells.go);
// cells are opened by the first who needs them, or at start where the host was
// prepared. From the clone until the last step the volume is barred (personalize.go):
// nobody serves what is half made. A run after a kill begins with a fresh clone.
//
// # Boots
//
// Which server boots from which volume stands in records (boot_records.go). Their boot
// files are read out of the volume by a cell that sees it as of now (boot_extract.go), and
// given out by package netboot, which asks bootHost.
//
// # Exports
//
// A volume is exported under its name; read-only are a golden image as
// images/NAME and a snapshot as snapshots/VOLUME/NAME. On a listener that others
// than this host reach only tokens open volumes (tokens.go), and nothing else.
package daemon
