package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// churn changes a store in all ways until it is told to stop.
type churn struct {
	s      *Store
	stop   atomic.Bool
	rounds atomic.Int64
	g      errgroup.Group
}

func startChurn(t *testing.T, s *Store) *churn {
	t.Helper()
	importBytes(t, s, "base", pattern(3, 1<<20))
	c := &churn{s: s}
	for i, work := range []func(name string, n int) error{c.writes, c.writes, c.clones, c.imports} {
		c.g.Go(func() error {
			for n := 0; !c.stop.Load(); n++ {
				if err := work(fmt.Sprintf("churn-%d", i), n); err != nil {
					return fmt.Errorf("worker %d: %w", i, err)
				}
				c.rounds.Add(1)
			}
			return nil
		})
	}
	return c
}

func (c *churn) end(t *testing.T) {
	t.Helper()
	c.stop.Store(true)
	require.NoError(t, c.g.Wait())
}

// writes has a volume written, trimmed, grown, snapshot and rolled back.
func (c *churn) writes(name string, n int) error {
	if n == 0 {
		if _, err := c.s.CreateVolume(ctx, CloneRequest{Name: name, Image: "base", Size: 2 << 20}); err != nil {
			return err
		}
	}
	d, err := c.s.OpenVolume(ctx, name)
	if err != nil {
		return err
	}
	for i := range int64(20) {
		off := (int64(n)*7 + i*13) % 256 << blockShift
		err = errors.Join(err, d.WriteAt(ctx, block(byte(n+1)), off, i%5 == 0), d.Trim(ctx, off/2, 3*BlockSize, i%7 == 0))
	}
	snapshot := fmt.Sprint("s", n)
	_, snapErr := c.s.CreateSnapshot(ctx, name, SnapshotRequest{Name: snapshot})
	_, growErr := c.s.GrowVolume(ctx, name, d.Size()+BlockSize)
	err = errors.Join(err, snapErr, growErr, d.Close())
	if n >= 3 {
		err = errors.Join(err, c.s.DeleteSnapshot(ctx, name, fmt.Sprint("s", n-3), ""))
	}
	if n%5 == 4 {
		_, rollErr := c.s.RollBack(ctx, name, snapshot, SnapshotRequest{Name: fmt.Sprint("before-", n)})
		err = errors.Join(err, rollErr)
	}
	return err
}

// clones makes and deletes clones, and clones of clones.
func (c *churn) clones(name string, n int) error {
	name = fmt.Sprint(name, "-", n)
	_, err := c.s.CreateVolume(ctx, CloneRequest{Name: name, Image: "base"})
	if err != nil {
		return err
	}
	d, err := c.s.OpenVolume(ctx, name)
	if err != nil {
		return err
	}
	err = errors.Join(d.WriteAt(ctx, block(1), int64(n%200)<<blockShift, false), d.Close())
	_, captureErr := c.s.CaptureImage(ctx, name, ImportRequest{Name: name})
	return errors.Join(err, captureErr, c.s.DeleteVolume(ctx, name, ""), c.s.DeleteImage(ctx, name, ""))
}

// imports makes and deletes images.
func (c *churn) imports(name string, n int) error {
	name = fmt.Sprint(name, "-", n)
	if _, err := c.s.ImportImage(ctx, &memorySource{data: pattern(uint64(n), 1<<20)}, ImportRequest{Name: name}); err != nil {
		return err
	}
	return c.s.DeleteImage(ctx, name, "")
}

// TestCheckInService finds nothing in a store that changes in all ways, and
// then what was planted there.
func TestCheckInService(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "victim", bytes.Repeat(block(9), 256))
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "victim"})
	require.NoError(t, err)
	c := startChurn(t, s)
	checks := 8
	if testing.Short() {
		checks = 4
	}
	twice := 0
	for range checks {
		from := c.rounds.Load()
		r, err := s.Check(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		require.True(t, r.InService)
		twice += r.Passes - 1
		require.Eventually(t, func() bool { return c.rounds.Load() >= from+4 }, waitLong, waitTick, "the others go on")
	}
	s.cat.mu.Lock()
	file := filepath.Join(s.layersDir(), layerDir(layerID{s.cat.mu.images["victim"].lineage.id, 1}), "000000")
	s.cat.mu.Unlock()
	require.NoError(t, os.Rename(file, file+".gone"))
	r, err := s.Check(ctx, nil)
	require.NoError(t, err)
	require.Len(t, r.Findings, 2, "%+v", r.Findings)
	require.Equal(t, Finding{
		Severity: SeverityDamage, Kind: FindMissing, Where: file, What: "the data file is missing", Bytes: 1 << 20,
		Disks: []string{"image victim", "volume v"},
	}, r.Findings[0])
	require.Equal(t, FindStray, r.Findings[1].Kind)
	require.NoError(t, os.Rename(file+".gone", file))
	c.end(t)
	requireNoInstants(t, s)
	require.NoError(t, s.Close())
	requireClean(t, dir)
	t.Logf("%d rounds of changes beside %d checks, %d of which looked twice", c.rounds.Load(), checks, twice)
}

