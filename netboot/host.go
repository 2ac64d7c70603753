package netboot

import (
	"context"
	"errors"
	"io"
	"net/netip"
)

// Modes of a boot.
const (
	ModeVolume = ""       // from the server's volume
	ModeRescue = "rescue" // from the volume, into systemd's rescue target
	ModeLocal  = "local"  // from the server's own disk
)

// Record is what is known of a server that boots here.
type Record struct {
	ID      string         // of the record
	Volume  string         // its name, for people
	Mode    string         // of the next boot
	Options string         // behind those of the volume's boot loader
	Allow   []netip.Prefix // addresses that may ask; none: all
}

// Errors of a Host.
var (
	ErrUnknown     = errors.New("the server is not known")
	ErrConflict    = errors.New("the identity belongs to two servers")
	ErrNotBootable = errors.New("the volume cannot be booted")
)

// Host knows servers and has their files. Its methods may be called from any
// goroutine.
type Host interface {
	// Server finds the record of an identity. ErrUnknown: there is none;
	// ErrConflict: MAC address, UUID and serial belong to different servers.
	Server(ctx context.Context, id Identity) (Record, error)
	// Record is one that Server found. ErrUnknown, here and below: it is no more, or
	// the volume is another server's now.
	Record(ctx context.Context, record string) (Record, error)
	// BootFiles are those of a record. ErrNotBootable: it has none.
	BootFiles(ctx context.Context, record string) (Files, error)
	// Changed says that the volume was written where its boot files came from. It
	// may take a while, and is asked once for each script.
	Changed(ctx context.Context, record string) bool
	// Secret is the export name by which the server opens its volume, and the
	// address of the listener for a client that reached us at the given one.
	Secret(ctx context.Context, record string, reached netip.Addr) (secret, address string, err error)
	// Began says that a record's boot has taken its mode: the next one is from
	// the volume again.
	Began(ctx context.Context, record string)
	// Refused is kept in the audit trail.
	Refused(ctx context.Context, from netip.Addr, id Identity, why string)
}

// Files are what a server starts.
type Files struct {
	Options string // of the kernel, by the volume's boot loader
	Root    string // root= where those name no file system by itself
	Modules []string
	// Open opens the kernel, the initrd or one of the modules, with its size.
	Open func(name string) (io.ReadCloser, int64, error)
}

// Names of files for Open, besides those of modules.
const (
	FileKernel = "kernel"
	FileInitrd = "initrd"
)
