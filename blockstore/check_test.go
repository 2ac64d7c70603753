package blockstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// checkHouse is a store at rest: image i of 1 MiB of data; volume v of it with
// a block of its own, snapshot s, and another block after that; volume w of it,
// untouched.
type checkHouse struct {
	*testing.T
	dir            string
	image, v, w    uint64 // lineages
	imageFile, tip string
}

func newCheckHouse(t *testing.T) *checkHouse {
	h := &checkHouse{T: t, dir: t.TempDir()}
	s := openStore(t, h.dir)
	importBytes(t, s, "i", bytes.Repeat(block(9), 256))
	for _, name := range []string{"v", "w"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "i", RequestID: "make-" + name})
		require.NoError(t, err)
	}
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(2), BlockSize, true))
	require.NoError(t, d.Close())
	s.cat.mu.Lock()
	h.image, h.v, h.w = s.cat.mu.images["i"].lineage.id, s.cat.mu.volumes["v"].lineage.id, s.cat.mu.volumes["w"].lineage.id
	s.cat.mu.Unlock()
	require.NoError(t, s.Close())
	h.imageFile = filepath.Join(h.dir, "layers", layerDir(layerID{h.image, 1}), "000000")
	h.tip = filepath.Join(h.dir, "layers", layerDir(layerID{h.v, 2}), "000000")
	return h
}

// check checks the store, and that this leaves no trace.
func (h *checkHouse) check() CheckReport {
	h.Helper()
	before := treeHash(h.T, h.dir)
	r, err := CheckStore(ctx, h.dir, testOptions())
	require.NoError(h.T, err)
	require.Equal(h.T, before, treeHash(h.T, h.dir), "a check changes nothing")
	return r
}

// requireClean has a check find nothing in a store at rest.
func requireClean(t *testing.T, dir string) {
	t.Helper()
	r, err := CheckStore(ctx, dir, testOptions())
	require.NoError(t, err)
	require.Empty(t, r.Findings)
}

// treeHash is of all that stands in a directory: names, lengths, times and the
// data that is allocated. Segments are sparse and of 1 TiB: their first MiB is read.
func treeHash(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == "LOCK" { // holds who has the store open
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		h.Write([]byte(path + info.ModTime().String() + info.Mode().String()))
		if e.IsDir() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		b := make([]byte, min(info.Size(), 1<<20))
		_, err = f.Read(b)
		h.Write(b)
		h.Write([]byte{byte(info.Size()), byte(info.Size() >> 8), byte(info.Size() >> 40)})
		if len(b) == 0 {
			return nil
		}
		return err
	}))
	return hex.EncodeToString(h.Sum(nil))
}

// edit changes records straight in Pebble, keeping the sequence.
func (h *checkHouse) edit(fn func(b *pebble.Batch)) {
	h.Helper()
	s, err := openOffline(h.dir, testOptions())
	require.NoError(h.T, err)
	seq, err := s.witnessed()
	require.NoError(h.T, err)
	require.NoError(h.T, s.write(s.metaDir(), func(_ *Store, b *pebble.Batch) error {
		fn(b)
		return nil
	}, seq))
	require.NoError(h.T, s.close())
}

// only is the one finding that there is.
func (h *checkHouse) only(severity, kind, where string, disks ...string) Finding {
	h.Helper()
	r := h.check()
	require.Len(h.T, r.Findings, 1, "%+v", r.Findings)
	f := r.Findings[0]
	require.Equal(h.T, severity, f.Severity)
	require.Equal(h.T, kind, f.Kind)
	require.Equal(h.T, where, f.Where)
	require.Equal(h.T, disks, f.Disks)
	require.Equal(h.T, severity == SeverityDamage, r.Damage == 1)
	return f
}

func TestCheckOfAGoodStoreFindsNothing(t *testing.T) {
	r := newCheckHouse(t).check()
	require.Empty(t, r.Findings)
	require.Equal(t, 4, r.Disks)
	require.Equal(t, 3, r.Files)
	require.Greater(t, r.Records, int64(12))
}

func TestCheckFindsAMissingFile(t *testing.T) {
	h := newCheckHouse(t)
	require.NoError(t, os.Remove(h.tip))
	f := h.only(SeverityDamage, FindMissing, h.tip, "volume v")
	require.EqualValues(t, BlockSize, f.Bytes)
}

func TestCheckNamesAllThatReadAFile(t *testing.T) {
	h := newCheckHouse(t)
	require.NoError(t, os.Remove(h.imageFile))
	f := h.only(SeverityDamage, FindMissing, h.imageFile, "image i", "snapshot v/s", "volume v", "volume w")
	require.EqualValues(t, 1<<20, f.Bytes)
}

func TestCheckNamesNoDiskThatHasItsOwnBlock(t *testing.T) {
	h := newCheckHouse(t)
	f, err := osFS{}.Open(h.imageFile, true)
	require.NoError(t, err)
	require.NoError(t, f.Punch(0, BlockSize)) // of which v and its snapshot have their own
	require.NoError(t, f.Close())
	found := h.only(SeverityDamage, FindHole, h.imageFile, "image i", "volume w")
	require.EqualValues(t, BlockSize, found.Bytes)
}

func TestCheckFindsATruncatedFile(t *testing.T) {
	for _, size := range []int64{0, BlockSize, segmentSize - BlockSize, segmentSize + 1} {
		h := newCheckHouse(t)
		require.NoError(t, os.Truncate(h.tip, size))
		h.only(SeverityDamage, FindTruncated, h.tip, "volume v")
	}
}

