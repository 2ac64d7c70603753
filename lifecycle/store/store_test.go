package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/lifecycle/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx   = context.Background()
	cause = Cause{Who: "ann", Why: "PUT"}
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fresh(t testing.TB) *Store { return open(t, "/site", Options{FS: vfs.NewMem()}) }

func create(t testing.TB, s *Store, list ...model.Resource) {
	t.Helper()
	require.NoError(t, tryCreate(s, list...))
}

func tryCreate(s *Store, list ...model.Resource) error {
	return s.Update(ctx, cause, func(tx *Tx) error {
		for _, r := range list {
			if err := tx.Create(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func save(s *Store, r model.Resource) error {
	return s.Update(ctx, cause, func(tx *Tx) error { return tx.Save(r) })
}

func remove(s *Store, uri model.URI, etag string) error {
	return s.Update(ctx, cause, func(tx *Tx) error { return tx.Delete(uri, etag) })
}

func get(t testing.TB, s *Store, uri model.URI) (r model.Resource) {
	t.Helper()
	require.NoError(t, s.View(ctx, func(v *Reader) (err error) { r, err = v.Get(uri); return err }))
	return r
}

func enclosure(name string) *model.Enclosure { return &model.Enclosure{Meta: model.Meta{Name: name}} }

// site returns one profile with all that it needs, in the order to create it.
func site() (list []model.Resource, p *model.ServerProfile) {
	typ := &model.HardwareType{Meta: model.Meta{URI: model.NewURI(model.HardwareTypes), Name: "gen10"}}
	server := &model.ServerHardware{Meta: model.Meta{URI: model.NewURI(model.ServerHardwares), Name: "bay 1"}, Type: typ.URI, Enclosure: model.DefaultURI(model.Enclosures), Bay: 1}
	plan := &model.DeploymentPlan{Meta: model.Meta{URI: model.NewURI(model.DeploymentPlans), Name: "debian"}, Size: 1 << 30}
	p = &model.ServerProfile{Meta: model.Meta{URI: model.NewURI(model.ServerProfiles), Name: "web1"}, Type: typ.URI, Hardware: server.URI}
	v := &model.OSVolume{Meta: model.Meta{URI: model.NewURI(model.OSVolumes), Name: "web1-os"}, Home: model.DefaultURI(model.LogicalEnclosures), Profile: p.URI, Token: model.NewValue("token", model.Password, "t0p")}
	p.Volume = v.URI
	p.Deployment = &model.Deployment{Plan: plan.URI, Values: []model.Value{model.NewValue("host", "string", "web1"), model.NewValue("root", model.Password, "s3cret")}}
	return []model.Resource{typ, server, plan, v, p}, p
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	list, p := site()
	create(t, s, list...)
	require.NotEmpty(t, p.ETag)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	require.ErrorIs(t, s.View(ctx, func(*Reader) error { return nil }), ErrClosed)
	require.ErrorIs(t, save(s, p), ErrClosed)

	s = open(t, dir, Options{})
	for _, want := range append(list, model.Defaults()...) {
		got := get(t, s, want.Head().URI)
		if want.Head().ETag == "" { // a default: the store has set these
			want.Head().ETag, want.Head().Created, want.Head().Modified = got.Head().ETag, got.Head().Created, got.Head().Modified
		}
		require.Equal(t, want, got)
	}
	got := get(t, s, p.URI).(*model.ServerProfile)
	require.Equal(t, "s3cret", got.Values()[1].Reveal())
	require.Equal(t, "t0p", get(t, s, p.Volume).(*model.OSVolume).Token.Reveal())
	_, err = Open(dir, Options{})
	require.Error(t, err, "one owner at a time")
}

func TestSecretsStandBesideTheRecord(t *testing.T) {
	list, _ := site()
	for _, r := range list[3:] {
		b, err := encode(r)
		require.NoError(t, err)
		body, secrets, ok := strings.Cut(string(b), `,"secrets":`)
		require.True(t, ok)
		for name, text := range r.Secrets() {
			require.NotContains(t, body, *text)
			require.Contains(t, secrets, *text)
			require.Contains(t, secrets, name)
		}
		_, err = decode(r.Head().URI, []byte(body+"}"))
		require.ErrorIs(t, err, ErrCorrupt, "a secret is never replaced by its mask")
	}
}

func TestETags(t *testing.T) {
	clock := time.Unix(1000, 0)
	s := open(t, "/site", Options{FS: vfs.NewMem(), Now: func() time.Time { return clock }})
	e := enclosure("a")
	create(t, s, e)
	require.Equal(t, clock.UTC(), e.Created)
	stale := *e
	clock = clock.Add(-time.Hour) // eTags differ though the clock goes back
	e.Name = "b"
	require.NoError(t, save(s, e))
	require.NotEqual(t, stale.ETag, e.ETag)
	require.Equal(t, stale.Created, e.Created)
	require.Equal(t, clock.UTC(), e.Modified)

	old := stale
	require.ErrorIs(t, save(s, &stale), ErrStale)
	require.Equal(t, old, stale, "a change that failed changes nothing")
	stale.ETag = ""
	require.ErrorIs(t, save(s, &stale), ErrStale)
	require.ErrorIs(t, remove(s, e.URI, old.ETag), ErrStale)
	require.Equal(t, e, get(t, s, e.URI))
	stale.ETag = AnyETag
	require.NoError(t, save(s, &stale))
	require.ErrorIs(t, remove(s, e.URI, e.ETag), ErrStale)
	require.NoError(t, remove(s, e.URI, stale.ETag))
	require.ErrorIs(t, save(s, e), ErrNotFound)
	require.ErrorIs(t, remove(s, e.URI, AnyETag), ErrNotFound)
}

func TestManyWritersOneETag(t *testing.T) {
	s := fresh(t)
	e := enclosure("a")
	create(t, s, e)
	const writers = 16
	won := make(chan string, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			mine := *e
			mine.Name = fmt.Sprint("a", i)
			switch err := save(s, &mine); {
			case err == nil:
				won <- mine.Name
			case !errors.Is(err, ErrStale):
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	all.Wait()
	close(won)
	require.Len(t, won, 1)
	require.Equal(t, <-won, get(t, s, e.URI).Head().Name)
	check(t, s)
}

func TestClaims(t *testing.T) {
	s := fresh(t)
	list, p := site()
	create(t, s, list...)
	server := list[1].(*model.ServerHardware)
	rival := &model.ServerHardware{Meta: model.Meta{Name: "bay 1"}, Type: server.Type}
	require.ErrorIs(t, tryCreate(s, rival), ErrExists, "name")
	rival.Name, rival.Enclosure, rival.Bay = "other", server.Enclosure, 1
	require.ErrorIs(t, tryCreate(s, rival), ErrExists, "bay")
	rival.Bay = 2
	create(t, s, rival)
	thief := &model.ServerProfile{Meta: model.Meta{Name: "thief"}, Hardware: p.Hardware}
	require.ErrorIs(t, tryCreate(s, thief), ErrExists, "hardware")
	require.ErrorIs(t, tryCreate(s, &model.Enclosure{Meta: model.Meta{URI: model.DefaultURI(model.Enclosures), Name: "x"}}), ErrExists, "URI")
	create(t, s, enclosure("other")) // a name of another collection

	p.Name, p.Hardware = "web2", ""
	require.NoError(t, save(s, p))
	thief.Name = "web1"
	create(t, s, thief) // both were given up
	require.NoError(t, s.View(ctx, func(r *Reader) error {
		got, err := r.ByName(model.ServerProfiles, "web1")
		require.Equal(t, thief, got)
		_, none := r.ByName(model.ServerProfiles, "web3")
		require.ErrorIs(t, none, ErrNotFound)
		return err
	}))
	check(t, s)
}

func TestReferences(t *testing.T) {
	s := fresh(t)
	list, p := site()
	require.ErrorIs(t, tryCreate(s, list[1]), model.ErrInvalid, "its type does not exist yet")
	create(t, s, list...)
	for _, r := range list[:4] {
		err := remove(s, r.Head().URI, AnyETag)
		require.ErrorIs(t, err, ErrInUse)
	}
	require.ErrorIs(t, remove(s, model.DefaultURI(model.Enclosures), AnyETag), ErrInUse)
	// The swap of a volume, as one update.
	next := &model.OSVolume{Meta: model.Meta{Name: "web1-new"}, Home: model.DefaultURI(model.LogicalEnclosures), Profile: p.URI}
	old := p.Volume
	require.NoError(t, s.Update(ctx, cause, func(tx *Tx) error {
		if err := tx.Create(next); err != nil {
			return err
		}
		p.Volume = next.URI
		return errors.Join(tx.Save(p), tx.Delete(old, AnyETag))
	}))
	require.NoError(t, remove(s, p.URI, p.ETag))
	require.NoError(t, remove(s, next.URI, next.ETag))
	require.NoError(t, remove(s, list[1].Head().URI, AnyETag))
	require.NoError(t, remove(s, list[0].Head().URI, AnyETag))
	check(t, s)
}

func TestAllOrNothing(t *testing.T) {
	s := fresh(t)
	create(t, s, enclosure("b"))
	a := enclosure("a")
	require.ErrorIs(t, tryCreate(s, a, enclosure("b")), ErrExists)
	require.Empty(t, a.ETag)
	// An error that fn ignores counts as well.
	err := s.Update(ctx, cause, func(tx *Tx) error {
		_ = tx.Create(enclosure("b"))
		return tx.Create(a)
	})
	require.ErrorIs(t, err, ErrExists)
	require.ErrorIs(t, tryCreate(s, enclosure("a/b")), model.ErrInvalid)
	gone, cancel := context.WithCancel(ctx)
	err = s.Update(gone, cause, func(tx *Tx) error { cancel(); return tx.Create(a) })
	require.ErrorIs(t, err, context.Canceled)
	var names []string
	require.NoError(t, s.View(ctx, func(r *Reader) error {
		return r.Each(model.Enclosures, func(e model.Resource) error { names = append(names, e.Head().Name); return nil })
	}))
	require.ElementsMatch(t, []string{"default", "b"}, names)
	check(t, s)
	create(t, s, a)
}

func TestAudit(t *testing.T) {
	s := fresh(t)
	e := enclosure("a")
	create(t, s, e)
	require.ErrorIs(t, s.Update(ctx, Cause{Who: "ann"}, func(tx *Tx) error { return tx.Delete(e.URI, AnyETag) }), model.ErrInvalid)
	require.NoError(t, s.Update(ctx, cause, func(*Tx) error { return nil }), "leaves no entry")
	require.ErrorIs(t, tryCreate(s, enclosure("a")), ErrExists, "neither")
	require.NoError(t, s.Update(ctx, Cause{"bob", "rule 9", "task 1"}, func(tx *Tx) error { return tx.Delete(e.URI, e.ETag) }))
	list, err := s.Audit(ctx, 0, 100)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Len(t, list[0].Changes, len(model.Defaults()))
	require.Equal(t, []Change{{"create", e.URI, "a", e.ETag}}, list[1].Changes)
	require.Equal(t, cause, list[1].Cause)
	require.Equal(t, []Change{{Op: "delete", URI: e.URI, Name: "a"}}, list[2].Changes)
	require.Equal(t, Cause{"bob", "rule 9", "task 1"}, list[2].Cause)
	for i, entry := range list {
		require.EqualValues(t, i+1, entry.Sequence)
	}
	some, err := s.Audit(ctx, 1, 1)
	require.NoError(t, err)
	require.Equal(t, list[1:2], some)
}

func TestFormats(t *testing.T) {
	dir := t.TempDir()
	format := filepath.Join(dir, "FORMAT")
	s, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	good, err := os.ReadFile(format)
	require.NoError(t, err)
	for text, want := range map[string]error{formatMagic + "2\n": ErrFormat, formatMagic + "x\n": ErrCorrupt, "": ErrCorrupt} {
		require.NoError(t, os.WriteFile(format, []byte(text), 0o600))
		before := tree(t, dir)
		_, err := Open(dir, Options{})
		require.ErrorIs(t, err, want)
		require.Equal(t, before, tree(t, dir), "nothing is changed")
	}
	// FORMAT is made again from what the database says, never the reverse.
	require.NoError(t, os.Remove(format))
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "db")))
	_, err = Open(dir, Options{})
	require.Error(t, err, "no new database where one is missing")
	b, err := os.ReadFile(format)
	require.NoError(t, err)
	require.Equal(t, good, b)

	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "notes"), nil, 0o600))
	_, err = Open(other, Options{})
	require.ErrorIs(t, err, model.ErrInvalid)
	require.Len(t, tree(t, other), 1)
}

func tree(t *testing.T, dir string) map[string]string {
	m := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		m[path] = string(b)
		return err
	}))
	return m
}

// check compares claims and references with the records that they are of.
func check(t testing.TB, s *Store) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	require.NoError(t, s.View(ctx, func(r *Reader) error {
		for _, prefix := range []byte{prefixClaim, prefixReference} {
			if err := r.scan([]byte{prefix}, func(k, v []byte) error { got[string(k)] = string(v); return nil }); err != nil {
				return err
			}
		}
		return r.scan([]byte{prefixRecord}, func(k, v []byte) error {
			res, err := decode(model.URI(k[1:]), v)
			if err != nil {
				return err
			}
			for _, c := range claims(res) {
				want[string(claimKey(c))] = string(res.Head().URI)
			}
			for _, ref := range res.References() {
				_, err := r.Get(ref.To)
				require.NoError(t, err)
				want[string(referenceKey(ref.To, res.Head().URI))] = ""
			}
			return nil
		})
	}))
	require.Equal(t, want, got)
}
