package main

import (
	"context"
	"path/filepath"
)

// ourName is what we are called in the report.
const ourName = "goldstream"

// fleet is all servers under test, and where ours keeps its data.
type fleet struct {
	ours  *server
	peers []*server
	data  string
}

func (f *fleet) stop() {
	for _, s := range append([]*server{f.ours}, f.peers...) {
		if s != nil {
			s.stop()
		}
	}
}

// peersOf returns the servers that a workload is compared with. Only ours and
// plain files can be half overwritten at random without growing; a short run
// asks only peers that there is a bar against.
func (f *fleet) peersOf(w workload, short bool) (peers []*server) {
	for _, s := range f.peers {
		_, barred := w.barOf(s.name, false)
		if barred || !short && (w.disk != diskScattered || s.name != peerQcow2) {
			peers = append(peers, s)
		}
	}
	return peers
}

// startFleet makes the disks, and starts and warms all servers.
func (r *run) startFleet(ctx context.Context) (*fleet, error) {
	f := &fleet{data: filepath.Join(r.dir, "serve")}
	full := filepath.Join(r.dir, "full.raw")
	if err := makeFullImage(full, r.diskSize()); err != nil {
		return f, err
	}
	if err := r.startOurs(ctx, f, full); err != nil {
		return f, err
	}
	return f, r.startPeers(ctx, f, full)
}

// startOurs imports the image, starts the daemon and makes the volumes.
func (r *run) startOurs(ctx context.Context, f *fleet, full string) (err error) {
	if err := command(ctx, r.binary, "--data", f.data, "image", "import", "golden", full); err != nil {
		return err
	}
	f.ours, err = startServer(ctx, r.dir, ourName, func(port string) []string {
		return []string{r.binary, "serve", "--data", f.data, "--nbd", "127.0.0.1:" + port}
	})
	if err != nil {
		return err
	}
	if err := r.makeVolume(ctx, f, diskHalf, r.everyOther()); err != nil {
		return err
	}
	return r.makeVolume(ctx, f, diskScattered, r.atRandom())
}

// makeVolume clones the image, overwrites a part of it and reads all once.
func (r *run) makeVolume(ctx context.Context, f *fleet, name string, overwrite []string) error {
	if err := command(ctx, r.binary, "--data", f.data, "volume", "create", "--image", "golden", name); err != nil {
		return err
	}
	if err := r.overwrite(ctx, f.ours, name, overwrite...); err != nil {
		return err
	}
	return f.ours.warm(ctx, name)
}

// startPeers starts the peers, each on a disk of its own.
func (r *run) startPeers(ctx context.Context, f *fleet, full string) error {
	for _, p := range []struct {
		name string
		make func(file string) []string
		argv func(file, port string) []string
	}{
		{peerKit, copyOf(full), func(file, port string) []string {
			return []string{"nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "file", file}
		}},
		{peerRaw, copyOf(full), func(file, port string) []string {
			return []string{"qemu-nbd", "-t", "-e", "8", "-f", "raw", "-b", "127.0.0.1", "-p", port, file}
		}},
		{peerQcow2, overlayOf(full), func(file, port string) []string {
			return []string{"qemu-nbd", "-t", "-e", "8", "-f", "qcow2", "-b", "127.0.0.1", "-p", port, file}
		}},
	} {
		if r.short && p.name == peerQcow2 {
			continue // no bar asks for it
		}
		file := filepath.Join(r.dir, p.name)
		making := p.make(file)
		if err := command(ctx, making[0], making[1:]...); err != nil {
			return err
		}
		s, err := startServer(ctx, r.dir, p.name, func(port string) []string { return p.argv(file, port) })
		if err != nil {
			return err
		}
		f.peers = append(f.peers, s)
		if err := r.overwrite(ctx, s, "", r.everyOther()...); err != nil {
			return err
		}
		if err := s.warm(ctx, ""); err != nil {
			return err
		}
	}
	return nil
}

func copyOf(image string) func(string) []string {
	return func(file string) []string { return []string{"cp", image, file} }
}

func overlayOf(image string) func(string) []string {
	return func(file string) []string {
		return []string{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, file}
	}
}
