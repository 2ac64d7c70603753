package fuse

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"sync/atomic"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"goldstream/disk"
)

const (
	wholeName = "disk"
	infoName  = "info.json"
)

// diskDir is one disk.
type diskDir struct {
	gofs.Inode
	srv      *Server
	list     *listDir
	name, id string
	writable WritableDisk // nil: it is read only

	known atomic.Pointer[disk.Table] // of a sealed disk
}

var (
	_ gofs.NodeGetattrer = (*diskDir)(nil)
	_ gofs.NodeLookuper  = (*diskDir)(nil)
	_ gofs.NodeReaddirer = (*diskDir)(nil)
)

// path names a file of the disk in messages.
func (d *diskDir) path(file string) string { return d.list.name + "/" + d.name + "/" + file }

// entry describes the disk, which must still be the one of this directory.
func (d *diskDir) entry(ctx context.Context) (Entry, error) {
	e, err := d.list.c.Entry(ctx, d.name)
	if err == nil && e.ID != d.id {
		err = syscall.ESTALE
	}
	return e, err
}

// open opens the disk as Collection.Open does; a writable one is open already and
// stays so.
func (d *diskDir) open(ctx context.Context) (Disk, func() error, error) {
	if d.writable != nil {
		return d.writable, func() error { return nil }, nil
	}
	opened, err := d.list.c.Open(ctx, d.name)
	if err != nil {
		return nil, nil, err
	}
	return opened, opened.Close, nil
}

func (d *diskDir) Getattr(_ context.Context, _ gofs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	ctx, end, errno := d.srv.begin()
	if errno != 0 {
		return errno
	}
	defer end()
	e, err := d.entry(ctx)
	if err != nil {
		return d.srv.nameErrno("stat", d.path(""), err)
	}
	d.srv.dirAttr(&out.Attr, e.Created)
	return 0
}

func (d *diskDir) Lookup(_ context.Context, name string, out *gofuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	ctx, end, errno := d.srv.begin()
	if errno != 0 {
		return nil, errno
	}
	defer end()
	child := d.file(name)
	if child == nil {
		return nil, syscall.ENOENT
	}
	if err := child.stat(ctx, &out.Attr); err != nil {
		return nil, d.srv.nameErrno("lookup", d.path(name), err)
	}
	if d.list.c.Sealed() {
		out.SetEntryTimeout(listTimeout)
		out.SetAttrTimeout(listTimeout)
	}
	return d.NewInode(ctx, child, gofs.StableAttr{Mode: syscall.S_IFREG, Ino: inode(d.list.name, d.id, d.name, name)}), 0
}

// node is a file of a disk.
type node interface {
	gofs.InodeEmbedder
	stat(ctx context.Context, out *gofuse.Attr) error
}

// file returns nil for what no disk has.
func (d *diskDir) file(name string) node {
	switch number, ok := partitionNumber(name); {
	case name == infoName:
		return &infoFile{dir: d}
	case name == wholeName:
		return &dataFile{dir: d, name: name}
	case ok:
		return &dataFile{dir: d, name: name, partition: number}
	}
	return nil
}

func partitionName(number int) string { return "p" + strconv.Itoa(number) }

func partitionNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name[min(1, len(name)):])
	return n, err == nil && n > 0 && partitionName(n) == name
}

func (d *diskDir) Readdir(_ context.Context) (gofs.DirStream, syscall.Errno) {
	ctx, end, errno := d.srv.begin()
	if errno != 0 {
		return nil, errno
	}
	defer end()
	table, err := d.table(ctx)
	if err != nil && !isTableError(err) {
		return nil, d.srv.nameErrno("list", d.path(""), err)
	}
	names := []string{wholeName, infoName}
	for _, p := range shown(table) {
		names = append(names, partitionName(p.Number))
	}
	list := make([]gofuse.DirEntry, len(names))
	for i, name := range names {
		list[i] = gofuse.DirEntry{Name: name, Mode: syscall.S_IFREG, Ino: inode(d.list.name, d.id, d.name, name)}
	}
	return gofs.NewListDirStream(list), 0
}

// table reads the partition table of the disk as it is now.
func (d *diskDir) table(ctx context.Context) (*disk.Table, error) {
	if t := d.known.Load(); t != nil {
		return t, nil
	}
	if d.writable != nil {
		return readTable(ctx, d.writable)
	}
	peeked, err := d.list.c.Peek(ctx, d.name)
	if err != nil {
		return nil, err
	}
	defer peeked.Close() // nothing was written
	t, err := readTable(ctx, peeked)
	if err == nil && d.list.c.Sealed() {
		d.known.Store(t)
	}
	return t, err
}

func readTable(ctx context.Context, d Disk) (*disk.Table, error) {
	size := d.Size()
	return disk.Read(readerAt{ctx, d, size}, size)
}

func isTableError(err error) bool {
	return errors.Is(err, disk.ErrNoTable) || errors.Is(err, disk.ErrCorrupt)
}

// shown are the partitions that have a file: all but an extended one of an MBR,
// which holds others.
func shown(t *disk.Table) (list []disk.Partition) {
	if t == nil {
		return nil
	}
	for _, p := range t.Partitions {
		if t.Scheme != disk.MBR || !p.Extended() {
			list = append(list, p)
		}
	}
	return list
}

// partition finds one that has a file.
func partition(t *disk.Table, number int) (disk.Partition, error) {
	for _, p := range shown(t) {
		if p.Number == number {
			return p, nil
		}
	}
	return disk.Partition{}, fs.ErrNotExist
}

// readerAt reads a disk as package io wants it.
type readerAt struct {
	ctx  context.Context
	d    Disk
	size int64
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), r.size-off)))
	if err := r.d.ReadAt(r.ctx, p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
