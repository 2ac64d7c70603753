package blockstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/cockroachdb/pebble/v2"
)

// The h records of a sealed version hold the SHA-256 of each region that is not
// all zero. An import writes them with the image; of a captured image the keeper
// (keeper.go) takes them afterwards. Beyond the last region that any disk can
// have stand three more, of 32 bytes each:
//
//	regionProgress   how far the keeper is: next region, 4 bytes, and zeros
//	regionRaw        SHA-256 of the raw disk, if it was asked for
//	regionContentID  the content id, once all regions have their sum
//
// Images of one version share them. (What an import knows of these stands in
// the image's own record.)
const (
	regionProgress  = ^uint32(0) - 2
	regionRaw       = ^uint32(0) - 1
	regionContentID = ^uint32(0)
)

// digests of a sealed version, in hex; empty where not known. In memory they are
// guarded by catalogue.mu.
type digests struct{ content, raw string }

// loadDigests reads what is known of a version beside its image's record.
func (s *Store) loadDigests(id layerID) (d digests, err error) {
	for region, to := range map[uint32]*string{regionContentID: &d.content, regionRaw: &d.raw} {
		sum, found, err := s.sumOf(id, region)
		if err != nil {
			return d, err
		}
		if found {
			*to = hex.EncodeToString(sum[:])
		}
	}
	return d, nil
}

// sumOf reads a stored digest.
func (s *Store) sumOf(id layerID, region uint32) (sum [sha256.Size]byte, found bool, err error) {
	b, closer, err := s.db.Get(versionKey(prefixHash, id, region))
	if errors.Is(err, pebble.ErrNotFound) {
		return sum, false, nil
	}
	if err != nil {
		return sum, false, fmt.Errorf("read metadata: %w", err)
	}
	defer closer.Close()
	if len(b) != sha256.Size {
		return sum, false, errf(ErrCorrupt, "digest record of layer %s, region %d, is damaged", layerDir(id), region)
	}
	return [sha256.Size]byte(b), true, nil
}

// summed returns the region from which on a version has no sums yet.
func (s *Store) summed(id layerID) (next uint32, err error) {
	b, _, err := s.sumOf(id, regionProgress)
	return binary.BigEndian.Uint32(b[:]), err
}

// putSummed adds to a batch how far the sums of a version go.
func putSummed(b *pebble.Batch, id layerID, next uint32) error {
	v := make([]byte, sha256.Size)
	binary.BigEndian.PutUint32(v, next)
	return b.Set(versionKey(prefixHash, id, regionProgress), v, nil)
}

// storedContentID works the content id of a version out of its sums.
func (s *Store) storedContentID(v *view) (sum [sha256.Size]byte, err error) {
	id := layerID{v.lineage.id, v.version}
	h := newContentHash(v.size)
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: versionKey(prefixHash, id, 0), UpperBound: versionKey(prefixHash, id, regionsOf(v.size)),
	})
	if err != nil {
		return sum, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		addRegion(h, versionRegion(it.Key()), it.Value())
	}
	return [sha256.Size]byte(h.Sum(nil)), it.Error()
}

// A content id identifies what a disk reads as: SHA-256 over its size and, for
// each region that is not all zero, in order, its number and its SHA-256;
// numbers are 8 bytes, little endian.
func newContentHash(size int64) hash.Hash {
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(size)))
	return h
}

func addRegion(h hash.Hash, region uint32, sum []byte) {
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(region)))
	h.Write(sum)
}

// ImageDigests are the digests of an image: see ImageInfo.
type ImageDigests struct {
	Image     string `json:"image"`
	ContentID string `json:"contentId"`
	SHA256    string `json:"sha256,omitempty"`
}

// DigestImage returns the content id of an image and, with raw, the SHA-256 of
// its raw disk, as sha256sum prints it. What is not known is worked out, which
// reads the image, with raw all of its size, and is kept.
//
// Errors: ErrNotFound, ErrCorrupt (it is damaged), and those of VerifyImage.
func (s *Store) DigestImage(ctx context.Context, name string, raw bool, progress func(Progress)) (ImageDigests, error) {
	info, err := s.Image(ctx, name)
	if err == nil && (info.ContentID == "" || raw && info.SHA256 == "") {
		var report VerifyReport
		if report, err = s.verifyImage(ctx, name, raw, progress); err == nil && len(report.Bad) > 0 {
			err = errf(ErrCorrupt, "golden image %q is damaged at byte %d (%s) and has no digest that would be worth anything: goldstream image verify names all of it",
				name, report.Bad[0].Offset, report.Bad[0].Reason)
		}
		if err == nil {
			info, err = s.Image(ctx, name)
		}
	}
	return ImageDigests{Image: name, ContentID: info.ContentID, SHA256: info.SHA256}, err
}
