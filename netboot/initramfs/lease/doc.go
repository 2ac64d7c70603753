// Package lease gets a NIC its address by DHCP in an initramfs, and keeps it for as long
// as the server runs.
//
// # Words
//
// A *lease* is an address for a while (RFC 2131). From *T1*, half of the while, its server is
// asked to renew it; from *T2*, seven eighths, any server is; at its end it has *expired*.
//
// # Shape
//
// [Acquire] waits for the NIC and its link, asks and configures it; [Keep] renews, in a
// process that stays in the background as attach's keeper does. Sockets are open only while
// something is asked: a DHCP client of the system finds its port free.
//
// # What holds
//
//   - The address is never taken off the NIC: the server's disk is reached by it. A lease
//     that expires or is refused is told in the kernel's log, and asked for again.
//   - The lease goes by the client identifier that firmware and most systems use, the
//     MAC address: the address is the one that iPXE had.
//   - What DHCP servers send is checked; nothing of it is run, or stands in a file unchecked.
//
// # Not done
//
// IPv6, and addresses that are already in use (no ARP probe: iPXE had it a second ago).
package lease
