package v1

import (
	"encoding/json"
	"time"

	"goldstream/blockstore"
)

// Media types of requests and responses.
const (
	TypeJSON   = "application/json"
	TypeNDJSON = "application/x-ndjson"
	TypeRaw    = "application/octet-stream"
	TypeZstd   = "application/zstd"
	TypeSparse = "application/vnd.goldstream.sparse"
)

// Headers beyond HTTP's own.
const (
	// HeaderRequestID carries the caller's id of a request.
	HeaderRequestID = "Idempotency-Key"
	// HeaderDiskSize tells the size in bytes of the disk that is exported.
	HeaderDiskSize = "Goldstream-Disk-Size"
)

// Version answers GET /v1/version.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

// Status answers GET /v1/status.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Data    string    `json:"data"`          // the data directory
	NBD     []string  `json:"nbd,omitempty"` // URIs that serve volumes
	Images  int       `json:"images"`
	Volumes int       `json:"volumes"`
	Free    int64     `json:"free"`  // bytes free on the data directory's file system
	Total   int64     `json:"total"` // bytes it has

	Space blockstore.SpaceInfo `json:"space"`
}

// ImageList answers GET /v1/images.
type ImageList struct {
	Images []blockstore.ImageInfo `json:"images"`
}

// VolumeList answers GET /v1/volumes.
type VolumeList struct {
	Volumes []blockstore.VolumeInfo `json:"volumes"`
}

// HostFile names a file of the daemon's host. A path means what its reader
// makes of it: /dev/stdin, /proc/self and the /tmp of a service are others for
// the daemon than for its client. A client that has the file open therefore
// says which one it is, and the daemon takes no other.
type HostFile struct {
	Path string `json:"path"` // absolute
	// Device and Inode are st_dev and st_ino of the client's file; both 0 take
	// whatever the daemon finds at the path.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
}

// ImportRequest asks for an import of a file on the daemon's host.
type ImportRequest struct {
	HostFile
	Owner string `json:"owner,omitempty"`
}

// CaptureRequest asks for a golden image of what a volume holds now or, with
// Snapshot, held then.
type CaptureRequest struct {
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot,omitempty"`
	Owner    string `json:"owner,omitempty"`
}

// CreateRequest asks for a volume: a clone of Image, or of the Snapshot of
// Volume, where Size 0 means that of what is cloned; or an empty one of Size.
type CreateRequest struct {
	Name     string `json:"name"`
	Image    string `json:"image,omitempty"`
	Volume   string `json:"volume,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Quota    int64  `json:"quota,omitempty"` // bytes that the volume itself may hold; 0: no bound
	Owner    string `json:"owner,omitempty"`
}

// QuotaRequest asks for another quota in bytes; 0 means none.
type QuotaRequest struct {
	Quota int64 `json:"quota"`
}

// GrowRequest asks for a larger volume.
type GrowRequest struct {
	Size int64 `json:"size"`
}

// SnapshotList answers GET /v1/volumes/{name}/snapshots, oldest first.
type SnapshotList struct {
	Snapshots []blockstore.SnapshotInfo `json:"snapshots"`
}

// SnapshotRequest asks for a snapshot of a volume.
type SnapshotRequest struct {
	Name  string `json:"name"`
	Owner string `json:"owner,omitempty"`
}

// PruneRequest asks for the deletion of the snapshots that no rule keeps; with
// Owner only those of that owner count. With DryRun nothing is deleted.
type PruneRequest struct {
	Keep   blockstore.Retention `json:"keep"`
	Owner  string               `json:"owner,omitempty"`
	DryRun bool                 `json:"dryRun,omitempty"`
}

// Pruned answers a PruneRequest: what was deleted or, with DryRun, would be.
type Pruned struct {
	Deleted []blockstore.SnapshotInfo `json:"deleted"`
	DryRun  bool                      `json:"dryRun"`
}

// RollbackRequest asks that a volume reads as one of its snapshots again. What
// it holds now is kept as the snapshot As (by default before-rollback-TIME) of
// Owner.
type RollbackRequest struct {
	Snapshot string `json:"snapshot"`
	As       string `json:"as,omitempty"`
	Owner    string `json:"owner,omitempty"`
	// Disconnect cuts off the NBD clients that have the volume open. Without it
	// the request is refused while there are any.
	Disconnect bool `json:"disconnect,omitempty"`
	// Discard gives up what the volume holds, if it failed and its disk still
	// fails. Nothing is kept then, and the answer names no snapshot.
	Discard bool `json:"discard,omitempty"`
}

// RetiredList answers GET /v1/retired.
type RetiredList struct {
	Retired []blockstore.RetiredVolume `json:"retired"`
}

// RestoreRequest asks for a retired volume back, under its own name or As.
type RestoreRequest struct {
	As string `json:"as,omitempty"`
}

// Event is one line of an NDJSON answer. Exactly one field is set.
type Event struct {
	Progress *blockstore.Progress `json:"progress,omitempty"`
	Result   json.RawMessage      `json:"result,omitempty"`
	Error    *Error               `json:"error,omitempty"`
}

// errorBody is the body of every answer that is not 2xx.
type errorBody struct {
	Error *Error `json:"error"`
}
