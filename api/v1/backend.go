package v1

import (
	"context"
	"io"
	"time"

	"goldstream/blockstore"
)

// Backend is what the handlers translate to. Names are its to validate.
type Backend interface {
	ImageBackend
	VolumeBackend
	SnapshotBackend
	RetiredBackend
	TokenBackend
	BootBackend
	LossBackend
	StoreBackend
	TaskBackend
	PlanBackend
	BundleBackend
	CaptureBackend
	ResourceBackend
	ProfileBackend
	AuditBackend
	MountBackend
	ScrubBackend
	RepairBackend
	AccountBackend
	HealthBackend
	Status(ctx context.Context) (Status, error)
	// Connections lists the NBD clients and what they did.
	Connections(ctx context.Context) (ConnectionList, error)
	// Usage says what each disk takes and what it shares.
	Usage(ctx context.Context) (blockstore.UsageReport, error)
}

// ImageBackend is the part of a Backend that knows golden images.
type ImageBackend interface {
	Images(ctx context.Context) ([]blockstore.ImageInfo, error)
	Image(ctx context.Context, name string) (blockstore.ImageInfo, error)
	// ImportFile imports a file of the backend's host. An error that wraps
	// fs.ErrPermission makes clients send the content instead.
	ImportFile(ctx context.Context, file HostFile, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	// ImportStream imports what r yields; size is its length or -1.
	ImportStream(ctx context.Context, r io.Reader, size int64, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	OpenImage(ctx context.Context, name string) (Disk, error)
	VerifyImage(ctx context.Context, name string, progress func(blockstore.Progress)) (blockstore.VerifyReport, error)
	// DigestImage tells the content id and, with raw, the SHA-256 of the raw disk.
	DigestImage(ctx context.Context, name string, raw bool, progress func(blockstore.Progress)) (blockstore.ImageDigests, error)
	CaptureImage(ctx context.Context, volume string, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	DeleteImage(ctx context.Context, name, requestID string) error
}

// VolumeBackend is the part of a Backend that knows OS volumes.
type VolumeBackend interface {
	CreateVolume(ctx context.Context, req blockstore.CloneRequest) (blockstore.VolumeInfo, error)
	Volumes(ctx context.Context) ([]blockstore.VolumeInfo, error)
	Volume(ctx context.Context, name string) (blockstore.VolumeInfo, error)
	GrowVolume(ctx context.Context, name string, size int64) (blockstore.VolumeInfo, error)
	SetQuota(ctx context.Context, name string, quota int64) (blockstore.VolumeInfo, error)
	DeleteVolume(ctx context.Context, name, requestID string) error
	// RetireVolume deletes a volume that can be restored for as long as keep.
	RetireVolume(ctx context.Context, name string, keep time.Duration, requestID string) error
}

// SnapshotBackend is the part of a Backend that knows snapshots of volumes.
type SnapshotBackend interface {
	Snapshots(ctx context.Context, volume string) ([]blockstore.SnapshotInfo, error)
	CreateSnapshot(ctx context.Context, volume string, req blockstore.SnapshotRequest) (blockstore.SnapshotInfo, error)
	OpenSnapshot(ctx context.Context, volume, name string) (Disk, error)
	CaptureSnapshot(ctx context.Context, volume, name string, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	DeleteSnapshot(ctx context.Context, volume, name, requestID string) error
	PruneSnapshots(ctx context.Context, volume string, keep blockstore.Retention, owner string, dry bool) ([]blockstore.SnapshotInfo, error)
	// RollBack refuses while clients are connected to the volume, or with
	// disconnect cuts them off. It returns the snapshot that keeps the state
	// that was left.
	RollBack(ctx context.Context, volume, name string, disconnect bool, req blockstore.SnapshotRequest) (blockstore.SnapshotInfo, error)
}

// RetiredBackend is the part of a Backend that knows deleted volumes that can
// still be restored.
type RetiredBackend interface {
	RetiredVolumes(ctx context.Context) ([]blockstore.RetiredVolume, error)
	RestoreVolume(ctx context.Context, idOrName, as, requestID string) (blockstore.VolumeInfo, error)
	RemoveRetired(ctx context.Context, idOrName, requestID string) error
}

// Disk is what an export reads.
type Disk interface {
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) error
	Extents(ctx context.Context, off, length int64, yield func(length int64, zero, own bool) bool) error
	Close() error
}