func requireNoInstants(t *testing.T, s *Store) {
	t.Helper()
	names, err := s.fs.List(s.dir)
	require.NoError(t, err)
	for _, name := range names {
		require.False(t, strings.HasPrefix(name, instantPrefix), name)
	}
}

// atFirst calls fn once, when a stage has begun.
func atFirst(stage string, fn func()) func(Progress) {
	done := false
	return func(p Progress) {
		if p.Stage == stage && !done {
			done = true
			fn()
		}
	}
}

// TestWhatOnePassFindsIsNoDamage: between the records and the files of the first
// pass an image is deleted and gone; and a file is away for one pass only.
func TestWhatOnePassFindsIsNoDamage(t *testing.T) {
	s := openStore(t, t.TempDir())
	importBytes(t, s, "a", bytes.Repeat(block(9), 256))
	importBytes(t, s, "b", bytes.Repeat(block(8), 256))
	file := func(name string) string {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return filepath.Join(s.layersDir(), layerDir(layerID{s.cat.mu.images[name].lineage.id, 1}), "000000")
	}
	a, b := file("a"), file("b")
	r, err := s.Check(ctx, atFirst("check", func() {
		require.NoError(t, s.DeleteImage(ctx, "a", ""))
		require.Eventually(t, func() bool { _, err := os.Stat(a); return os.IsNotExist(err) }, waitLong, waitTick)
	}))
	require.NoError(t, err)
	require.Equal(t, 2, r.Passes, "the first pass misses the file")
	require.Empty(t, r.Findings)

	require.NoError(t, os.Rename(b, b+".gone"))
	r, err = s.Check(ctx, atFirst("check again", func() { require.NoError(t, os.Rename(b+".gone", b)) }))
	require.NoError(t, err)
	require.Equal(t, 2, r.Passes)
	require.Empty(t, r.Findings)
	require.NoError(t, s.Close())
}

// TestCheckInServiceIsCancelled, and only one runs.
func TestCheckInServiceIsCancelled(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "i", bytes.Repeat(block(9), 256))
	cancelCtx, cancel := context.WithCancel(ctx)
	_, err := s.Check(cancelCtx, func(Progress) {
		_, err := s.Check(ctx, nil)
		require.ErrorIs(t, err, ErrInUse)
		cancel()
	})
	require.ErrorIs(t, err, context.Canceled)
	requireNoInstants(t, s)
	r, err := s.Check(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, 1, r.Passes)
	require.Positive(t, r.Records)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, instantPrefix+"7", "x"), 0o700))
	require.NoError(t, s.Close())
	_, err = s.Check(ctx, nil)
	require.ErrorIs(t, err, ErrClosed)
	s = openStore(t, dir)
	requireNoInstants(t, s)
	require.NoError(t, s.Close())
}

// TestCheckOfDamagedTablesHarmsNobody: the store in service goes on.
func TestCheckOfDamagedTablesHarmsNobody(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range 50 {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: fmt.Sprint("v", i), Size: 1 << 20})
		require.NoError(t, err)
	}
	d := openVolume(t, s, "v7")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, s.db.Flush())
	tables, err := filepath.Glob(filepath.Join(dir, "meta", "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	for _, table := range tables {
		b, err := os.ReadFile(table)
		require.NoError(t, err)
		b[len(b)/4] ^= 1
		require.NoError(t, os.WriteFile(table, b, 0o600))
	}
	r, err := s.Check(ctx, nil)
	require.NoError(t, err)
	require.Positive(t, r.Damage)
	require.Equal(t, FindMetadata, r.Findings[0].Kind)
	require.NoError(t, s.usable())
	require.NoError(t, d.WriteAt(ctx, block(2), 0, true))
	require.EqualValues(t, 2, firstByte(t, d, 0))
	s.kill()
}
