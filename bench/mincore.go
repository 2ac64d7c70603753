package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore tells of each page of a mapping whether it is in memory: bit 0 of its
// byte of in.
func mincore(mapping, in []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mapping))),
		uintptr(len(mapping)), uintptr(unsafe.Pointer(unsafe.SliceData(in))))
	if errno != 0 {
		return errno
	}
	return nil
}
