package blockstore

import "unsafe"

// A block is old or new after a kill, never a mixture: a recovery knows a block
// by its checksum, and one that is neither what an intent says nor what the one
// before it said would be taken for never written, with all that was
// acknowledged of it.
//
// But the kernel copies a write into its page cache with page faults off. Where
// it comes to a page of the source that is not in memory - never touched, as
// zeros in a program's bss are, swapped out, or just being moved by compaction -
// it keeps what it has copied so far, gets the page and goes on, unless the
// process was killed meanwhile: then that is all (generic_perform_write, Linux
// 6.18). So the pages of the source must begin where the blocks of the file do,
// and what is cut off are whole blocks.

// stepsBehind returns how many bytes after p's first one there is memory for
// offset off of a file that is in step with it; less than a block.
func stepsBehind(p []byte, off int64) int {
	at := int64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
	return int((off - at) & (BlockSize - 1))
}

// inStep tells that a write of p at off, if it is cut off where a page of p
// begins, is cut off between two blocks: p has its page borders where the file
// has its blocks, or none.
func inStep(p []byte, off int64) bool {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(p))) & (BlockSize - 1))
	return at+len(p) <= BlockSize || stepsBehind(p, off) == 0
}
