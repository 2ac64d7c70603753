package inspect

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// modules copies the NBD module and those that it needs, unpacked: not every kernel
// unpacks them itself.
func (x *extraction) modules(version string) error {
	for _, dir := range []string{"/lib/modules/", "/usr/lib/modules/"} {
		dep := dir + version + "/modules.dep"
		text, found, err := readFirst(x.ctx, x.c, dep)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		for i, name := range needs(text, "nbd") {
			if i == mostModules {
				return fmt.Errorf("the module nbd needs more than %d others, which cannot be", mostModules)
			}
			from := name
			if !path.IsAbs(name) {
				from = path.Join(dir, version, name)
			}
			file, err := x.takeModule(from, fmt.Sprintf("module-%02d.ko", i))
			if err != nil {
				return err
			}
			x.boot.Modules = append(x.boot.Modules, file)
		}
		if len(x.boot.Modules) > 0 {
			return nil
		}
	}
	return x.moduleAlone(version)
}

// moduleAlone is for a disk on which nobody has run depmod.
func (x *extraction) moduleAlone(version string) error {
	for _, dir := range []string{"/lib/modules/", "/usr/lib/modules/"} {
		for _, ending := range []string{"", ".xz", ".zst", ".gz"} {
			from := dir + version + "/kernel/drivers/block/nbd.ko" + ending
			is, err := x.c.IsFile(x.ctx, from)
			if err != nil && !absent(err) {
				return err
			}
			if is {
				file, err := x.takeModule(from, "module-00.ko")
				x.boot.Modules = append(x.boot.Modules, file)
				return err
			}
		}
	}
	return nil // built in
}

// needs returns a module and what it needs of a modules.dep, in the order to load.
func needs(dep, module string) (list []string) {
	for line := range strings.Lines(dep) {
		file, others, ok := strings.Cut(strings.TrimSpace(line), ":")
		if name, _, _ := strings.Cut(path.Base(file), ".ko"); !ok || name != module || !plainText(strings.TrimSuffix(line, "\n"), 4096) {
			continue
		}
		list = append([]string{file}, strings.Fields(others)...)
		slices.Reverse(list)
		return list
	}
	return nil
}

func (x *extraction) takeModule(from, name string) (b BootFile, err error) {
	var packed bytes.Buffer
	if err := x.c.Read(x.ctx, from, &packed, mostModule); err != nil {
		return b, err
	}
	module, err := unpack(&packed, path.Ext(from))
	if err != nil {
		return b, fmt.Errorf("module %s: %w", clean(from), err)
	}
	sum := sha256.Sum256(module)
	if err := os.WriteFile(filepath.Join(x.dir, name), module, 0o644); err != nil {
		return b, err
	}
	return BootFile{name, clean(from), int64(len(module)), hex.EncodeToString(sum[:])}, x.place(from)
}

// unpack bounds what comes out, and what the unpacker takes of memory for it.
func unpack(packed io.Reader, ending string) ([]byte, error) {
	r := packed
	var err error
	switch ending {
	case ".gz":
		r, err = gzip.NewReader(packed)
	case ".xz":
		r, err = xz.NewReader(packed, mostModule)
	case ".zst":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(mostModule)); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		return nil, err
	}
	module, err := io.ReadAll(io.LimitReader(r, mostModule+1))
	switch {
	case err != nil:
		return nil, err
	case len(module) > mostModule:
		return nil, fmt.Errorf("it has more than %d bytes", mostModule)
	case !bytes.HasPrefix(module, []byte("\x7fELF")):
		return nil, fmt.Errorf("it is no module")
	}
	return module, nil
}
