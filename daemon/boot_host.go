package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"goldstream/netboot"
)

// bootHost is what netboot asks.
type bootHost struct {
	d         *Daemon
	listeners []net.Listener // of NBD, that clients without TLS may use
	audits    hourly
}

// mostAudits bounds in an hour what servers can write to the audit trail.
const mostAudits = 100

// hourly counts what happens in an hour.
type hourly struct {
	mu    sync.Mutex
	since time.Time
	count int
}

func (h *hourly) take(now time.Time, most int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.since) > time.Hour {
		h.since, h.count = now, 0
	}
	h.count++
	return h.count <= most
}

// Server finds a record.
func (h *bootHost) Server(ctx context.Context, id netboot.Identity) (netboot.Record, error) {
	r, err := h.d.boots.find(id)
	if err != nil {
		return netboot.Record{}, err
	}
	return h.record(ctx, r)
}

// Record is one that Server found, if it is still there.
func (h *bootHost) Record(ctx context.Context, id string) (netboot.Record, error) {
	r, err := h.d.boots.keyed(id)
	if err != nil {
		return netboot.Record{}, err
	}
	return h.record(ctx, r)
}

func (h *bootHost) record(ctx context.Context, r bootRecord) (netboot.Record, error) {
	name, ok := nameOf(ctx, h.d.store, token{Volume: r.Volume, VolumeID: r.VolumeID})
	if !ok { // deleted, and perhaps restored one day
		return netboot.Record{}, netboot.ErrUnknown
	}
	return netboot.Record{ID: r.key(), Volume: name, Mode: r.Mode, Options: r.Options, Allow: r.Allow}, nil
}

// BootFiles are those of a record.
func (h *bootHost) BootFiles(_ context.Context, id string) (netboot.Files, error) {
	r, err := h.d.boots.keyed(id)
	if err != nil {
		return netboot.Files{}, err
	}
	return h.d.filesOf(r)
}

// Changed compares the volume with its boot files.
func (h *bootHost) Changed(ctx context.Context, id string) bool {
	r, err := h.d.boots.keyed(id)
	return err == nil && h.d.bootChanged(ctx, r)
}

// bootChanged tells whether the volume was written where its boot files came from.
// Where that is not known, it was not.
func (d *Daemon) bootChanged(ctx context.Context, r bootRecord) bool {
	if r.Digest == "" {
		return false
	}
	name, ok := nameOf(ctx, d.store, token{Volume: r.Volume, VolumeID: r.VolumeID})
	if !ok {
		return false
	}
	digest, err := d.digestOf(ctx, name, r.Files)
	if err != nil {
		d.log.Warn("cannot tell whether a volume's boot files have changed", "volume", name, "error", err)
		return false
	}
	return digest != r.Digest
}

// Secret is the token of a record, and where it is taken.
func (h *bootHost) Secret(_ context.Context, id string, reached netip.Addr) (secret, address string, err error) {
	r, err := h.d.boots.keyed(id)
	if err != nil {
		return "", "", err
	}
	for _, ln := range h.listeners {
		at, ok := ln.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(at.IP)
		if at.IP.IsUnspecified() || ip.Unmap() == reached {
			return r.Secret, netip.AddrPortFrom(reached, uint16(at.Port)).String(), nil
		}
	}
	return "", "", fmt.Errorf("NBD is not served without TLS on %s, where servers boot: add --nbd %s,tls=on", reached, netip.AddrPortFrom(reached, 10809))
}

// Began forgets the mode of the boot that has begun, unless nothing may be changed.
func (h *bootHost) Began(_ context.Context, id string) {
	had, err := h.d.boots.keyed(id)
	if err != nil || h.d.opts.ReadOnly {
		return
	}
	_, err = h.d.boots.update(had.VolumeID, func(r *bootRecord) bool {
		if r.TokenID != had.TokenID || r.Mode == "" {
			return false
		}
		r.Mode = ""
		return true
	})
	if err != nil {
		h.d.log.Error("the next boot of a server may be like this one again", "error", err)
	}
}

// refusedLog is the audit trail of refused boots in DATA/boot: a line of JSON for
// each. At mostRefused bytes it becomes refusedLog.1, in the place of an older one.
const (
	refusedLog  = "refused.log"
	mostRefused = 1 << 20
)

type refusedBoot struct {
	Time  time.Time        `json:"time"`
	From  netip.Addr       `json:"from"`
	Claim netboot.Identity `json:"claim"`
	Why   string           `json:"why"`
}

// Refused writes to the audit trail, as long as it is not flooded.
func (h *bootHost) Refused(_ context.Context, from netip.Addr, id netboot.Identity, why string) {
	now := time.Now()
	if h.d.opts.ReadOnly || !h.audits.take(now, mostAudits) {
		return
	}
	line, err := json.Marshal(refusedBoot{now.UTC(), from, id, why})
	if err == nil {
		err = appendRefused(h.d.bootDir(refusedLog), append(line, '\n'))
	}
	if err != nil {
		h.d.log.Error("a refused boot is not in the audit trail", "error", err)
	}
}

func appendRefused(path string, line []byte) error {
	if fi, err := os.Stat(path); err == nil && fi.Size() >= mostRefused {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// helper is goldstream-guest in memory: every initrd has it.
type helper struct {
	path string // "": beside this program, then in PATH
	mu   sync.Mutex
	data []byte
	info fs.FileInfo
}

const (
	helperName = "goldstream-guest"
	mostHelper = 64 << 20
)

func (h *helper) find() (string, error) {
	if h.path != "" {
		return h.path, nil
	}
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), helperName); exists(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath(helperName)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside this program nor in PATH: 'make install' puts it there: %w", helperName, err)
	}
	return path, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read reads it once, and again when it is another.
func (h *helper) read() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	path, err := h.find()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if h.info != nil && os.SameFile(info, h.info) && info.ModTime().Equal(h.info.ModTime()) && info.Size() == h.info.Size() {
		return h.data, nil
	}
	if info.Size() > mostHelper {
		return nil, errors.New(path + " is too large for an initrd")
	}
	data, err := os.ReadFile(path)
	if err == nil {
		h.data, h.info = data, info
	}
	return data, err
}
