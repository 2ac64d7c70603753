package blockstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dumped returns the dump of a store that is closed.
func dumped(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	info, err := Dump(ctx, dir, testOptions(), &b)
	require.NoError(t, err)
	require.EqualValues(t, bytes.Count(b.Bytes(), []byte("\n"))-2, info.Records)
	return b.Bytes()
}

// fullStore makes a store with a record of each kind, and returns what its
// disks read as.
func fullStore(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	s := openStore(t, dir)
	importBytes(t, s, "img", randomBytes(1<<20))
	for _, name := range []string{"v", "old"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "img", RequestID: "make-" + name, Owner: "<&>\u2028"})
		require.NoError(t, err)
	}
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(2), 5*BlockSize+100, true))
	require.NoError(t, d.Trim(ctx, 8*BlockSize, 3*BlockSize, true))
	err = s.RetireVolume(ctx, "old", time.Hour, "")
	require.NoError(t, err)
	b := s.db.NewBatch()
	require.NoError(t, b.Set([]byte("zfuture\x00"), []byte{0, 255}, nil))
	require.NoError(t, s.commit(b))
	finish(t, s, d)
	return contents(t, dir)
}

// contents returns what the volume v, its snapshot and the image read as.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	s := openStore(t, dir)
	all := map[string][]byte{}
	for name, open := range map[string]func() (*Disk, error){
		"v":        func() (*Disk, error) { return s.OpenVolume(ctx, "v") },
		"snapshot": func() (*Disk, error) { return s.OpenSnapshot(ctx, "v", "s") },
		"image":    func() (*Disk, error) { return s.OpenImage(ctx, "img") },
	} {
		d, err := open()
		require.NoError(t, err, name)
		all[name] = make([]byte, d.Size())
		require.NoError(t, d.ReadAt(ctx, all[name], 0))
		require.NoError(t, d.Close())
	}
	report, err := s.VerifyImage(ctx, "img", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	require.NoError(t, s.Close())
	return all
}

// records returns the lines of a dump but for the first and last, without what a
// restore changes: the epochs of volumes.
func records(t *testing.T, dump []byte) (lines []string) {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(string(dump), "\n"), "\n")
	for _, line := range all[1 : len(all)-1] {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), "%s", line)
		rec, _ := m["value"].(map[string]any)
		if rec["volume"] != nil {
			rec = rec["volume"].(map[string]any)
		}
		if m["type"] == "volume" || m["type"] == "retired" {
			delete(rec, "epoch")
			delete(rec, "epochSince")
			delete(rec, "epochCause")
			delete(rec, "epochMark")
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		lines = append(lines, string(b))
	}
	return lines
}

func TestDumpAndRestore(t *testing.T) {
	for name, damage := range map[string]func(meta string) error{
		"there": func(string) error { return nil },
		"gone":  os.RemoveAll,
		"damaged": func(meta string) error {
			manifests, err := filepath.Glob(filepath.Join(meta, "MANIFEST-*"))
			for _, m := range manifests {
				err = os.Truncate(m, 10)
			}
			return err
		},
		"gone with its witness": func(meta string) error {
			if err := os.Remove(filepath.Join(meta, "..", "seq")); err != nil {
				return err
			}
			return os.RemoveAll(meta)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			was := fullStore(t, dir)
			dump := dumped(t, dir)
			require.Equal(t, dump, dumped(t, dir), "the same commit is the same bytes")
			for _, kind := range dumpKinds {
				if kind.prefix != prefixOpen && kind.prefix != prefixFailed {
					require.Contains(t, string(dump), fmt.Sprintf(`{"type":%q,`, kind.name))
				}
			}
			require.Contains(t, string(dump), `{"type":"raw","key":"7a6675747572650`)
			require.Contains(t, string(dump), "\\u003c\\u0026")

			meta := filepath.Join(dir, "meta")
			require.NoError(t, damage(meta))
			r, err := RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{})
			require.NoError(t, err)
			require.False(t, r.Done)
			require.NoDirExists(t, filepath.Join(dir, "meta.restoring"))
			r, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
			require.NoError(t, err)
			require.True(t, r.Done)
			require.Empty(t, r.Missing)
			require.Empty(t, r.Strays)
			require.Empty(t, r.Lost)
			require.Equal(t, !strings.HasPrefix(name, "gone") && name != "damaged", r.PresentError == "")
			again := dumped(t, dir)
			require.Equal(t, records(t, dump), records(t, again))
			require.NotEqual(t, dump, again, "epochs have risen")
			require.Equal(t, was, contents(t, dir))

			s := openStore(t, dir)
			info, err := s.Volume(ctx, "v")
			require.NoError(t, err)
			require.Contains(t, info.EpochCause, "from a dump")
			require.NoError(t, s.Close())
		})
	}
}

