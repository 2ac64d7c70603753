// Package inspect tells what is on an untrusted disk: its file systems, the
// operating systems, their kernels, and whether one can boot from the network.
//
// Everything is read in a disk cell that may not write (package sandbox), with
// journals left as they are. What the disk says is data: texts are cleaned of what
// terminals would obey, files have limits, and a system that contradicts itself is
// reported as such.
//
// A *root* is a file system with an os-release file. Its *kernels* are the files
// /boot/vmlinuz-VERSION, for which fstab's /boot is looked at too. A kernel can boot
// from the network if it has an initrd, and the NBD client as a module or built in.
package inspect
