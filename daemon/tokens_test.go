package daemon

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func TestTokensAreDurable(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "exports")
	quiet := slog.New(slog.DiscardHandler)
	s, err := openTokens(dir, quiet, false)
	require.NoError(t, err)
	one, kept, err := s.create(token{Volume: "web", VolumeID: "7", ReadOnly: true})
	require.NoError(t, err)
	two, gone, err := s.create(token{Volume: "web", VolumeID: "7"})
	require.NoError(t, err)
	require.Len(t, one, 32) // 160 bits
	require.NotEqual(t, one, two)
	require.NoError(t, s.remove(gone.ID))
	require.ErrorIs(t, s.remove(gone.ID), fs.ErrNotExist)

	fi, err := os.Stat(s.path(kept.ID))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode())
	p, err := os.ReadFile(s.path(kept.ID))
	require.NoError(t, err)
	require.NotContains(t, string(p), one, "the secret is nowhere")

	// What a kill in the middle, and damage, leave.
	half := s.path("0123456789ab") + newSuffix
	require.NoError(t, os.WriteFile(half, p[:9], 0o600))
	require.NoError(t, os.WriteFile(s.path("ba9876543210"), p, 0o600)) // another one's content
	require.NoError(t, os.WriteFile(s.path("ffffffffffff"), p[:9], 0o600))
	log := new(strings.Builder)
	s, err = openTokens(dir, slog.New(slog.NewTextHandler(log, nil)), false)
	require.NoError(t, err)
	require.NoFileExists(t, half)
	require.Equal(t, 2, strings.Count(log.String(), "cannot be read"))
	require.Equal(t, []token{kept}, s.list())
	found, ok := s.find(one)
	require.True(t, ok)
	require.Equal(t, kept, found)
	for _, secret := range []string{two, "", strings.ToUpper(one), one[:31], one + "a", kept.ID, kept.Hash} {
		_, ok = s.find(secret)
		require.False(t, ok, secret)
	}
}

func TestTokenAllows(t *testing.T) {
	t.Parallel()
	var tok token
	for _, text := range []string{"10.1.2.0/24", "192.0.2.7", "fd00:1::/64"} {
		p, err := parseRange(text)
		require.NoError(t, err)
		tok.Allow = append(tok.Allow, p)
	}
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.1.3.3": false, "192.0.2.7": true, "192.0.2.8": false,
		"fd00:1::5": true, "fd00:2::5": false,
	} {
		require.Equal(t, want, tok.allows(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}), ip)
	}
	require.True(t, tok.allows(&net.TCPAddr{IP: net.ParseIP("fd00:1::5"), Zone: "eth0"}))
	require.False(t, tok.allows(&net.UnixAddr{}))
	require.True(t, (&token{}).allows(&net.UnixAddr{}))
	for _, bad := range []string{"", "10.1.2.0/33", "web", "fe80::1%eth0/64", "::ffff:10.0.0.0/104"} {
		_, err := parseRange(bad)
		require.Error(t, err, bad)
	}
}

// TestTokenFollowsItsVolume: a token is of a volume, not of a name.
func TestTokenFollowsItsVolume(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	ctx := t.Context()
	create := func(name string) {
		_, err := a.CreateVolume(ctx, v1.CreateRequest{Name: name, Size: 1 << 20})
		require.NoError(t, err)
	}
	g := &grants{a.d.store, a.d.tokens}
	opens := func(secret string) string {
		grant, err := g.Resolve(ctx, secret, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)})
		if err != nil {
			require.Equal(t, fs.ErrNotExist, err, "nothing that tells why")
			return ""
		}
		return grant.Export
	}
	create("web")
	tok, err := a.CreateToken(ctx, "web", v1.TokenRequest{})
	require.NoError(t, err)
	require.Equal(t, "web", opens(tok.Token))
	require.Equal(t, "web~3", opens(tok.Token+"~3"))
	far, err := a.CreateToken(ctx, "web", v1.TokenRequest{Allow: []string{"10.9.0.0/16"}})
	require.NoError(t, err)
	require.Empty(t, opens(far.Token))
	require.Empty(t, opens("web"))

	// Deleted for a while: another volume of its name is not opened.
	require.NoError(t, a.RetireVolume(ctx, "web", 3600e9))
	create("web")
	require.Empty(t, opens(tok.Token))
	list, err := a.Tokens(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.True(t, list[0].Idle)
	_, err = a.RestoreVolume(ctx, "web", v1.RestoreRequest{As: "back"})
	require.NoError(t, err)
	require.Equal(t, "back", opens(tok.Token))

	// Deleted for good: the tokens are too, and those of others are not, even
	// if the request comes once more.
	other, err := a.CreateToken(ctx, "web", v1.TokenRequest{})
	require.NoError(t, err)
	require.NoError(t, a.DeleteVolume(ctx, "back", v1.WithRequestID("once")))
	require.Empty(t, opens(tok.Token))
	list, err = a.Tokens(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	create("back")
	again, err := a.CreateToken(ctx, "back", v1.TokenRequest{})
	require.NoError(t, err)
	_ = a.DeleteVolume(ctx, "back", v1.WithRequestID("once"))
	require.Equal(t, "back", opens(again.Token))

	// One whose volume went while a kill kept the token is gone at the start.
	require.NoError(t, a.d.store.DeleteVolume(ctx, "web", ""))
	require.NoError(t, a.d.forgetGone(ctx))
	require.False(t, a.d.tokens.has(other.ID))
	require.True(t, a.d.tokens.has(again.ID))

	_, err = a.CreateToken(ctx, "none", v1.TokenRequest{})
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	_, err = a.CreateToken(ctx, "back", v1.TokenRequest{Allow: []string{"nowhere"}})
	require.ErrorContains(t, err, "no range of addresses")
	require.Error(t, a.RevokeToken(context.Background(), "000000000000"))
	require.NoError(t, a.RevokeToken(ctx, again.ID))
	require.Empty(t, opens(again.Token))
}