// TestRestoreAnOldDump tells what has changed since.
func TestRestoreAnOldDump(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	dump := dumped(t, dir)
	s := openStore(t, dir)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "new", Size: 1 << 20})
	require.NoError(t, err)
	w := openVolume(t, s, "new")
	require.NoError(t, w.WriteAt(ctx, block(7), 0, true))
	require.NoError(t, w.Close())
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(3), 5*BlockSize, true))
	require.NoError(t, d.Trim(ctx, 5*BlockSize, BlockSize, true))
	require.NoError(t, d.WriteAt(ctx, block(3), 6*BlockSize, true))
	var b bytes.Buffer
	_, err = Dump(ctx, dir, testOptions(), &b)
	require.ErrorIs(t, err, ErrLocked)
	_, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
	require.ErrorIs(t, err, ErrLocked)
	finish(t, s, d)

	r, err := RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "is missing")
	require.Equal(t, []string{"volume new"}, r.Lost)
	require.Equal(t, []string{"volume v"}, r.Written)
	require.Len(t, r.Strays, 1)
	require.Equal(t, []MissingData{{Disk: "volume v", Bytes: BlockSize, Ranges: []Range{{5 * BlockSize, BlockSize}}}}, r.Missing)
	r, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true, AcceptMissing: true})
	require.NoError(t, err)
	require.DirExists(t, filepath.Join(r.Aside, "meta"))
	require.DirExists(t, filepath.Join(r.Aside, "layers", r.Strays[0]))
	contents(t, dir)
}

// TestABadDumpChangesNothing, however it is bad.
func TestABadDumpChangesNothing(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	fullStore(t, dir)
	fullStore(t, other)
	dump := dumped(t, dir)
	end := bytes.LastIndex(dump[:len(dump)-1], []byte("\n")) + 1
	first := bytes.IndexByte(dump, '\n') + 1
	second := first + bytes.IndexByte(dump[first:], '\n') + 1
	bad := map[string]struct {
		dump []byte
		err  error
	}{
		"empty":             {nil, ErrCorrupt},
		"no dump":           {[]byte("hello\n"), ErrInvalid},
		"no end":            {dump[:end], ErrCorrupt},
		"cut in its end":    {dump[:len(dump)-1], ErrCorrupt},
		"only its head":     {dump[:first], ErrCorrupt},
		"a record less":     {append(bytes.Clone(dump[:first]), dump[second:]...), ErrCorrupt},
		"a record twice":    {append(bytes.Clone(dump[:second]), dump[first:]...), ErrCorrupt},
		"more after it":     {append(bytes.Clone(dump), '\n'), ErrCorrupt},
		"another store's":   {dumped(t, other), ErrInvalid},
		"a newer format's":  {bytes.Replace(dump, []byte(`"format":1`), []byte(`"format":2`), 1), ErrFormat},
		"of a newer store":  {bytes.Replace(dump, []byte(`"storeFormat":1`), []byte(`"storeFormat":9`), 1), ErrFormat},
		"of another commit": {bytes.Replace(dump, []byte(`"sequence":`), []byte(`"sequence":1`), 1), ErrCorrupt},
	}
	for i := 1; i < 40; i++ { // and cut or changed anywhere
		at := first + (end-first)*i/40
		bad[fmt.Sprint("cut at ", at)] = struct {
			dump []byte
			err  error
		}{dump[:at], ErrCorrupt}
		flipped := bytes.Clone(dump)
		flipped[at] ^= 1
		bad[fmt.Sprint("changed at ", at)] = struct {
			dump []byte
			err  error
		}{flipped, ErrCorrupt}
	}
	for name, b := range bad {
		_, err := RestoreDump(ctx, dir, testOptions(), bytes.NewReader(b.dump), RestoreRequest{Apply: true, AcceptMissing: true})
		require.ErrorIs(t, err, b.err, name)
	}
	require.NoDirExists(t, filepath.Join(dir, "meta.restoring"))
	require.Equal(t, dump, dumped(t, dir))

	id := filepath.Join(dir, "id")
	text, err := os.ReadFile(id)
	require.NoError(t, err)
	for want, change := range map[error]func() error{
		ErrNotFound: func() error { return os.Remove(id) },
		ErrCorrupt:  func() error { return os.WriteFile(id, []byte("x"), 0o600) },
	} {
		require.NoError(t, change())
		_, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
		require.ErrorIs(t, err, want)
		require.NoError(t, os.WriteFile(id, text, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "seq"), sequenceBytes(1<<40), 0o600))
	var out bytes.Buffer
	_, err = Dump(ctx, dir, testOptions(), &out)
	require.ErrorIs(t, err, ErrCorrupt, "what lost its tail must not replace a good dump")
	require.ErrorContains(t, err, "lost its tail")
}

