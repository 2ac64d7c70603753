package access

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is time that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type fixture struct {
	*Accounts
	dir   string
	clock *clock
}

func open(t *testing.T) *fixture {
	f := &fixture{dir: filepath.Join(t.TempDir(), "access"), clock: &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}}
	f.again(t)
	return f
}

func (f *fixture) again(t *testing.T) {
	a, err := Open(f.dir, Options{Now: f.clock.Now, memory: 64})
	require.NoError(t, err)
	f.Accounts = a
}

var here = netip.MustParseAddr("10.0.0.1")

func (f *fixture) user(t *testing.T, name string, role Role) {
	_, err := f.CreateUser(context.Background(), name, role, "correct horse", false)
	require.NoError(t, err)
}

func (f *fixture) login(t *testing.T, name string) string {
	secret, s, err := f.Login(context.Background(), name, "correct horse", "", here)
	require.NoError(t, err)
	require.Equal(t, name, s.User)
	return secret
}

func TestRoles(t *testing.T) {
	for right, want := range map[Right][]Role{
		Public: Roles(), Read: Roles(),
		Operate:       {Infrastructure, Server, Software},
		ChangeServers: {Infrastructure, Server}, ChangeSoftware: {Infrastructure, Software},
		Administer: {Infrastructure}, Local: nil,
	} {
		require.Equal(t, want, right.Named(), "%d", right)
	}
	for _, r := range []Role{"", "root", "Infrastructure"} {
		require.False(t, r.May(Read), r)
		require.False(t, r.covers(ReadOnly), r)
	}
	require.True(t, Identity{Role: Infrastructure, Local: true}.May(Local))
	require.False(t, Identity{Role: Infrastructure}.May(Local))
	require.False(t, Identity{}.May(Read))
}

func TestFirstStart(t *testing.T) {
	f, ctx := open(t), context.Background()
	password, err := f.Bootstrap(ctx, false)
	require.NoError(t, err)
	require.Len(t, password, 20)
	again, err := f.Bootstrap(ctx, false)
	require.NoError(t, err)
	require.Empty(t, again, "it is told once")
	f.again(t)
	again, err = f.Bootstrap(ctx, false)
	require.NoError(t, err)
	require.Empty(t, again)

	_, _, err = f.Login(ctx, Administrator, password, "", here)
	require.ErrorIs(t, err, ErrOneTime)
	_, _, err = f.Login(ctx, Administrator, password, password, here)
	require.ErrorIs(t, err, ErrInvalid)
	_, _, err = f.Login(ctx, Administrator, password, "short", here)
	require.ErrorIs(t, err, ErrInvalid)
	secret, s, err := f.Login(ctx, "ADMINISTRATOR", password, "another one", here)
	require.NoError(t, err)
	require.Equal(t, Infrastructure, s.Role)
	who, err := f.Authenticate(secret)
	require.NoError(t, err)
	require.Equal(t, Identity{Name: Administrator, Role: Infrastructure}, who)

	_, _, err = f.Login(ctx, Administrator, password, "yet another one", here)
	require.ErrorIs(t, err, ErrUnknown, "once")
	f.again(t)
	_, _, err = f.Login(ctx, Administrator, "another one", "", here)
	require.NoError(t, err)
	_, err = f.Authenticate(secret)
	require.ErrorIs(t, err, ErrUnknown, "a restart ends sessions")
}

func TestNoSecretIsKept(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	session := f.login(t, "operator")
	token, _, err := f.CreateToken(Identity{Name: "operator", Role: Infrastructure}, "ci", Server, 0)
	require.NoError(t, err)
	path := filepath.Join(f.dir, accountsFile)
	p, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, secret := range []string{"correct horse", session, token, token[len(tokenPrefix):]} {
		require.NotContains(t, string(p), secret)
	}
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode().Perm())
	di, err := os.Stat(f.dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), di.Mode().Perm())
}

