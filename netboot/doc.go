// Package netboot hands out what servers need to boot from the network: an iPXE
// script, and the kernel and initrd of the server's own volume, over HTTP.
//
// # Words
//
// A server *claims* an identity: the MAC address of the NIC it boots from, its
// UUID and its serial number. A *record* says which volume belongs to it. A *boot*
// is one start of a server; its *stages* are the steps that were seen, with their
// times. A *segment* is an archive that the kernel unpacks on top of the volume's own
// initrd: it has the helper that attaches the volume, the NBD module of the volume's
// kernel, and the secret by which the volume's export is opened.
//
// # Shape
//
//	firmware --> iPXE --GET boot.ipxe--> a script that asks again, with the identity
//	GET script?mac=…&uuid=…&serial=…  --> a script for this server and this boot
//	GET b/BOOT/kernel, b/BOOT/initrd  --> the volume's own; the segment behind it
//	POST b/BOOT/stage/NAME            --> the helper tells how far it is
//
// Everything is rendered for each request: there are no files to keep in step. What
// the package needs to know it asks its Host for, an interface of few methods.
//
// # What holds
//
//   - The export's secret stands in the segment alone, never in a script or on a
//     kernel's command line, which every user of the server may read.
//   - Files of a boot are only given to the address that got its script, and for a
//     while. A claim that names two servers gets nothing, and is audited.
//   - Identities are what a server says of itself: whoever forges the MAC address of
//     another server on the boot network gets its boot, unless the record has
//     addresses that may ask. See docs/security.md.
//   - Texts of disks and of servers are cleaned before they stand in a script.
//
// # Not done
//
// iPXE cannot boot from NBD itself, so that systems without an initrd of initramfs-tools
// or dracut do not boot this way.
package netboot
