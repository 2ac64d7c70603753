// Package nbd serves disks over the Network Block Device protocol, and has a
// small client for reading from other NBD servers.
//
// # Words
//
// An export is a disk under a name. A client connects, and the two talk in
// two phases. In the handshake the client haggles with options (LIST, INFO,
// STRUCTURED_REPLY, SET_META_CONTEXT …) and picks an export with GO, or with
// the older EXPORT_NAME. Then comes transmission: the client sends requests,
// each with a cookie, and the server answers each cookie once, in any order.
//
// A simple reply is a header and, for READ, the data. It is all that kernel
// clients speak. A structured reply is made of chunks, and is what a client
// gets for READ and BLOCK_STATUS once it asked for STRUCTURED_REPLY.
//
// A meta context is a kind of map of the disk that BLOCK_STATUS reports.
// This package has base:allocation, which tells data from zeroes, and
// qemu:allocation-depth, which tells the disk's own from what is below it.
//
// FUA on a request means: durable before the reply. FLUSH makes durable all
// that was answered before, on whichever connection of the export.
//
// A listener may offer or require TLS, which a client starts with STARTTLS, and
// may have Grants: then a name is a secret that opens what was granted by it,
// and nothing is listed.
//
// Section numbers in comments ("proto: Option types") are headings of
// doc/proto.md in the NetworkBlockDevice/nbd repository. docs/nbd.md has a table of
// what it demands of a server and the tests of that.
//
// # Shape
//
// Each connection has one reader. It takes as many requests as one read of
// the socket brought, answers cached READs itself (Device.TryReadAt straight
// into the reply, or Splicer.TrySplice without a copy, where the data is long)
// and gives everything that might wait to workers. Replies
// meet in a queue; whoever finds nobody writing writes all of it with one
// system call. There is no writer goroutine, no timer and, once pools are
// warm, no allocation per request.
//
//	socket -> reader -> TryReadAt -> batch --+
//	              \                          v
//	               +--> workers ---------> reply queue -> writev -> socket
//
// # Hazards
//
//   - An error reply reaches a kernel client's file system as EIO, at once.
//     So the server never answers ESHUTDOWN: it finishes what it has read,
//     answers that, and closes.
//   - A reader that waits for the socket to take replies can deadlock with a
//     client that waits for the socket to take requests. The reader only ever
//     tries to write, and leaves the rest to another goroutine.
//   - Whatever a client makes the server hold is counted: per connection
//     (requests and bytes) and over all. Over the limit the server stops
//     reading; it does not fail requests.
//   - An old copy of a write may sit in a dying connection while the client
//     sends it again on another. So what had to wait is not done once the
//     client has gone, and an open waits until such connections can write no
//     more (leaving.go); Server.Fence ends those whose client only seems to be
//     there.
package nbd