func TestSessionsEnd(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	f.user(t, "deputy", Server)
	good := func(secret string) bool {
		_, err := f.Authenticate(secret)
		if err != nil {
			require.ErrorIs(t, err, ErrUnknown)
		}
		return err == nil
	}

	s := f.login(t, "deputy")
	f.clock.turn(IdleTimeout - time.Second)
	require.True(t, good(s))
	f.clock.turn(IdleTimeout - time.Second)
	require.True(t, good(s), "it was used")
	f.clock.turn(IdleTimeout)
	require.False(t, good(s), "idle")

	s = f.login(t, "deputy")
	for range 7 {
		require.True(t, good(s))
		f.clock.turn(23 * time.Hour)
	}
	f.clock.turn(8 * time.Hour)
	require.False(t, good(s), "too old, however much it was used")

	s = f.login(t, "deputy")
	require.NoError(t, f.SetIdleTimeout(s, time.Minute))
	require.ErrorIs(t, f.SetIdleTimeout(s, 0), ErrInvalid)
	require.ErrorIs(t, f.SetIdleTimeout(s, MaxIdleTimeout+1), ErrInvalid)
	f.clock.turn(time.Minute)
	require.False(t, good(s))
	require.ErrorIs(t, f.SetIdleTimeout(s, time.Minute), ErrUnknown)

	s = f.login(t, "deputy")
	require.NoError(t, f.Logout(s))
	require.False(t, good(s))
	require.ErrorIs(t, f.Logout(s), ErrUnknown)

	for what, change := range map[string]func() error{
		"role": func() error { _, err := f.ChangeUser(context.Background(), "Deputy", Software, "", false); return err },
		"password": func() error {
			_, err := f.ChangeUser(context.Background(), "deputy", "", "correct horse", false)
			return err
		},
		"deleted": func() error { return f.DeleteUser("DEPUTY") },
	} {
		if what == "deleted" {
			continue // last
		}
		s, other := f.login(t, "deputy"), f.login(t, "operator")
		require.NoError(t, change())
		require.False(t, good(s), what)
		require.True(t, good(other), what)
	}
	s = f.login(t, "deputy")
	require.NoError(t, f.DeleteUser("DEPUTY"))
	require.False(t, good(s))
}

func TestOneUserDoesNotFillTheSessions(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	u, first := f.mu.record.Users[0], ""
	for i := range userSessions + 1 {
		secret, _, err := f.begin(u, false)
		require.NoError(t, err)
		if i == 0 {
			first = secret
		}
		f.clock.turn(time.Second)
	}
	require.Len(t, f.mu.sessions, userSessions)
	_, err := f.Authenticate(first)
	require.ErrorIs(t, err, ErrUnknown)
}

