package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"io/fs"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
	"goldstream/personalize/step"
)

// cellFiles is the mounted tree of a cell as steps want it. What the guest tells is
// the disk's word: steps read no more than step.MaxFile of it.
type cellFiles struct {
	cell *sandbox.Cell
	rsa  func(context.Context) (*rsa.PrivateKey, error)
}

var (
	_ step.Files    = cellFiles{}
	_ step.Grower   = cellFiles{}
	_ step.KeyMaker = cellFiles{}
)

func (f cellFiles) Stat(ctx context.Context, path string) (step.Info, error) {
	i, err := f.cell.Stat(ctx, path)
	if err != nil {
		return step.Info{}, err
	}
	return step.Info{Mode: mode(i), UID: int(i.UID), GID: int(i.GID), Size: i.Size}, nil
}

func mode(i sandbox.Info) fs.FileMode {
	m := fs.FileMode(i.Mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if i.Mode&bit != 0 {
			m |= flag
		}
	}
	switch i.Type {
	case wire.TypeFile:
	case wire.TypeDirectory:
		m |= fs.ModeDir
	default:
		m |= fs.ModeIrregular
	}
	return m
}

func (f cellFiles) Read(ctx context.Context, path string) ([]byte, error) {
	var b bytes.Buffer
	err := f.cell.Read(ctx, path, &b, step.MaxFile)
	return b.Bytes(), err
}

func (f cellFiles) Write(ctx context.Context, path string, data []byte) error {
	return f.cell.Write(ctx, path, bytes.NewReader(data), 0o600)
}

func (f cellFiles) List(ctx context.Context, dir string) ([]string, error) {
	entries, err := f.cell.List(ctx, dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names, err
}

func (f cellFiles) Walk(ctx context.Context, dir string) ([]step.Entry, error) {
	entries, err := f.cell.Walk(ctx, dir)
	var list []step.Entry
	for _, e := range entries {
		list = append(list, step.Entry{Path: e.Name, Regular: e.Type == wire.TypeFile})
	}
	return list, err
}

func (f cellFiles) Mkdir(ctx context.Context, path string) error {
	return f.cell.Mkdir(ctx, path, 0o755)
}

func (f cellFiles) Remove(ctx context.Context, path string) error { return f.cell.Remove(ctx, path) }

// Chmod takes the bits of fs.FileMode and, as steps write them, plain octal ones.
func (f cellFiles) Chmod(ctx context.Context, path string, m fs.FileMode) error {
	bits := uint32(m) & 0o7777
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return f.cell.Chmod(ctx, path, bits)
}

func (f cellFiles) Chown(ctx context.Context, path string, uid, gid int) error {
	return f.cell.Chown(ctx, path, uid, gid)
}

func (f cellFiles) GrowRoot(ctx context.Context) error {
	_, _, err := f.cell.GrowRoot(ctx)
	return err
}

func (f cellFiles) RSAKey(ctx context.Context) (*rsa.PrivateKey, error) {
	if f.rsa == nil {
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return f.rsa(ctx)
}
