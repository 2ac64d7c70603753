package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/nbd"
)

// grants open volumes by token, on listeners that others than this host reach.
type grants struct {
	store  *blockstore.Store
	tokens *tokens
}

// Resolve takes TOKEN, or TOKEN~EPOCH. Who may not have the volume is told what
// one is told who guesses.
func (g *grants) Resolve(ctx context.Context, name string, client net.Addr) (nbd.Grant, error) {
	secret, epoch, started := strings.Cut(name, epochMark)
	t, ok := g.tokens.find(secret)
	if !ok || !t.allows(client) {
		return nbd.Grant{}, fs.ErrNotExist
	}
	volume, ok := nameOf(ctx, g.store, t)
	if !ok {
		return nbd.Grant{}, fs.ErrNotExist
	}
	if started {
		volume += epochMark + epoch
	}
	return nbd.Grant{ID: t.ID, Export: volume, ReadOnly: t.ReadOnly}, nil
}

// nameOf is what the token's volume is called now: it may have been restored
// under another name.
func nameOf(ctx context.Context, store *blockstore.Store, t token) (name string, ok bool) {
	if v, err := store.Volume(ctx, t.Volume); err == nil && v.ID == t.VolumeID {
		return v.Name, true
	}
	volumes, err := store.Volumes(ctx)
	if err != nil {
		return "", false
	}
	for _, v := range volumes {
		if v.ID == t.VolumeID {
			return v.Name, true
		}
	}
	return "", false
}

// forgetGone removes the tokens of volumes that are gone for good, and those of boot
// records that are no more. Nothing else may use the store yet.
func (d *Daemon) forgetGone(ctx context.Context) error {
	if len(d.tokens.list()) == 0 && len(d.boots.list()) == 0 {
		return nil
	}
	volumes, err := d.store.Volumes(ctx)
	if err != nil {
		return err
	}
	retired, err := d.store.RetiredVolumes(ctx)
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for _, v := range volumes {
		live[v.ID] = true
	}
	for _, v := range retired {
		live[v.ID] = true
	}
	for _, r := range d.boots.list() {
		if !live[r.VolumeID] {
			err = errors.Join(err, d.boots.remove(r))
		}
	}
	// A kill between a token and its boot record leaves one that nobody can use or
	// revoke knowingly. A record that cannot be read may be the one that has it.
	named := map[string]bool{}
	for _, r := range d.boots.list() {
		named[r.TokenID] = true
	}
	return errors.Join(err, d.tokens.removeOf(func(t token) bool {
		return !live[t.VolumeID] || t.Boot && !named[t.ID] && d.boots.unread == 0
	}))
}

// CreateToken makes a token for a volume.
func (b *backend) CreateToken(ctx context.Context, volume string, req v1.TokenRequest) (v1.CreatedToken, error) {
	if err := b.d.changeable(); err != nil {
		return v1.CreatedToken{}, err
	}
	v, err := b.Volume(ctx, volume)
	if err != nil {
		return v1.CreatedToken{}, err
	}
	t := token{Volume: v.Name, VolumeID: v.ID, ReadOnly: req.ReadOnly, Created: time.Now().UTC()}
	for _, text := range req.Allow {
		p, err := parseRange(text)
		if err != nil {
			return v1.CreatedToken{}, err
		}
		t.Allow = append(t.Allow, p)
	}
	secret, t, err := b.d.tokens.create(t)
	if err != nil {
		return v1.CreatedToken{}, err
	}
	return v1.CreatedToken{Token: secret, TokenInfo: tokenInfo(t, v.Name)}, nil
}

// parseRange reads an address or a range of them, as clients' addresses are
// compared.
func parseRange(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if a, aerr := netip.ParseAddr(text); aerr == nil && a.Zone() == "" {
		a = a.Unmap()
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || p.Addr().Is4In6() {
		return p, &v1.Error{Code: v1.CodeInvalid, Message: fmt.Sprintf("%q is no range of addresses: write 10.1.2.0/24, fd00::/64 or one address", text)}
	}
	return p.Masked(), nil
}

func tokenInfo(t token, volume string) v1.TokenInfo {
	info := v1.TokenInfo{ID: t.ID, Volume: volume, ReadOnly: t.ReadOnly, Created: t.Created, Allow: []string{}}
	for _, p := range t.Allow {
		info.Allow = append(info.Allow, p.String())
	}
	return info
}

// Tokens lists the tokens, the oldest first. One of a deleted volume that can
// be restored is among them.
func (b *backend) Tokens(ctx context.Context) ([]v1.TokenInfo, error) {
	var list []v1.TokenInfo
	for _, t := range b.d.tokens.list() {
		name, ok := nameOf(ctx, b.Store, t)
		if !ok {
			name = t.Volume
		}
		info := tokenInfo(t, name)
		info.Idle = !ok
		list = append(list, info)
	}
	return list, ctx.Err()
}

// RevokeToken forgets a token and cuts off who came in by it.
func (b *backend) RevokeToken(ctx context.Context, id string) error {
	if err := b.d.changeable(); err != nil {
		return err
	}
	err := b.d.tokens.remove(id)
	if b.clients == nil || b.d.tokens.has(id) {
		return err
	}
	return errors.Join(err, b.clients.Disconnect(ctx, id))
}

// DeleteVolume deletes a volume, and its tokens with it.
func (b *backend) DeleteVolume(ctx context.Context, name, requestID string) error {
	if err := b.guardOwned(ctx, name, "deleted"); err != nil {
		return err
	}
	v, unknown := b.Volume(ctx, name)
	if err := b.Store.DeleteVolume(ctx, name, requestID); err != nil || unknown != nil {
		return err
	}
	// A request that was done before deletes nothing, whoever has the name now.
	if now, err := b.Volume(ctx, name); err == nil && now.ID == v.ID {
		return nil
	}
	if err := b.d.tokens.removeOf(func(t token) bool { return t.VolumeID == v.ID }); err != nil {
		b.d.log.Warn("export tokens of a deleted volume are left until the next start", "volume", name, "error", err)
	}
	return nil
}