func TestTokens(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	f.user(t, "deputy", Server)
	operator, deputy := Identity{Name: "operator", Role: Infrastructure}, Identity{Name: "deputy", Role: Server}
	local := Identity{Name: "uid:0", Role: Infrastructure, Local: true}

	short, tk, err := f.CreateToken(deputy, "ci", ReadOnly, time.Hour)
	require.NoError(t, err)
	who, err := f.Authenticate(short)
	require.NoError(t, err)
	require.Equal(t, Identity{Name: "deputy", Role: ReadOnly, Token: tk.ID}, who)
	_, _, err = f.CreateToken(who, "more", ReadOnly, 0)
	require.ErrorIs(t, err, ErrForbidden, "a token does not prolong itself")
	for _, role := range []Role{Infrastructure, Software} {
		_, _, err = f.CreateToken(deputy, "more", role, 0)
		require.ErrorIs(t, err, ErrForbidden, role)
	}
	_, _, err = f.CreateToken(deputy, "ci", "god", 0)
	require.ErrorIs(t, err, ErrInvalid)
	_, _, err = f.CreateToken(deputy, "a b", Server, 0)
	require.ErrorIs(t, err, ErrInvalid)
	_, _, err = f.CreateToken(deputy, "ci", Server, -1)
	require.ErrorIs(t, err, ErrInvalid)

	machine, tm, err := f.CreateToken(local, "monitor", ReadOnly, 0)
	require.NoError(t, err)
	long, tl, err := f.CreateToken(deputy, "ci", Server, 0)
	require.NoError(t, err)
	ids := func(list []Token) (ids []string) {
		for _, t := range list {
			ids = append(ids, t.ID)
		}
		return ids
	}
	require.Equal(t, []string{tk.ID, tl.ID}, ids(f.Tokens(deputy)))
	require.Equal(t, []string{tk.ID, tm.ID, tl.ID}, ids(f.Tokens(operator)))
	require.ErrorIs(t, f.RevokeToken(deputy, tm.ID), ErrNotFound, "another one's")

	f.again(t) // they are durable
	f.clock.turn(time.Hour)
	_, err = f.Authenticate(short)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorContains(t, err, "ended")
	for _, secret := range []string{machine, long} {
		_, err = f.Authenticate(secret)
		require.NoError(t, err)
	}
	_, err = f.ChangeUser(context.Background(), "deputy", Software, "", false)
	require.NoError(t, err)
	_, err = f.Authenticate(long)
	require.ErrorIs(t, err, ErrUnknown, "its owner has the role no more")
	require.NoError(t, f.RevokeToken(operator, tm.ID))
	_, err = f.Authenticate(machine)
	require.ErrorIs(t, err, ErrUnknown)
	require.NoError(t, f.DeleteUser("deputy"))
	require.Empty(t, f.Tokens(operator))
	for _, secret := range []string{"", tokenPrefix, sessionPrefix, long, "Bearer"} {
		_, err = f.Authenticate(secret)
		require.ErrorIs(t, err, ErrUnknown, secret)
	}
}

func TestUsers(t *testing.T) {
	f, ctx := open(t), context.Background()
	f.user(t, "operator", Infrastructure)
	for name, bad := range map[string]struct {
		user, password string
		role           Role
		cause          error
	}{
		"there already": {"Operator", "correct horse", Server, ErrExists},
		"short":         {"deputy", "1234567", Server, ErrInvalid},
		"long":          {"deputy", strings.Repeat("x", maxPassword+1), Server, ErrInvalid},
		"own name":      {"benjamin", "Benjamin", Server, ErrInvalid},
		"no name":       {"", "correct horse", Server, ErrInvalid},
		"path":          {"../deputy", "correct horse", Server, ErrInvalid},
		"space":         {"token ci", "correct horse", Server, ErrInvalid},
		"role":          {"deputy", "correct horse", "admin", ErrInvalid},
	} {
		_, err := f.CreateUser(ctx, bad.user, bad.role, bad.password, false)
		require.ErrorIs(t, err, bad.cause, name)
	}
	require.ErrorIs(t, f.DeleteUser("operator"), ErrInUse, "the last one")
	_, err := f.ChangeUser(ctx, "operator", Server, "", false)
	require.ErrorIs(t, err, ErrInUse, "the last one")
	require.ErrorIs(t, f.DeleteUser("deputy"), ErrNotFound)
	f.again(t)
	require.Equal(t, []User{{Name: "operator", Role: Infrastructure, Created: f.clock.Now(), Changed: f.clock.Now()}}, f.Users())
}

