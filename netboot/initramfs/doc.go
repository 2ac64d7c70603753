// Package initramfs is what runs in the initramfs of a server that boots from the
// network: it loads the NBD module, attaches the server's volume and keeps it
// attached. What it needs to know came with the initrd, in files below Dir; they are
// removed when the volume is attached, before the root file system's programs run.
package initramfs
