package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fuseGoal is our bar for reading through a mount, as a part of what reading the
// same bytes from a plain file gives, both from the page cache.
const fuseGoal = 0.7

// fuse measures 'goldstream mount': an image and a volume read from end to end. The
// file system below holds everything in its page cache; the mount's own is empty
// at a first read. The figures are of one reader: the server takes a core beside it.
func (r *run) fuse(ctx context.Context) error {
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		note("fuse: left out, it needs root and /dev/fuse")
		return nil
	}
	note("fuse: sequential reads through a mount")
	plain, data := filepath.Join(r.dir, "full.raw"), filepath.Join(r.dir, "mounted")
	if err := makeFullImage(plain, 512<<20); err != nil {
		return err
	}
	defer os.Remove(plain)
	for _, args := range [][]string{{"image", "import", "full", plain}, {"volume", "create", "web", "--image", "full"}} {
		if err := command(ctx, r.binary, append(args, "--data", data)...); err != nil {
			return err
		}
	}
	dir := filepath.Join(r.dir, "mnt")
	end, err := r.mount(ctx, data, dir)
	if err != nil {
		return err
	}
	return errors.Join(r.fuseReads(plain, filepath.Join(dir, "images/full/disk"), filepath.Join(dir, "volumes/web/disk")), end())
}

// mount mounts, and returns what ends it.
func (r *run) mount(ctx context.Context, data, dir string) (end func() error, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, r.binary, "mount", dir, "--data", data, "--json")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var ready struct{ Mounted string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("not mounted: %w", err), cmd.Wait())
	}
	return func() error { return errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Wait()) }, nil
}

func (r *run) fuseReads(plain, image, volume string) error {
	kinds := []struct {
		what, path string
		forget     bool
		times      []float64
	}{
		{what: "plain file", path: plain},
		{what: "sequential read of a mounted image, first", path: image, forget: true},
		{what: "sequential read of a mounted image, again", path: image},
		{what: "sequential read of a mounted volume, first", path: volume, forget: true},
	}
	rounds := 9
	if r.short {
		rounds = 3
	}
	for range rounds {
		for i := range kinds {
			k := &kinds[i]
			rate, err := readRate(k.path, k.forget)
			if err != nil {
				return err
			}
			k.times = append(k.times, rate)
		}
	}
	base := median(kinds[0].times)
	for _, k := range kinds[1:] {
		rate := median(k.times)
		r.report.add(line{What: k.what, Unit: "MB/s", Ours: rate, Peer: kinds[0].what, Theirs: base,
			Bar: fmt.Sprintf("≥ %.1fx", fuseGoal), Missed: rate < fuseGoal*base})
	}
	return nil
}

// readRate reads a file from end to end and returns MB/s. With forget, the kernel
// first drops what it has of that file in memory, but not of what is below it.
func readRate(path string, forget bool) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if forget {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return 0, err
		}
	}
	var n int64
	b := make([]byte, 1<<20)
	took, err := timed(func() (err error) {
		n, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, b)
		return err
	})
	return float64(n) / 1e3 / took, err
}
