package access

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTokensOfOneUser: one user takes no room of the others, and tokens whose time is
// over take none.
func TestTokensOfOneUser(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	f.user(t, "deputy", Server)
	operator, deputy := Identity{Name: "operator", Role: Infrastructure}, Identity{Name: "deputy", Role: Server}
	local := Identity{Name: "uid:0", Role: Infrastructure, Local: true}
	var last Token
	for range userTokens {
		var err error
		_, last, err = f.CreateToken(deputy, "ci", ReadOnly, time.Hour)
		require.NoError(t, err)
	}
	_, _, err := f.CreateToken(deputy, "ci", ReadOnly, time.Hour)
	require.ErrorIs(t, err, ErrFull)
	for _, who := range []Identity{operator, local} {
		_, _, err = f.CreateToken(who, "ci", ReadOnly, 0)
		require.NoError(t, err, who.Name)
	}
	f.clock.turn(time.Hour)
	require.NoError(t, f.RevokeToken(deputy, last.ID), "it is over, and still listed")
	require.Empty(t, f.Tokens(deputy), "each change forgets what is over")
	f.again(t)
	require.Len(t, f.Tokens(operator), 2)
	_, _, err = f.CreateToken(deputy, "ci", ReadOnly, time.Hour)
	require.NoError(t, err)
}

func TestFirstPasswordIsKept(t *testing.T) {
	ctx := context.Background()
	for what, another := range map[string]func(f *fixture, password string) error{
		"a login": func(f *fixture, password string) error {
			_, _, err := f.Login(ctx, Administrator, password, "a better one", here)
			return err
		},
		"an administrator": func(f *fixture, _ string) error {
			_, err := f.ChangeUser(ctx, Administrator, "", "another for once", true)
			return err
		},
		"the user goes": func(f *fixture, _ string) error { return f.DeleteUser(Administrator) },
	} {
		f := open(t)
		path := filepath.Join(f.dir, FirstPasswordFile)
		require.NoError(t, os.Mkdir(f.dir, 0o700))
		require.NoError(t, os.WriteFile(path, []byte("of a start that was killed"), 0o644))
		password, err := f.Bootstrap(ctx, true)
		require.NoError(t, err)
		p, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, password+"\n", string(p))
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), fi.Mode())
		f.again(t)
		_, _, err = f.Login(ctx, Administrator, password, "", here)
		require.ErrorIs(t, err, ErrOneTime)
		f.user(t, "operator", Infrastructure)
		require.FileExists(t, path, "the password is not spent")
		require.NoError(t, another(f, password))
		require.NoFileExists(t, path, what)
	}
}
