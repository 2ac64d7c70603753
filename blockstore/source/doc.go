// Package source reads disk images on their way into the block store.
//
// Open takes a file, OpenStream a pipe or an upload; both return a
// blockstore.Source that gives the disk's bytes from the first to the last.
// What the input holds is told by its content, never by its name:
//
//	raw    the disk itself; holes of a sparse file are not read
//	gzip   .gz, one member or several
//	xz     .xz, one stream or several, with any check of the format
//	zstd   .zst, one frame or several, windows up to 128 MiB
//	zip    .zip with one file inside, stored or deflated, ZIP64 too
//
// A format that has to be converted (qcow2, vmdk, vhdx …) is not read here:
// Open returns *NeedsConverter and leaves the file to the caller. A zip is read
// through its directory, which stands at its end, so OpenStream refuses it with
// *NeedsFile: the caller spools the stream to a file and calls Open.
//
// # Trust
//
// Inputs are hostile until proven otherwise. Memory is bounded whatever an
// input claims (dictionary and window limits, a fixed number of blocks of read
// ahead), a panic in a decoder is an error of that input, every checksum of a
// container is verified, and nothing may follow the compressed data. A source
// that ended with io.EOF was whole; until then its bytes are provisional.
//
// # Ownership
//
// A successful Open or OpenStream hands the input over: Close closes it. After
// an error the input stays the caller's. Decompression runs ahead in one
// goroutine, which Close stops and waits for.
package source
