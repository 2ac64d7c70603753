package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/netboot"
)

// AssignBoot has a server boot from a volume, in the place of another one that the
// volume had.
func (b *backend) AssignBoot(ctx context.Context, volume string, req v1.BootRequest) (v1.BootServer, error) {
	if err := b.d.changeable(); err != nil {
		return v1.BootServer{}, err
	}
	v, err := b.Volume(ctx, volume)
	if err != nil {
		return v1.BootServer{}, err
	}
	r, err := newBootRecord(req)
	if err != nil {
		return v1.BootServer{}, err
	}
	r.Volume, r.VolumeID = v.Name, v.ID
	if r.Files == "" {
		if err := b.d.boots.free(r); err != nil {
			return v1.BootServer{}, bootTaken(err)
		}
		if r.Files, err = b.d.readBootFiles(ctx, v.Name); err != nil {
			return v1.BootServer{}, err
		}
	}
	if r.Digest, err = b.digestOfSent(ctx, v.Name, r.Files); err != nil {
		return v1.BootServer{}, err
	}
	t := token{Volume: v.Name, VolumeID: v.ID, Allow: r.Allow, Boot: true, Created: r.Created}
	if r.Secret, t, err = b.d.tokens.create(t); err != nil {
		return v1.BootServer{}, err
	}
	r.TokenID = t.ID
	old, err := b.replaceBoot(ctx, r)
	if err != nil {
		return v1.BootServer{}, bootTaken(errors.Join(err, b.d.tokens.remove(t.ID)))
	}
	if old != nil { // one that came meanwhile, or boots that did
		err = b.endBoot(ctx, *old)
	}
	return b.bootServer(ctx, r), err
}

// digestOfSent is digestOf for boot files that a client names.
func (b *backend) digestOfSent(ctx context.Context, volume, key string) (string, error) {
	digest, err := b.d.digestOf(ctx, volume, key)
	if errors.Is(err, fs.ErrNotExist) {
		err = badBootFiles("there are none of this key: send them first")
	}
	return digest, err
}

// bootTaken tells what to do about a server that has another volume.
func bootTaken(err error) error {
	if !errors.Is(err, errTaken) {
		return err
	}
	return &v1.Error{Code: v1.CodeInUse, Message: err.Error(), Advice: "Take it away from there with 'goldstream boot unassign'."}
}

// replaceBoot ends what the volume's former server had, before another one has it. It
// returns the record that was replaced in the end.
func (b *backend) replaceBoot(ctx context.Context, r bootRecord) (*bootRecord, error) {
	if err := b.d.boots.free(r); err != nil {
		return nil, err
	}
	if old, had := b.d.boots.get(r.VolumeID); had {
		if err := b.endBoot(ctx, old); err != nil {
			return nil, err
		}
	}
	return b.d.boots.put(r)
}

func newBootRecord(req v1.BootRequest) (r bootRecord, err error) {
	r = bootRecord{Options: req.Options, Files: req.Files, Created: time.Now().UTC()}
	if err := netboot.CheckOptions(req.Options); err != nil {
		return r, &v1.Error{Code: v1.CodeInvalid, Message: err.Error()}
	}
	if req.Files != "" {
		if err := checkBootKey(req.Files); err != nil {
			return r, err
		}
	}
	const mostMACs = 32
	if len(req.MACs) > mostMACs {
		return r, &v1.Error{Code: v1.CodeInvalid, Message: fmt.Sprintf("a server has at most %d MAC addresses", mostMACs)}
	}
	for _, text := range req.MACs {
		id, err := netboot.ParseIdentity(text, "", "")
		if err != nil {
			return r, &v1.Error{Code: v1.CodeInvalid, Message: err.Error()}
		}
		r.MACs = append(r.MACs, id.MAC)
	}
	if id, err := netboot.ParseIdentity("", req.UUID, req.Serial); err == nil {
		r.UUID, r.Serial = id.UUID, id.Serial
	} else if req.UUID+req.Serial != "" {
		return r, &v1.Error{Code: v1.CodeInvalid, Message: err.Error()}
	}
	if len(r.identities()) == 0 {
		return r, &v1.Error{Code: v1.CodeInvalid, Message: "say which server: by a MAC address, UUID or serial number of its own"}
	}
	for _, text := range req.Allow {
		p, err := parseRange(text)
		if err != nil {
			return r, err
		}
		r.Allow = append(r.Allow, p)
	}
	return r, nil
}

// endBoot takes a record's secret back, and forgets its boots.
func (b *backend) endBoot(ctx context.Context, r bootRecord) error {
	if h := b.d.booting.Load(); h != nil {
		h.Forget(r.key())
	}
	err := b.d.tokens.remove(r.TokenID)
	if errors.Is(err, fs.ErrNotExist) { // revoked before
		err = nil
	}
	if b.clients != nil && !b.d.tokens.has(r.TokenID) {
		err = errors.Join(err, b.clients.Disconnect(ctx, r.TokenID))
	}
	if err != nil {
		return fmt.Errorf("the volume's server may not be cut off, try again: export %s: %w", r.TokenID, err)
	}
	return nil
}