func TestGuessingIsSlowedDown(t *testing.T) {
	f, ctx := open(t), context.Background()
	f.user(t, "operator", Infrastructure)
	try := func(name, password string, from netip.Addr) error {
		_, _, err := f.Login(ctx, name, password, "", from)
		return err
	}
	for range addressPoints {
		require.ErrorIs(t, try("operator", "wrong horse", here), ErrUnknown)
	}
	var wait *ThrottleError
	require.True(t, errors.As(try("operator", "correct horse", here), &wait), "even if it is right")
	require.Greater(t, wait.Wait, time.Duration(0))
	require.ErrorIs(t, try("nobody", "correct horse", here), ErrThrottle, "whatever the name")
	require.NoError(t, try("operator", "correct horse", netip.MustParseAddr("10.0.0.2")), "another address")
	f.clock.turn(wait.Wait)
	require.NoError(t, try("operator", "correct horse", here))
	require.ErrorIs(t, try("operator", "wrong horse", here), ErrUnknown)
	require.ErrorIs(t, try("operator", "correct horse", here), ErrThrottle, "one point went away, and one came")

	// One host has a whole network of IPv6.
	for i := range addressPoints {
		from := netip.AddrFrom16([16]byte{0xfd, 15: byte(i)})
		require.ErrorIs(t, try("operator", "wrong horse", from), ErrUnknown)
	}
	require.ErrorIs(t, try("operator", "correct horse", netip.MustParseAddr("fd00::ffff")), ErrThrottle)
	require.NoError(t, try("operator", "correct horse", netip.MustParseAddr("fd00:0:0:1::1")))
}

func TestThrottleIsBounded(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	th := throttle{now: c.Now, counted: map[string]time.Time{}}
	for range addressPoints {
		th.failed("operator", here)
	}
	for i := range maxCounted {
		th.add(userKey(strings.Repeat("x", i%60) + string(rune('a'+i%26)) + time.Duration(i).String()))
	}
	require.Len(t, th.counted, maxCounted)
	require.Positive(t, th.wait("operator", here), "who has many points is not forgotten")
	c.turn(time.Hour)
	th.add("one more")
	require.Len(t, th.counted, 1)
}

func TestDamagedFiles(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	_, _, err := f.CreateToken(Identity{Local: true, Role: Infrastructure}, "ci", Server, 0)
	require.NoError(t, err)
	path := filepath.Join(f.dir, accountsFile)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		content string
		cause   error
	}{
		"cut":     {string(good[:len(good)/2]), ErrCorrupt},
		"empty":   {"", ErrCorrupt},
		"newer":   {strings.Replace(string(good), `"format": 1`, `"format": 2`, 1), ErrFormat},
		"hash":    {strings.Replace(string(good), "$argon2id$", "$argon2i$", 1), ErrCorrupt},
		"role":    {strings.Replace(string(good), `"infrastructure"`, `"root"`, 1), ErrCorrupt},
		"huge":    {strings.Replace(string(good), "$m=64,", "$m=4000000,", 1), ErrCorrupt},
		"no hash": {strings.Replace(string(good), `"hash": "$`, `"hash": "`, 1), ErrCorrupt},
		"token":   {strings.Replace(string(good), `"id": "`, `"id": "0`, 1), ErrCorrupt},
	} {
		require.NotEqual(t, string(good), c.content, name)
		require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
		_, err := Open(f.dir, Options{})
		require.ErrorIs(t, err, c.cause, name)
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	require.NoError(t, os.WriteFile(path+newSuffix, []byte("half"), 0o600)) // a kill left it
	f.again(t)
	f.user(t, "deputy", Server)
	f.again(t)
	require.Len(t, f.Users(), 2)
}

func TestManyAtOnce(t *testing.T) {
	f := open(t)
	f.user(t, "operator", Infrastructure)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			secret, _, err := f.Login(context.Background(), "operator", "correct horse", "", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
			if err == nil {
				_, err = f.Authenticate(secret)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.hashing <- struct{}{}
	f.hashing <- struct{}{}
	_, _, err := f.Login(ctx, "operator", "correct horse", "", here)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPasswordsCostWhatTheyShall(t *testing.T) {
	a, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	h := a.hashPassword("correct horse")
	require.True(t, strings.HasPrefix(string(h), "$argon2id$v=19$m=19456,t=2,p=1$"), h)
	require.True(t, h.matches("correct horse"))
	require.False(t, h.matches("correct hors"))
	require.NotEqual(t, h, a.hashPassword("correct horse"), "salted")
	n, ok := a.nobody().parse()
	require.True(t, ok)
	require.Equal(t, uint32(hashMemory), n.memory)
}
