package blockstore

import "time"

// ImageInfo describes a golden image.
type ImageInfo struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`   // 128-bit random, hex
	Size    int64     `json:"size"` // bytes, multiple of 512
	Created time.Time `json:"created"`
	// ContentID identifies what the image reads as: SHA-256 over its size and
	// the SHA-256 of each 16 MiB chunk that is not all zero. Empty until known.
	ContentID string `json:"contentId,omitempty"`
	// SHA256 of the raw disk, as sha256sum prints it. Empty where not computed.
	SHA256    string `json:"sha256,omitempty"`
	Format    string `json:"format,omitempty"` // what it was imported from: raw, gzip, qcow2 …
	Allocated int64  `json:"allocated"`        // bytes that are not known to be zero
	Clones    int    `json:"clones"`           // volumes made from it that still exist
	Owner     string `json:"owner,omitempty"`
}

// VolumeInfo describes an OS volume.
type VolumeInfo struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
	Image   string    `json:"image,omitempty"` // name of the golden image at the time of the clone
	ImageID string    `json:"imageId,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	// Allocated is what the volume itself takes on the host's disk, in bytes
	// (its own layer, not what it shares with its image).
	Allocated int64 `json:"allocated"`
	// Quota bounds the blocks that the volume's own layer holds, in bytes; 0: none.
	Quota int64 `json:"quota,omitempty"`
	// Epoch grows each time that what clients have cached may be wrong:
	// acknowledged writes may have been lost, or the volume was rolled back.
	// EpochCause says why it did last. A client that says for which epoch it
	// started is refused when that is an older one, unless OldAccepted.
	Epoch       uint64    `json:"epoch"`
	EpochSince  time.Time `json:"epochSince,omitzero"`
	EpochCause  string    `json:"epochCause,omitempty"`
	OldAccepted bool      `json:"oldEpochsAccepted,omitempty"`

	Open int `json:"open"` // handles open on it now
	// Snapshots is how many there are of it.
	Snapshots int `json:"snapshots"`
	// Failure is what a failed sync did to the volume, nil without one.
	Failure *FailureInfo `json:"failure,omitempty"`
}

// RetiredVolume describes a deleted volume that can still be restored.
type RetiredVolume struct {
	VolumeInfo
	Retired time.Time `json:"retired"`
	Until   time.Time `json:"until"` // when it is removed for good
}

// SnapshotInfo describes a snapshot of a volume.
type SnapshotInfo struct {
	Volume  string    `json:"volume"`
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	Size    int64     `json:"size"` // of the disk, in bytes
	Created time.Time `json:"created"`
	Owner   string    `json:"owner,omitempty"`
	Cause   string    `json:"cause,omitempty"` // what made it, unless asked for by name
	Clones  int       `json:"clones"`          // volumes that stand on it
}

// SnapshotRequest says what CreateSnapshot shall make, and as what RollBack
// shall keep the present state (by default before-rollback-TIME).
type SnapshotRequest struct {
	Name      string
	RequestID string
	Owner     string
	// Discard has RollBack give up what a volume holds that failed and whose
	// disk still fails.
	Discard bool
}

// ImportRequest says what ImportImage shall make of a Source.
type ImportRequest struct {
	Name      string
	RequestID string // optional: the same id again returns the first result
	Owner     string // optional label
	Progress  func(Progress)
}

// Progress of a long operation. Rate and time left are the observer's to work out.
type Progress struct {
	Stage string `json:"stage"` // "read", "sync", "seal", "verify", "export", "check", "check again"
	// Done and Total count bytes of the input (import), of the disk, or of the
	// metadata (check); Total is -1 when unknown.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	Disk  int64 `json:"disk"` // bytes of the disk seen so far
}

// CloneRequest says what CreateVolume shall make.
type CloneRequest struct {
	Name      string
	Image     string // golden image; without it and Snapshot the volume is empty, of Size
	Volume    string // with Snapshot: the volume that it is of
	Snapshot  string
	Size      int64 // bytes; 0 means the image's size; less than that is refused
	Quota     int64 // bytes that the volume itself may hold; 0: no bound
	RequestID string
	Owner     string
}

// VerifyReport is the outcome of VerifyImage. Bad lists the damaged chunks.
type VerifyReport struct {
	Image   string `json:"image"`
	Checked int64  `json:"checked"` // bytes of the disk that were read
	// Compared were compared with the checksums that were taken when the image
	// was sealed or soon after; of Learnt there were none, and they were taken.
	Compared int64      `json:"compared"`
	Learnt   int64      `json:"learnt"`
	Bad      []BadChunk `json:"bad"`
	// Cached says that the file system refuses to be read past the page cache,
	// so that memory may have been checked in the place of the disk.
	Cached bool `json:"cached,omitempty"`
}

// BadChunk is a chunk of an image whose content is not what was sealed.
type BadChunk struct {
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Reason string `json:"reason"`
}

// Extent is a run of a disk with one allocation state.
type Extent struct {
	Offset int64
	Length int64
	Zero   bool // reads as zero and is not allocated
	Own    bool // the volume's own layer holds it (otherwise its base does)
}