// RefreshBoot gives a record other boot files: the volume was written since. Without a key
// they are read out of it.
func (b *backend) RefreshBoot(ctx context.Context, volume, files string) (v1.BootServer, error) {
	r, err := b.bootRecord(ctx, volume)
	if err != nil {
		return v1.BootServer{}, err
	}
	if files == "" {
		if files, err = b.d.readBootFiles(ctx, volume); err != nil {
			return v1.BootServer{}, err
		}
	} else if err := checkBootKey(files); err != nil {
		return v1.BootServer{}, err
	}
	digest, err := b.digestOfSent(ctx, volume, files)
	if err != nil {
		return v1.BootServer{}, err
	}
	return b.changeBoot(ctx, r, func(r *bootRecord) { r.Files, r.Digest = files, digest })
}

func (b *backend) changeBoot(ctx context.Context, r bootRecord, f func(*bootRecord)) (v1.BootServer, error) {
	if err := b.d.changeable(); err != nil {
		return v1.BootServer{}, err
	}
	_, err := b.d.boots.update(r.VolumeID, func(now *bootRecord) bool {
		if now.TokenID != r.TokenID {
			return false
		}
		f(now)
		return true
	})
	if err != nil {
		return v1.BootServer{}, err
	}
	if r, err = b.d.boots.keyed(r.key()); err != nil {
		return v1.BootServer{}, &v1.Error{Code: v1.CodeInUse, Message: "the volume was given to another server meanwhile", Advice: "Look at: goldstream boot list"}
	}
	return b.bootServer(ctx, r), nil
}

// NextBoot says how a server boots once.
func (b *backend) NextBoot(ctx context.Context, volume, mode string) (v1.BootServer, error) {
	r, err := b.bootRecord(ctx, volume)
	if err != nil {
		return v1.BootServer{}, err
	}
	switch mode {
	case "volume":
		mode = netboot.ModeVolume
	case netboot.ModeRescue, netboot.ModeLocal:
	default:
		return v1.BootServer{}, &v1.Error{Code: v1.CodeInvalid, Message: fmt.Sprintf("%.40q is no way to boot: there are volume, rescue and local", mode)}
	}
	return b.changeBoot(ctx, r, func(r *bootRecord) { r.Mode = mode })
}

func (b *backend) bootRecord(ctx context.Context, volume string) (bootRecord, error) {
	v, err := b.Volume(ctx, volume)
	if errors.Is(err, blockstore.ErrNotFound) { // deleted, its server is still to be freed
		for _, r := range b.d.boots.list() {
			if r.Volume == volume {
				return r, nil
			}
		}
	}
	if err != nil {
		return bootRecord{}, err
	}
	r, ok := b.d.boots.get(v.ID)
	if !ok {
		return r, &v1.Error{Code: v1.CodeNotFound, Message: fmt.Sprintf("no server boots from volume %q", volume), Advice: "Assign one with 'goldstream boot assign'."}
	}
	return r, nil
}

// UnassignBoot takes the volume away from its server, which is cut off.
func (b *backend) UnassignBoot(ctx context.Context, volume string) error {
	if err := b.d.changeable(); err != nil {
		return err
	}
	r, err := b.bootRecord(ctx, volume)
	if err != nil {
		return err
	}
	if err := b.endBoot(ctx, r); err != nil {
		return err
	}
	return b.d.boots.remove(r)
}

// BootServers lists the servers and what is known of their last boots.
func (b *backend) BootServers(ctx context.Context) (list v1.BootList, err error) {
	for _, r := range b.d.boots.list() {
		list.Servers = append(list.Servers, b.bootServer(ctx, r))
	}
	if h := b.d.booting.Load(); h != nil {
		list.Unknown = h.Strangers()
	}
	return list, ctx.Err()
}

func (b *backend) bootServer(ctx context.Context, r bootRecord) v1.BootServer {
	s := v1.BootServer{Volume: r.Volume, MACs: r.MACs, UUID: r.UUID, Serial: r.Serial, Options: r.Options, Next: r.Mode, Allow: prefixes(r.Allow), Created: r.Created}
	if name, ok := nameOf(ctx, b.Store, token{Volume: r.Volume, VolumeID: r.VolumeID}); ok {
		s.Volume = name
		s.Changed = b.d.bootChanged(ctx, r)
	} else {
		s.Deleted = true
	}
	if m, err := b.d.manifest(r.Files); err == nil {
		s.Kernel = m.Version
	}
	if h := b.d.booting.Load(); h != nil {
		if last, ok := h.Last(r.key()); ok {
			s.Last, s.Stuck = &last, last.Stuck(time.Now())
		}
		if since, ok := h.Waiting(r.MACs); ok {
			s.Asked, s.Stuck = &since, netboot.StuckAtDHCP(since, time.Now())
		}
	}
	return s
}

func prefixes(list []netip.Prefix) []string {
	texts := []string{}
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}
