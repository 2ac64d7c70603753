package blockstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// commitLog keeps every batch that a store commits, in their order.
type commitLog struct {
	mu      sync.Mutex
	batches [][]byte
}

func (l *commitLog) commit(b *pebble.Batch, commit func(*pebble.Batch) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, slices.Clone(b.Repr()))
	return commit(b)
}

// dumpAt returns the dump of metadata that has the first commits only.
func (l *commitLog) dumpAt(t *testing.T, id string, commits uint64) []byte {
	t.Helper()
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), Merger: mapMerger, Logger: pebbleQuiet{}})
	require.NoError(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.GreaterOrEqual(t, uint64(len(l.batches)), commits)
	for _, repr := range l.batches[:commits] {
		b := db.NewBatch()
		require.NoError(t, b.SetRepr(slices.Clone(repr)))
		require.NoError(t, b.Commit(pebble.NoSync))
	}
	require.NoError(t, db.Set(sequenceKey, sequenceBytes(commits), pebble.NoSync))
	var out bytes.Buffer
	_, err = writeDump(ctx, db, id, &out)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return out.Bytes()
}

type pebbleQuiet struct{}

func (pebbleQuiet) Infof(string, ...any)  {}
func (pebbleQuiet) Errorf(string, ...any) {}
func (pebbleQuiet) Fatalf(string, ...any) {}

// TestDumpInService: beside changes of all kinds a dump is byte for byte that of
// the commits up to one, and a store that is restored from it is whole.
func TestDumpInService(t *testing.T) {
	dir := t.TempDir()
	log := new(commitLog)
	o := testOptions()
	o.reorder = log.commit
	s, err := Open(dir, o)
	require.NoError(t, err)
	c := startChurn(t, s)
	dumps := 6
	if testing.Short() {
		dumps = 3
	}
	var last bytes.Buffer
	for range dumps {
		from := c.rounds.Load()
		last.Reset()
		before := s.witness.now()
		info, err := s.Dump(ctx, &last)
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.Sequence, before, "what was committed before is in it")
		id, err := s.id()
		require.NoError(t, err)
		require.Equal(t, string(log.dumpAt(t, id, info.Sequence)), last.String())
		checked, err := VerifyDump(ctx, bytes.NewReader(last.Bytes()))
		require.NoError(t, err)
		require.Equal(t, info, checked)
		require.Eventually(t, func() bool { return c.rounds.Load() >= from+4 }, waitLong, waitTick, "the others go on")
	}
	c.end(t)
	requireNoInstants(t, s)
	for tries := 0; ; tries++ { // what is deleted may still be given back
		last.Reset()
		_, err = s.Dump(ctx, &last)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		atRest := string(dumped(t, dir))
		if atRest == last.String() {
			break
		}
		require.Less(t, tries, 20, "another at rest:\n%s", atRest)
		s = openStore(t, dir)
	}
	r, err := RestoreDump(ctx, dir, testOptions(), bytes.NewReader(last.Bytes()), RestoreRequest{Apply: true})
	require.NoError(t, err)
	require.Empty(t, r.Missing)
	require.Empty(t, r.Lost)
	requireClean(t, dir)
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// TestADumpInServiceThatEndsEarly leaves nothing, and the next one goes well.
func TestADumpInServiceThatEndsEarly(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "i", pattern(1, 1<<20))
	full := errors.New("the pipe is broken")
	_, err := s.Dump(ctx, failingWriter{full})
	require.ErrorIs(t, err, full)
	cancelledCtx, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Dump(cancelledCtx, new(bytes.Buffer))
	require.ErrorIs(t, err, context.Canceled)
	requireNoInstants(t, s)
	var out bytes.Buffer
	_, err = s.Dump(ctx, &out)
	require.NoError(t, err)
	_, err = VerifyDump(ctx, bytes.NewReader(out.Bytes()[:out.Len()-10]))
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, s.Close())
	_, err = s.Dump(ctx, &out)
	require.ErrorIs(t, err, ErrClosed)
}
