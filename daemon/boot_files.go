package daemon

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"goldstream/api/v1"
	"goldstream/netboot"
)

// Boot files stand in DATA/boot/files/KEY: those of personalize/inspect's Extract and
// its description, boot.json. KEY is the SHA-256 of the description, in hex: one copy
// serves all servers whose volumes boot the same.
const (
	bootFilesDir  = "files"
	bootManifest  = "boot.json"
	mostManifest  = 4 << 20
	mostBootFiles = 2 << 30 // of one volume, all together
	mostBootNames = 32
)

// manifest is what boot.json says, as far as a boot needs it.
type manifest struct {
	Version string         `json:"version"`
	Kernel  manifestFile   `json:"kernel"`
	Initrd  manifestFile   `json:"initrd"`
	Modules []manifestFile `json:"modules"`
	Options string         `json:"options"`
	Root    string         `json:"root"`
	Placed  bool           `json:"placed"`
	Ranges  []bootRange    `json:"ranges"`
}

type manifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (m *manifest) files() []manifestFile {
	return append([]manifestFile{m.Kernel, m.Initrd}, m.Modules...)
}

func (d *Daemon) bootDir(parts ...string) string {
	return filepath.Join(append([]string{d.dir, "boot"}, parts...)...)
}

// PutBootFiles keeps the boot files that a tar archive has, boot.json first, and
// returns their key.
func (b *backend) PutBootFiles(ctx context.Context, r io.Reader) (key string, err error) {
	if err := b.d.changeable(); err != nil {
		return "", err
	}
	dir := b.d.bootDir(bootFilesDir)
	if err := makeDirs(dir); err != nil {
		return "", err
	}
	partial, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(partial)) }()
	if key, err = unpackBootFiles(ctx, r, partial); err != nil {
		return "", err
	}
	return b.d.keepBootFiles(partial, key)
}

func badBootFiles(format string, args ...any) error {
	return &v1.Error{Code: v1.CodeInvalid, Message: "boot files: " + fmt.Sprintf(format, args...)}
}

// checkBootKey refuses what is no key: keys are names of directories, and come from
// clients and from disk.
func checkBootKey(key string) error {
	if len(key) != 2*sha256.Size || strings.Trim(key, "0123456789abcdef") != "" {
		return badBootFiles("%.80q is no key of them", key)
	}
	return nil
}

func unpackBootFiles(ctx context.Context, r io.Reader, dir string) (key string, err error) {
	var m manifest
	var wanted []manifestFile
	t := tar.NewReader(io.LimitReader(r, mostBootFiles))
	for count := 0; ; count++ {
		head, err := t.Next()
		if err == io.EOF && count > 0 && len(wanted) == 0 {
			return key, syncDir(dir)
		}
		if err != nil || count > mostBootNames {
			return "", badBootFiles("the archive breaks off, or is none: %v", err)
		}
		if count == 0 {
			text, err := io.ReadAll(io.LimitReader(t, mostManifest))
			if err != nil || head.Name != bootManifest || json.Unmarshal(text, &m) != nil {
				return "", badBootFiles("it does not begin with %s: %v", bootManifest, err)
			}
			sum := sha256.Sum256(text)
			key, wanted = hex.EncodeToString(sum[:]), m.files()
			if err := checkModules(m.Modules); err != nil {
				return "", err
			}
			if err := writeSynced(filepath.Join(dir, bootManifest), text); err != nil {
				return "", err
			}
			continue
		}
		i := slices.IndexFunc(wanted, func(f manifestFile) bool { return f.Name == head.Name })
		if i < 0 || !filepath.IsLocal(head.Name) || filepath.Base(head.Name) != head.Name {
			return "", badBootFiles("there is no place for %.100q", head.Name)
		}
		if err := unpackBootFile(ctx, t, filepath.Join(dir, head.Name), wanted[i]); err != nil {
			return "", err
		}
		wanted = slices.Delete(wanted, i, i+1)
	}
}

func unpackBootFile(ctx context.Context, r io.Reader, path string, want manifestFile) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), readerOf(ctx, r))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(sum.Sum(nil)) != want.SHA256 {
		return badBootFiles("%s is not what %s says", want.Name, bootManifest)
	}
	return nil
}

// readerOf ends with a context.
func readerOf(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// manifest reads the description of boot files.
func (d *Daemon) manifest(key string) (m manifest, err error) {
	text, err := os.ReadFile(d.bootDir(bootFilesDir, key, bootManifest))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// filesOf are the boot files of a record.
func (d *Daemon) filesOf(r bootRecord) (netboot.Files, error) {
	m, err := d.manifest(r.Files)
	if err != nil {
		return netboot.Files{}, fmt.Errorf("%w: its boot files are not there ('goldstream boot refresh %s'): %w", netboot.ErrNotBootable, r.Volume, err)
	}
	f := netboot.Files{Options: m.Options, Root: m.Root}
	for _, module := range m.Modules {
		f.Modules = append(f.Modules, module.Name)
	}
	f.Open = func(name string) (io.ReadCloser, int64, error) {
		switch name {
		case netboot.FileKernel:
			name = m.Kernel.Name
		case netboot.FileInitrd:
			name = m.Initrd.Name
		}
		file, err := os.Open(d.bootDir(bootFilesDir, r.Files, filepath.Base(name)))
		if err != nil {
			return nil, 0, err
		}
		fi, err := file.Stat()
		if err != nil {
			return nil, 0, errors.Join(err, file.Close())
		}
		return file, fi.Size(), nil
	}
	return f, nil
}

// digestOf is that of what a volume holds where its boot files came from; "" where
// those have no fixed place.
func (d *Daemon) digestOf(ctx context.Context, volume, key string) (digest string, err error) {
	m, err := d.manifest(key)
	if err != nil || !m.Placed {
		return "", err
	}
	disk, err := d.store.OpenVolume(ctx, volume)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	ranges, err := mergeRanges(m.Ranges, disk.Size())
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, r := range ranges {
		if err := digestRange(ctx, disk, sum, r.Offset, r.Length); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func digestRange(ctx context.Context, disk v1.Disk, sum hash.Hash, offset, length int64) error {
	buf := make([]byte, min(length, 1<<20))
	for length > 0 {
		p := buf[:min(length, int64(len(buf)))]
		if err := disk.ReadAt(ctx, p, offset); err != nil {
			return err
		}
		_, _ = sum.Write(p)
		offset, length = offset+int64(len(p)), length-int64(len(p))
	}
	return nil
}

// sweepBootFiles removes what no record needs, and what a kill left.
func (d *Daemon) sweepBootFiles() error {
	dir := d.bootDir(bootFilesDir)
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	used := map[string]bool{}
	for _, r := range d.boots.list() {
		used[r.Files] = true
	}
	for _, e := range list {
		if !used[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
