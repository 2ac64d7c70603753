package fuse

import (
	"context"
	"fmt"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"goldstream/disk"
)

// dataFile is a disk or one of its partitions.
type dataFile struct {
	gofs.Inode
	dir       *diskDir
	name      string
	partition int // 0: the whole disk
}

var (
	_ gofs.NodeGetattrer = (*dataFile)(nil)
	_ gofs.NodeSetattrer = (*dataFile)(nil)
	_ gofs.NodeOpener    = (*dataFile)(nil)
)

// span is where the file is on the disk. Opened is that disk, or nil for the one
// that stands there now.
func (n *dataFile) span(ctx context.Context, opened Disk, size int64) (start, length int64, err error) {
	if n.partition == 0 {
		return 0, size, nil
	}
	var t *disk.Table
	if opened != nil && !n.dir.list.c.Sealed() {
		t, err = readTable(ctx, opened)
	} else {
		t, err = n.dir.table(ctx)
	}
	if isTableError(err) {
		err = fmt.Errorf("%w (%w)", syscall.ENOENT, err)
	}
	if err != nil {
		return 0, 0, err
	}
	p, err := partition(t, n.partition)
	return p.Start, p.Size, err
}

func (n *dataFile) stat(ctx context.Context, out *gofuse.Attr) error {
	e, err := n.dir.entry(ctx)
	if err != nil {
		return err
	}
	_, size, err := n.span(ctx, nil, e.Size)
	if err != nil {
		return err
	}
	n.attr(out, e, size)
	return nil
}

// attr fills in the blocks by estimate: what of the disk takes room, spread
// evenly. Tools look whether a file is sparse before they ask where.
func (n *dataFile) attr(out *gofuse.Attr, e Entry, size int64) {
	out.Mode, out.Nlink = 0o400, 1
	if n.dir.writable != nil {
		out.Mode = 0o600
	}
	out.Owner = gofuse.Owner{Uid: n.dir.srv.o.UID, Gid: n.dir.srv.o.GID}
	out.Size, out.Blksize = uint64(size), 4096
	share := float64(min(e.Allocated, e.Size)) / float64(max(e.Size, 1))
	out.Blocks = uint64(float64(size/512) * share)
	setTimes(out, e.Created)
}

func (n *dataFile) Getattr(_ context.Context, h gofs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	ctx, end, errno := n.dir.srv.begin()
	if errno != 0 {
		return errno
	}
	defer end()
	if f, ok := h.(*file); ok {
		n.attr(&out.Attr, f.entry, f.size)
	} else if err := n.stat(ctx, &out.Attr); err != nil {
		return n.dir.srv.nameErrno("stat", n.dir.path(n.name), err)
	}
	if n.dir.list.c.Sealed() {
		out.SetTimeout(listTimeout)
	}
	return 0
}

// Setattr takes times, which tools set, and drops them. A disk is as large as it
// is: what would shorten it, as opening it with O_TRUNC does, is refused.
func (n *dataFile) Setattr(ctx context.Context, h gofs.FileHandle, in *gofuse.SetAttrIn, out *gofuse.AttrOut) syscall.Errno {
	if errno := n.Getattr(ctx, h, out); errno != 0 {
		return errno
	}
	return checkSetattr(in, out.Size)
}

func checkSetattr(in *gofuse.SetAttrIn, size uint64) syscall.Errno {
	if want, ok := in.GetSize(); ok && want != size {
		return syscall.EPERM
	}
	_, mode := in.GetMode()
	_, uid := in.GetUID()
	_, gid := in.GetGID()
	if mode || uid || gid {
		return syscall.EPERM
	}
	return 0
}

// Open opens the disk behind the file. What it reads as is settled here.
func (n *dataFile) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	srv := n.dir.srv
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY && n.dir.writable == nil {
		return nil, 0, syscall.EROFS
	}
	ctx, end, errno := srv.begin()
	if errno != 0 {
		return nil, 0, errno
	}
	defer end()
	f, err := n.openFile(ctx)
	if err != nil {
		return nil, 0, srv.nameErrno("open", n.dir.path(n.name), err)
	}
	srv.opened(f)
	switch {
	case n.dir.writable != nil:
		return f, gofuse.FOPEN_DIRECT_IO, 0
	case n.dir.list.c.Sealed():
		return f, gofuse.FOPEN_KEEP_CACHE, 0
	}
	return f, 0, 0
}

func (n *dataFile) openFile(ctx context.Context) (*file, error) {
	e, err := n.dir.entry(ctx)
	if err != nil {
		return nil, err
	}
	d, release, err := n.dir.open(ctx)
	if err != nil {
		return nil, err
	}
	f := &file{calls: n.dir.srv.calls, released: n.dir.srv.released, path: n.dir.path(n.name), entry: e, disk: d, writable: n.dir.writable, release: release}
	f.lender, _ = d.(lender)
	if f.start, f.size, err = n.span(ctx, d, d.Size()); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}
