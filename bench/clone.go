package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// cloneBar is what the appliance promised for a clone of any size, in ms; it
// fails the run. cloneGoal is ours.
const (
	cloneBar  = 5000
	cloneGoal = 5
)

// cloneSamples are the times of one kind of clone, in ms.
type cloneSamples struct {
	what  string
	times []float64
	once  func(i int) error
}

// clone measures durable clones of a small and of a huge image in the store,
// a synced append as the control, and what else makes a disk from an image.
func (r *run) clone(ctx context.Context) error {
	note("clone: durable clones of 1 GiB and 64 TiB")
	s, err := blockstore.Open(filepath.Join(r.dir, "clone"), blockstore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := r.cloneImages(ctx, s); err != nil {
		return err
	}
	control, err := os.Create(filepath.Join(r.dir, "control"))
	if err != nil {
		return err
	}
	defer control.Close()
	kinds := []*cloneSamples{
		{what: "clone, 1 GiB image", once: cloner(ctx, s, "small")},
		{what: "clone, 64 TiB image", once: cloner(ctx, s, "huge")},
		{what: "4 KiB append + fdatasync", once: appender(control)},
	}
	rounds := 1000
	if r.short {
		rounds = 200
	}
	for i := range rounds {
		for _, k := range kinds {
			t, err := timed(func() error { return k.once(i) })
			if err != nil {
				return err
			}
			k.times = append(k.times, t)
		}
	}
	base := kinds[2]
	for _, k := range kinds[:2] {
		p50 := median(k.times)
		r.report.add(line{What: k.what + ", durable, p50", Unit: "ms", Ours: p50, Peer: base.what, Theirs: median(base.times),
			Bar: fmt.Sprintf("≤ %d ms (fails at %d)", cloneGoal, cloneBar), Missed: p50 > cloneGoal, Failure: p50 >= cloneBar})
		r.report.add(line{What: k.what + ", durable, p99", Unit: "ms", Ours: quantile(k.times, 0.99), Peer: base.what, Theirs: quantile(base.times, 0.99)})
	}
	return r.clonePeers(ctx, median(kinds[0].times))
}

// cloneImages makes an image of 1 GiB by import, and one of 64 TiB by growing
// a volume of it and capturing that.
func (r *run) cloneImages(ctx context.Context, s *blockstore.Store) error {
	f, err := os.Open(r.image)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := source.Open(f)
	if err != nil {
		return err
	}
	defer src.Close()
	if _, err := s.ImportImage(ctx, src, blockstore.ImportRequest{Name: "small"}); err != nil {
		return err
	}
	if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: "grown", Image: "small", Size: 64 << 40}); err != nil {
		return err
	}
	d, err := s.OpenVolume(ctx, "grown")
	if err != nil {
		return err
	}
	defer d.Close()
	b := make([]byte, 64<<10)
	for i := range b {
		b[i] = 1
	}
	for off := int64(1 << 40); off < 64<<40; off += 1 << 40 {
		if err := d.WriteAt(ctx, b, off, false); err != nil {
			return err
		}
	}
	_, err = s.CaptureImage(ctx, "grown", blockstore.ImportRequest{Name: "huge"})
	return err
}

func cloner(ctx context.Context, s *blockstore.Store, image string) func(int) error {
	return func(i int) error {
		_, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: fmt.Sprintf("%s-%d", image, i), Image: image})
		return err
	}
}

// appender is the least that anything durable costs on this disk.
func appender(f *os.File) func(int) error {
	b := make([]byte, 4096)
	return func(i int) error {
		if _, err := f.WriteAt(b, int64(i)*4096); err != nil {
			return err
		}
		return fdatasync(f)
	}
}

// clonePeers compares with a full copy, and program with program: qemu-img
// makes an overlay file, our command line asks the store.
func (r *run) clonePeers(ctx context.Context, ours float64) error {
	var copies, overlays, commands []float64
	data := filepath.Join(r.dir, "cli")
	if err := command(ctx, r.binary, "--data", data, "image", "import", "small", r.image); err != nil {
		return err
	}
	for i := range 5 {
		target := filepath.Join(r.dir, fmt.Sprintf("copy-%d", i))
		steps := []struct {
			times *[]float64
			argv  []string
		}{
			{&copies, []string{"sh", "-c", `cp --sparse=always "$0" "$1" && sync "$1"`, r.image, target}},
			{&overlays, []string{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", r.image, target + ".qcow2"}},
			{&commands, []string{r.binary, "volume", "create", "--data", data, "--image", "small", "--json", fmt.Sprintf("v%d", i)}},
		}
		for _, s := range steps {
			t, err := timed(func() error { return command(ctx, s.argv[0], s.argv[1:]...) })
			if err != nil {
				return err
			}
			*s.times = append(*s.times, t)
		}
		os.Remove(target)
		os.Remove(target + ".qcow2")
	}
	r.report.add(line{What: "clone, 1 GiB image", Unit: "ms", Ours: ours, Peer: "cp --sparse=always + sync", Theirs: median(copies)})
	r.report.add(line{What: "clone by command (no daemon)", Unit: "ms", Ours: median(commands), Peer: "qemu-img create -b (not synced)", Theirs: median(overlays)})
	return nil
}

// command runs a program; its output is part of the error.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}
