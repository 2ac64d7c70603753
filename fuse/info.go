package fuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"goldstream/disk"
)

// infoFile is info.json of a disk.
type infoFile struct {
	gofs.Inode
	dir *diskDir
}

var (
	_ gofs.NodeGetattrer = (*infoFile)(nil)
	_ gofs.NodeOpener    = (*infoFile)(nil)
)

// Info is the content of info.json.
type Info struct {
	Disk  any        `json:"disk"`
	Table *TableInfo `json:"partitionTable,omitempty"` // nil: there is none
}

// TableInfo describes a partition table.
type TableInfo struct {
	Error      string          `json:"error,omitempty"` // why it gives no partitions
	Scheme     disk.Scheme     `json:"scheme,omitempty"`
	GUID       string          `json:"guid,omitempty"`
	SectorSize int             `json:"sectorSize,omitempty"`
	Damage     string          `json:"damage,omitempty"` // of one of the copies of a GPT
	Partitions []PartitionInfo `json:"partitions"`
}

// PartitionInfo describes a partition. Positions are in bytes.
type PartitionInfo struct {
	File   string `json:"file"`
	Number int    `json:"number"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	Type   string `json:"type"` // a GUID, or two hex digits
	GUID   string `json:"guid,omitempty"`
	Name   string `json:"name,omitempty"`
}

func (n *infoFile) content(ctx context.Context) ([]byte, Entry, error) {
	e, err := n.dir.entry(ctx)
	if err != nil {
		return nil, e, err
	}
	t, err := n.dir.table(ctx)
	info := Info{Disk: e.Info, Table: tableInfo(t, err)}
	if err != nil && !isTableError(err) {
		return nil, e, err
	}
	p, err := json.MarshalIndent(info, "", "  ")
	return append(p, '\n'), e, err
}

func tableInfo(t *disk.Table, err error) *TableInfo {
	if t == nil {
		if err == nil || !isTableError(err) || errors.Is(err, disk.ErrNoTable) {
			return nil
		}
		return &TableInfo{Error: err.Error(), Partitions: []PartitionInfo{}}
	}
	info := &TableInfo{Scheme: t.Scheme, SectorSize: t.SectorSize, Partitions: []PartitionInfo{}}
	if t.Scheme == disk.GPT {
		info.GUID = t.GUID.String()
	}
	if t.Damage != nil {
		info.Damage = t.Damage.Error()
	}
	for _, p := range shown(t) {
		info.Partitions = append(info.Partitions, partitionInfo(t.Scheme, p))
	}
	return info
}

func partitionInfo(scheme disk.Scheme, p disk.Partition) PartitionInfo {
	info := PartitionInfo{File: partitionName(p.Number), Number: p.Number, Start: p.Start, Size: p.Size, Type: fmt.Sprintf("%02x", p.ID)}
	if scheme == disk.GPT {
		info.Type, info.GUID, info.Name = p.Type.String(), p.GUID.String(), p.Name
	}
	return info
}

func (n *infoFile) stat(ctx context.Context, out *gofuse.Attr) error {
	p, e, err := n.content(ctx)
	if err != nil {
		return err
	}
	out.Mode, out.Nlink, out.Size = 0o400, 1, uint64(len(p))
	out.Owner = gofuse.Owner{Uid: n.dir.srv.o.UID, Gid: n.dir.srv.o.GID}
	setTimes(out, e.Created)
	return nil
}

func (n *infoFile) Getattr(_ context.Context, _ gofs.FileHandle, out *gofuse.AttrOut) syscall.Errno {
	ctx, end, errno := n.dir.srv.begin()
	if errno != 0 {
		return errno
	}
	defer end()
	return n.dir.srv.nameErrno("stat", n.dir.path(infoName), n.stat(ctx, &out.Attr))
}

// Open settles the content. It is read past the page cache: it may have another
// length than the kernel was told.
func (n *infoFile) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	ctx, end, errno := n.dir.srv.begin()
	if errno != 0 {
		return nil, 0, errno
	}
	defer end()
	p, _, err := n.content(ctx)
	if err != nil {
		return nil, 0, n.dir.srv.nameErrno("open", n.dir.path(infoName), err)
	}
	return bytesFile(p), gofuse.FOPEN_DIRECT_IO, 0
}

type bytesFile []byte

var _ gofs.FileReader = bytesFile(nil)

func (b bytesFile) Read(_ context.Context, dest []byte, off int64) (gofuse.ReadResult, syscall.Errno) {
	off = min(off, int64(len(b)))
	return gofuse.ReadResultData(dest[:copy(dest, b[off:])]), 0
}
