package v1

import (
	"context"
	"io"

	"goldstream/blockstore"
)

// Backend is what the handlers translate to. Names are its to validate.
type Backend interface {
	ImageBackend
	VolumeBackend
	Status(ctx context.Context) (Status, error)
}

// ImageBackend is the part of a Backend that knows golden images.
type ImageBackend interface {
	Images(ctx context.Context) ([]blockstore.ImageInfo, error)
	Image(ctx context.Context, name string) (blockstore.ImageInfo, error)
	// ImportFile imports a file of the backend's host. An error that wraps
	// fs.ErrPermission makes clients send the content instead.
	ImportFile(ctx context.Context, path string, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	// ImportStream imports what r yields; size is its length or -1.
	ImportStream(ctx context.Context, r io.Reader, size int64, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	OpenImage(ctx context.Context, name string) (Disk, error)
	VerifyImage(ctx context.Context, name string, progress func(blockstore.Progress)) (blockstore.VerifyReport, error)
	CaptureImage(ctx context.Context, volume string, req blockstore.ImportRequest) (blockstore.ImageInfo, error)
	DeleteImage(ctx context.Context, name, requestID string) error
}

// VolumeBackend is the part of a Backend that knows OS volumes.
type VolumeBackend interface {
	CreateVolume(ctx context.Context, req blockstore.CloneRequest) (blockstore.VolumeInfo, error)
	Volumes(ctx context.Context) ([]blockstore.VolumeInfo, error)
	Volume(ctx context.Context, name string) (blockstore.VolumeInfo, error)
	GrowVolume(ctx context.Context, name string, size int64) (blockstore.VolumeInfo, error)
	DeleteVolume(ctx context.Context, name, requestID string) error
}

// Disk is what an export reads.
type Disk interface {
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) error
	Extents(ctx context.Context, off, length int64, yield func(length int64, zero, own bool) bool) error
	Close() error
}