// TestADumpThatDoesNotAddUp has the right sum, and names what it does not have.
func TestADumpThatDoesNotAddUp(t *testing.T) {
	dir := t.TempDir()
	fullStore(t, dir)
	dump := dumped(t, dir)
	lines := bytes.SplitAfter(dump, []byte("\n"))
	var out []byte
	n := 0
	for _, line := range lines[:len(lines)-2] {
		if !bytes.HasPrefix(line, []byte(`{"type":"version"`)) {
			out = append(out, line...)
			n++
		}
	}
	sum := sha256.Sum256(out)
	end, err := json.Marshal(dumpEnd{dumpEndType, int64(n - 1), hex.EncodeToString(sum[:])})
	require.NoError(t, err)
	out = append(append(out, end...), '\n')
	_, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(out), RestoreRequest{Apply: true})
	require.ErrorIs(t, err, ErrCorrupt)
	require.Equal(t, dump, dumped(t, dir))
}

// TestARestoreOfADumpCutShortIsRunAgain, wherever it is cut.
func TestARestoreOfADumpCutShortIsRunAgain(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for n, cut := 1, true; cut; n += step {
		disk := newHost(uint64(n))
		s, err := Open(crashDir, simOptions(disk))
		require.NoError(t, err)
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
		require.NoError(t, err)
		d := openVolume(t, s, "v")
		require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
		finish(t, s, d)
		var dump bytes.Buffer
		_, err = Dump(ctx, crashDir, simOptions(disk), &dump)
		require.NoError(t, err)
		s, err = Open(crashDir, simOptions(disk))
		require.NoError(t, err)
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
		require.NoError(t, err)
		require.NoError(t, s.Close())

		disk.arm(n, n%2 == 0)
		req := RestoreRequest{Apply: true}
		_, err = RestoreDump(ctx, crashDir, simOptions(disk), bytes.NewReader(dump.Bytes()), req)
		if cut = disk.crashed() != nil; cut {
			disk = disk.crashed()
			_, err = RestoreDump(ctx, crashDir, simOptions(disk), bytes.NewReader(dump.Bytes()), req)
		}
		require.NoError(t, err, "cut at %d", n)
		s, err = Open(crashDir, simOptions(disk))
		require.NoError(t, err, "cut at %d", n)
		_, err = s.Volume(ctx, "w")
		require.ErrorIs(t, err, ErrNotFound)
		d = openVolume(t, s, "v")
		require.EqualValues(t, 1, firstByte(t, d, 0))
		finish(t, s, d)
	}
}

// TestAnOldStoreGetsAnID when it is dumped.
func TestAnOldStoreGetsAnID(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "id")))
	dump := dumped(t, dir)
	require.Equal(t, dump, dumped(t, dir))
	_, err = RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
	require.NoError(t, err)
}

// FuzzDumpLine: each record comes back from its line, and no line does harm.
func FuzzDumpLine(f *testing.F) {
	c := newComposer()
	c.fill(3, 9, sourceZero)
	src, err := c.source(layerID{1 << 60, 4})
	require.NoError(f, err)
	c.fill(100, 4000, src)
	f.Add(mapKey(1<<63, 2, 3), c.encode())
	c.release()
	f.Add(nameKey(prefixVolume, "a<b"), []byte(`{"a":"\u003c"}`))
	f.Add(nameKey(prefixVolume, "\xff"), []byte(`{ "a": 1 }`))
	f.Add(nameKey(prefixImage, "x"), []byte("\n"))
	f.Add(lineageKey(prefixFlushed, 7), make([]byte, 8))
	f.Add(failureKey(3), []byte(`{"all":true}`))
	f.Add(failureRegionKey(3, 7), []byte{1, 2, 3})
	f.Add(entryKey(layerID{1, 0}), []byte(`{"type":"end"}`))
	f.Add([]byte{}, []byte(`{"type":"map","map":{}}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		_, _, _ = decodeDumpLine(value)
		if len(key) == 0 {
			return
		}
		line := encodeDumpLine(key, value)
		require.Equal(t, 1, bytes.Count(line, []byte("\n")))
		gotKey, got, ok := decodeDumpLine(line)
		require.True(t, ok, "%s", line)
		require.Equal(t, hex.EncodeToString(key), hex.EncodeToString(gotKey))
		require.Equal(t, hex.EncodeToString(value), hex.EncodeToString(got))
	})
}

// TestLoadInBatches loads more than one batch.
func TestLoadInBatches(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	b := s.db.NewBatch()
	for i := range 100 {
		require.NoError(t, b.Set(fmt.Appendf(nil, "z%03d", i), bytes.Repeat([]byte{byte(i)}, 60<<10), nil))
	}
	require.NoError(t, s.commit(b))
	require.NoError(t, s.Close())
	dump := dumped(t, dir)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "meta")))
	_, err := RestoreDump(ctx, dir, testOptions(), bytes.NewReader(dump), RestoreRequest{Apply: true})
	require.NoError(t, err)
	require.Equal(t, records(t, dump), records(t, dumped(t, dir)))
}
