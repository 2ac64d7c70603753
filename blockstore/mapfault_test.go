package blockstore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARingThatIsCutFailsItsVolume: another program cuts the intent ring of an
// open volume. The kernel answers the next entry with a fault; the volume takes
// no more writes that need one, what it acknowledged is durable, and all other
// volumes go on.
func TestARingThatIsCutFailsItsVolume(t *testing.T) {
	for name, change := range map[string]func(d *Disk) error{
		"write": func(d *Disk) error { return d.WriteAt(ctx, block(7), 1<<20, false) },
		"trim":  func(d *Disk) error { return d.Trim(ctx, 0, BlockSize, false) },
	} {
		t.Run(name, func(t *testing.T) {
			_, s, d, dir := faulty(t)
			_, err := s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 30})
			require.NoError(t, err)
			w := openVolume(t, s, "w")
			require.NoError(t, w.WriteAt(ctx, block(2), 0, false))
			require.NoError(t, d.WriteAt(ctx, block(5), 0, false))
			ring := s.ringPath(d.v.entry.lineage.id)
			require.NoError(t, os.Truncate(ring, 0))

			err = change(d)
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorContains(t, err, ring)
			require.ErrorContains(t, err, "cut by another program")
			require.ErrorIs(t, change(d), ErrFailed, "and again")
			require.ErrorIs(t, d.Flush(ctx), ErrFailed)
			require.EqualValues(t, 5, firstByte(t, d, 0), "what was acknowledged was flushed")
			info, err := s.Volume(ctx, "v")
			require.NoError(t, err)
			require.Zero(t, info.Failure.Bytes, "nothing is lost: %v", info.Failure.Ranges)
			require.NoError(t, w.WriteAt(ctx, block(3), BlockSize, true), "others go on")
			s.kill()

			s = openStore(t, dir)
			d, w = openVolume(t, s, "v"), openVolume(t, s, "w")
			require.ErrorIs(t, change(d), ErrFailed, "it is recorded")
			require.EqualValues(t, 5, firstByte(t, d, 0))
			require.Zero(t, firstByte(t, d, 1<<20), "what was refused is not there")
			require.EqualValues(t, 3, firstByte(t, w, BlockSize))
			require.NoError(t, d.Close())
			info, err = s.AcceptLoss(ctx, "v", "")
			require.NoError(t, err)
			require.Empty(t, info.Failure.Ranges)
			d = openVolume(t, s, "v")
			require.NoError(t, change(d), "with a ring of its own again")
			finish(t, s, d, w)
		})
	}
}

// TestAWitnessThatIsCutEndsNothing: what says how far the metadata goes is
// mapped too.
func TestAWitnessThatIsCutEndsNothing(t *testing.T) {
	o := testOptions()
	log := logTo(&o)
	dir := t.TempDir()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, os.Truncate(filepath.Join(dir, "seq"), 0))
	for _, name := range []string{"v", "w"} {
		_, err = s.CreateVolume(ctx, CloneRequest{Name: name, Size: 1 << 30})
		require.NoError(t, err)
	}
	finish(t, s)
	require.Contains(t, log.String(), "restart goldstream")
	s = openStore(t, dir)
	d := openVolume(t, s, "w")
	require.NoError(t, d.WriteAt(ctx, block(3), 0, true))
	finish(t, s, d)
}

// TestOnlyFaultsOfTheMappingAreCaught: a mistake of ours is not taken for a
// fault of the disk.
func TestOnlyFaultsOfTheMappingAreCaught(t *testing.T) {
	touch := func(fn func()) (err error) {
		defer catchFault(make([]byte, 8), false, &err)
		fn()
		return nil
	}
	require.NoError(t, touch(func() {}))
	require.Panics(t, func() { _ = touch(func() { panic("other") }) })
	require.Panics(t, func() { _ = touch(func() { var p *int; *p = 1 }) })
}

// TestAnIntentAllocatesNothing: with all that guards the mapping.
func TestAnIntentAllocatesNothing(t *testing.T) {
	m, err := osFS{}.Map(filepath.Join(t.TempDir(), "ring"), ringSize)
	require.NoError(t, err)
	r := &ring{m: m, b: m.Bytes()}
	require.NoError(t, r.begin())
	data := block(1)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if ok, err := r.append(intentData, 1, 0, 1, data); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}))
	require.NoError(t, r.close())
}

func BenchmarkIntent(b *testing.B) {
	m, err := osFS{}.Map(filepath.Join(b.TempDir(), "ring"), ringSize)
	require.NoError(b, err)
	r := &ring{m: m, b: m.Bytes()}
	require.NoError(b, r.begin())
	data := block(1)
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := r.append(intentData, 1, 0, 1, data); !ok {
			_, head := r.mark()
			r.committed(head)
		}
	}
	require.NoError(b, r.close())
}
