package blockstore

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"
)

// errMapping says that a page of a file that is mapped could not be had: the
// file was cut, or its disk failed, or had no room for it.
var errMapping = errors.New("a page of the mapped file is gone")

// catchFault ends a function that touches b, the mapping of a file that another
// program may have cut, or of which the disk may fail to read a page or have no
// room for it. The kernel says so by a fault, which would end the process, and
// with it the disks of all volumes. It is deferred with what
// debug.SetPanicOnFault(true) has returned, and makes such a fault an
// errMapping; all other panics go on.
func catchFault(b []byte, old bool, err *error) {
	debug.SetPanicOnFault(old)
	if p := recover(); p != nil {
		*err = faultIn(b, p)
	}
}

// faultIn tells a fault at an address of b, which is a mapping of a file, from
// every other panic, which it raises again.
func faultIn(b []byte, panicked any) error {
	at, ok := panicked.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		panic(panicked)
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if at.Addr() < start || at.Addr()-start >= uintptr(len(b)) {
		panic(panicked)
	}
	return fmt.Errorf("%w (at %d of %d bytes): was it cut by another program, or did its disk fail?", errMapping, at.Addr()-start, len(b))
}
