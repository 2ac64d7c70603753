// Package attach makes an NBD export a block device of this machine by the
// kernel's own client, and keeps it attached.
//
// # Words
//
// A device is /dev/nbdN. It has one or more connections, each a socket that the
// kernel reads and writes by itself: no process is in the way of the data. A
// connection dies when its socket does; the kernel then tells a multicast group
// (LINK_DEAD), holds requests back for as long as the dead-connection time, and
// takes a new socket for the dead one (RECONFIGURE).
//
// The keeper is the process that listens to that group and brings the new
// sockets. Nothing happens while it is away, until a connection dies. Its name
// begins with @, which asks systemd to let it live through the change from
// initramfs to root and through shutdown.
//
// # Shape
//
//	Main --parse--> keeper started --handshakes--> CONNECT --> ready, Main returns
//	                                 keeper: LINK_DEAD --> dial, handshake, RECONFIGURE
//
// Main is a whole command, so that goldstream and the small helper of an
// initramfs are the same. It understands the arguments of nbd-client, as
// initramfs scripts give them.
//
// # Hazards
//
//   - The keeper of a root disk must not wait for that disk: it locks its memory
//     and opens no file of the disk once it is attached.
//   - The kernel's client has no TLS.
//   - Section names in comments ("proto: ...") are those of doc/proto.md in the
//     NetworkBlockDevice/nbd repository; netlink constants are those of
//     include/uapi/linux/nbd-netlink.h and genetlink.h.
package attach
