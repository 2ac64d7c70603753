package blockstore

// The geometry is part of the format of the store and cannot be changed.
const (
	// BlockSize is the unit of copy-on-write, in bytes.
	BlockSize  = 4096
	blockShift = 12

	// RegionSize is the part of a disk that one map record describes, and the
	// chunk of content ids and checksums, in bytes.
	RegionSize   = 16 << 20
	regionShift  = 24
	regionBlocks = RegionSize / BlockSize

	// segmentSize is where layer data is cut into files: ext4 ends a file at
	// 16 TiB, and small files are cheap to free in steps.
	segmentSize  = 1 << 40
	segmentShift = 40

	// SectorSize divides the size of every disk.
	SectorSize = 512

	// MaxSize is the largest disk, in bytes (1 PiB).
	MaxSize = 1 << 50
)

// blocksOf returns the number of blocks of a disk of size bytes; the last one
// may be cut short.
func blocksOf(size int64) int64 { return (size + BlockSize - 1) >> blockShift }

// regionsOf returns the number of regions of a disk of size bytes.
func regionsOf(size int64) uint32 { return uint32((size + RegionSize - 1) >> regionShift) }

// layerID names a layer: one version of one lineage.
type layerID struct {
	lineage uint64
	version uint32
}