func TestCheckFindsFilesWithoutARecordAndKeepsThem(t *testing.T) {
	for _, name := range []string{
		filepath.Join("layers", layerDir(layerID{7, 1})),
		filepath.Join("layers", "lost+found"),
		filepath.Join("rings", "0000000000000009"),
	} {
		h := newCheckHouse(t)
		stray := filepath.Join(h.dir, name)
		require.NoError(t, os.Mkdir(stray, 0o700))
		h.only(SeverityWarning, FindStray, stray, []string(nil)...)
		require.DirExists(t, stray)
	}
}

func TestCheckFindsReferencesToWhatDoesNotExist(t *testing.T) {
	base := layerDir(layerID{0, 1})
	for what, test := range map[string]struct {
		gone  func(h *checkHouse) []byte
		where func(h *checkHouse) []byte
		disks []string
	}{
		"the version of an image": {
			func(h *checkHouse) []byte { return entryKey(layerID{h.image, 1}) },
			func(h *checkHouse) []byte { return nameKey(prefixImage, "i") }, []string{"image i"},
		},
		"the lineage of a volume": {
			func(h *checkHouse) []byte { return lineageKey(prefixLineage, h.w) },
			func(h *checkHouse) []byte { return nameKey(prefixVolume, "w") }, []string{"volume w"},
		},
		"the version of a snapshot": {
			func(h *checkHouse) []byte { return entryKey(layerID{h.v, 1}) },
			func(h *checkHouse) []byte { return mapKey(h.v, 0, 1) }, []string{"volume v"},
		},
		"what volumes stand on": {
			func(h *checkHouse) []byte { return entryKey(layerID{h.image, 1}) },
			func(h *checkHouse) []byte { return lineageKey(prefixLineage, h.w) }, []string{"volume w"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := newCheckHouse(t)
			h.edit(func(b *pebble.Batch) { require.NoError(t, b.Delete(test.gone(h), nil)) })
			var found []Finding
			for _, f := range h.check().Findings {
				require.NotContains(t, f.What, base)
				if f.Where == recordName(test.where(h)) {
					found = append(found, f)
				}
			}
			require.Len(t, found, 1)
			require.Equal(t, FindDangling, found[0].Kind)
			require.Equal(t, SeverityDamage, found[0].Severity)
			require.Subset(t, found[0].Disks, test.disks)
		})
	}
}

func TestCheckGoesOnAfterARecordThatDoesNotParse(t *testing.T) {
	for what, key := range map[string]func(h *checkHouse) []byte{
		"image":       func(*checkHouse) []byte { return nameKey(prefixImage, "i") },
		"volume":      func(*checkHouse) []byte { return nameKey(prefixVolume, "w") },
		"lineage":     func(h *checkHouse) []byte { return lineageKey(prefixLineage, h.v) },
		"version":     func(h *checkHouse) []byte { return entryKey(layerID{h.v, 1}) },
		"map":         func(h *checkHouse) []byte { return mapKey(h.image, 0, 1) },
		"digest":      func(h *checkHouse) []byte { return versionKey(prefixHash, layerID{h.image, 1}, 0) },
		"sequence":    func(h *checkHouse) []byte { return lineageKey(prefixFlushed, h.v) },
		"request":     func(*checkHouse) []byte { return nameKey(prefixRequest, "make-v") },
		"open volume": func(h *checkHouse) []byte { return lineageKey(prefixOpen, h.v) },
	} {
		t.Run(what, func(t *testing.T) {
			h := newCheckHouse(t)
			h.edit(func(b *pebble.Batch) { require.NoError(t, b.Set(key(h), []byte("\xff{is broken"), nil)) })
			require.NoError(t, os.Remove(h.tip))
			kinds := map[string]string{}
			for _, f := range h.check().Findings {
				require.Equal(t, SeverityDamage, f.Severity, "%+v", f)
				kinds[f.Where] = f.Kind
			}
			require.Equal(t, FindRecord, kinds[recordName(key(h))])
			require.Equal(t, FindMissing, kinds[h.tip], "what is damaged besides is found too")
		})
	}
}

func TestCheckFindsFlippedBytesOfTheMetadata(t *testing.T) {
	h := newCheckHouse(t)
	h.flipTables()
	r := h.check()
	require.Positive(t, r.Damage)
	for _, f := range r.Findings {
		require.Contains(t, []string{FindMetadata, FindRecord}, f.Kind, "nothing is told of what cannot be known: %+v", f)
	}
}

// A store whose tables are damaged is refused: nobody stands still in Pebble.
func TestOpenReportsFlippedBytesOfTheMetadata(t *testing.T) {
	h := newCheckHouse(t)
	h.flipTables()
	s, err := Open(h.dir, testOptions())
	if err == nil {
		require.NoError(t, s.Close())
	}
	require.Error(t, err)
}

// flipTables damages a byte of each table of the metadata.
func (h *checkHouse) flipTables() {
	t := h.T
	t.Helper()
	h.edit(func(*pebble.Batch) {}) // so that all stands in tables
	tables, err := filepath.Glob(filepath.Join(h.dir, "meta", "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	for _, path := range tables {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		b[10] ^= 0x40
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
}

func TestCheckFindsALostTail(t *testing.T) {
	h := newCheckHouse(t)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "seq"), sequenceBytes(1000), 0o600))
	h.only(SeverityDamage, FindLostTail, filepath.Join(h.dir, "meta"))
	require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "meta")))
	h.only(SeverityDamage, FindMetadata, filepath.Join(h.dir, "meta"))
}

func TestCheckNeedsTheStoreForItself(t *testing.T) {
	s := openStore(t, t.TempDir())
	_, err := CheckStore(ctx, s.dir, testOptions())
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.Close())
	_, err = CheckStore(ctx, t.TempDir(), testOptions())
	require.ErrorIs(t, err, ErrNotFound)
}
