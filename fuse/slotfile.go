package fuse

import (
	"context"
	"os"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// slotDir is the root of a slot. Nothing of it is believed for longer than one call:
// the kernel keeps no names and attributes.
type slotDir struct {
	gofs.Inode
	slot *Slot
}

var (
	_ gofs.NodeOnAdder   = (*slotDir)(nil)
	_ gofs.NodeGetattrer = (*slotDir)(nil)
	_ gofs.NodeLookuper  = (*slotDir)(nil)
	_ gofs.NodeStatfser  = (*slotDir)(nil)
)

func (d *slotDir) OnAdd(ctx context.Context) {
	file := d.NewPersistentInode(ctx, &slotFile{slot: d.slot}, gofs.StableAttr{Mode: syscall.S_IFREG, Ino: inode(wholeName)})
	d.AddChild(wholeName, file, false)
}

func (d *slotDir) Getattr(ctx context.Context, _ gofs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = 0o555, 2
	return d.slot.refuseOwn(ctx, "getattr")
}

func (d *slotDir) Lookup(ctx context.Context, name string, out *gofuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	file := d.GetChild(name)
	if file == nil {
		return nil, syscall.ENOENT
	}
	if errno := d.slot.refuseOwn(ctx, "lookup"); errno != 0 {
		return nil, errno
	}
	d.slot.fileAttr(&out.Attr)
	return file, 0
}

func (d *slotDir) Statfs(ctx context.Context, _ *gofuse.StatfsOut) syscall.Errno {
	return d.slot.refuseOwn(ctx, "statfs")
}

// slotFile is disk of a slot.
type slotFile struct {
	gofs.Inode
	slot *Slot
}

var (
	_ gofs.NodeGetattrer = (*slotFile)(nil)
	_ gofs.NodeSetattrer = (*slotFile)(nil)
	_ gofs.NodeOpener    = (*slotFile)(nil)
)

// Getattr does not look at the handle: go-fuse passes any that is open where the
// kernel gives none, also one of a volume that was detached.
func (n *slotFile) Getattr(ctx context.Context, _ gofs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	if errno := n.slot.refuseOwn(ctx, "getattr"); errno != 0 {
		return errno
	}
	n.slot.fileAttr(&out.Attr)
	return 0
}

func (s *Slot) fileAttr(out *gofuse.Attr) {
	out.Mode, out.Nlink, out.Blksize = 0o666, 1, 4096
	// In a user namespace nobody may write to what has an owner that is not mapped.
	out.Uid, out.Gid = uint32(os.Geteuid()), uint32(os.Getegid())
	if a := s.now.Load(); a != nil {
		out.Size = uint64(a.size)
	}
	out.Blocks = out.Size / 512
}

// Setattr takes times and drops them, as dataFile does.
func (n *slotFile) Setattr(ctx context.Context, h gofs.FileHandle, in *gofuse.SetAttrIn, out *gofuse.AttrOut) syscall.Errno {
	if errno := n.Getattr(ctx, h, out); errno != 0 {
		return errno
	}
	return checkSetattr(in, out.Size)
}

// Open is past the page cache: what one volume wrote there is not for the next one.
func (n *slotFile) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if errno := n.slot.refuseOwn(ctx, "open"); errno != 0 {
		return nil, 0, errno
	}
	a := n.slot.now.Load()
	if a == nil {
		return nil, 0, syscall.ENXIO
	}
	if a.readOnly && flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	return a.open(), gofuse.FOPEN_DIRECT_IO, 0
}
