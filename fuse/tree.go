package fuse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// listTimeout is how long the kernel may believe that a disk is there.
const listTimeout = time.Second

// rootDir holds the collections.
type rootDir struct {
	fs.Inode
	srv *Server
}

var (
	_ fs.NodeOnAdder   = (*rootDir)(nil)
	_ fs.NodeGetattrer = (*rootDir)(nil)
)

func (d *rootDir) OnAdd(ctx context.Context) {
	for name, dir := range map[string]*listDir{
		"images":  {srv: d.srv, name: "images", c: d.srv.o.Images},
		"volumes": {srv: d.srv, name: "volumes", c: d.srv.o.Volumes, writable: d.srv.o.Writable},
	} {
		d.AddChild(name, d.NewPersistentInode(ctx, dir, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: inode(name)}), false)
	}
}

func (d *rootDir) Getattr(_ context.Context, _ fs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	d.srv.dirAttr(&out.Attr, time.Time{})
	return 0
}

// listDir is a collection.
type listDir struct {
	fs.Inode
	srv      *Server
	name     string
	c        Collection
	writable map[string]WritableDisk
}

var (
	_ fs.NodeGetattrer = (*listDir)(nil)
	_ fs.NodeLookuper  = (*listDir)(nil)
	_ fs.NodeReaddirer = (*listDir)(nil)
)

func (d *listDir) Getattr(_ context.Context, _ fs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	d.srv.dirAttr(&out.Attr, time.Time{})
	return 0
}

func (d *listDir) Lookup(_ context.Context, name string, out *gofuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, end, errno := d.srv.begin()
	if errno != 0 {
		return nil, errno
	}
	defer end()
	e, err := d.c.Entry(ctx, name)
	if err != nil {
		return nil, d.srv.nameErrno("lookup", d.name+"/"+name, err)
	}
	child := &diskDir{srv: d.srv, list: d, name: name, id: e.ID, writable: d.writable[name]}
	d.srv.dirAttr(&out.Attr, e.Created)
	out.SetEntryTimeout(listTimeout)
	return d.NewInode(ctx, child, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: inode(d.name, e.ID, name)}), 0
}

func (d *listDir) Readdir(_ context.Context) (fs.DirStream, syscall.Errno) {
	ctx, end, errno := d.srv.begin()
	if errno != 0 {
		return nil, errno
	}
	defer end()
	entries, err := d.c.List(ctx)
	if err != nil {
		return nil, d.srv.nameErrno("list", d.name, err)
	}
	list := make([]gofuse.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = gofuse.DirEntry{Name: e.Name, Mode: syscall.S_IFDIR, Ino: inode(d.name, e.ID, e.Name)}
	}
	return fs.NewListDirStream(list), 0
}

// inode makes the number of a file out of what identifies it, so that the kernel
// knows it again, and does not take a new disk of an old name for the old one.
func inode(parts ...string) uint64 {
	h := sha256.New()
	for _, p := range parts {
		h.Write(append([]byte(p), 0))
	}
	n := binary.LittleEndian.Uint64(h.Sum(nil))
	return n>>1 | 2 // not those of go-fuse: 0, 1, 1<<63 and above
}

func (s *Server) dirAttr(a *gofuse.Attr, t time.Time) {
	a.Mode, a.Nlink, a.Owner = 0o500, 2, gofuse.Owner{Uid: s.o.UID, Gid: s.o.GID}
	setTimes(a, t)
}

func setTimes(a *gofuse.Attr, t time.Time) {
	if !t.IsZero() {
		a.SetTimes(&t, &t, &t)
	}
}
