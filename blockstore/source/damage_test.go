package source_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

var compressed = []string{"gzip", "xz", "zstd", "zip"}

// TestTruncated cuts each format at many lengths: every byte near both ends,
// and places between. None may pass for a whole disk.
func TestTruncated(t *testing.T) {
	content := disk(192<<10, 20)
	for _, format := range compressed {
		packed := pack(t, format, content)
		for n := 6; n < len(packed); n += step(n, len(packed)) {
			_, err := read(t, packed[:n])
			require.ErrorIs(t, err, blockstore.ErrInvalid, "%s cut to %d of %d", format, n, len(packed))
		}
	}
}

func step(n, size int) int {
	if n < 64 || size-n <= 128 {
		return 1
	}
	return min(1021, size-n-128) // a prime, so that no unit is met only at its border
}

// TestBitFlips: with one bit turned over, an input must fail or, where the bit
// means nothing (a time stamp), read as before. All these have checksums.
func TestBitFlips(t *testing.T) {
	content := disk(96<<10, 21)
	rnd := rand.New(rand.NewPCG(21, 2))
	for _, format := range compressed {
		packed := pack(t, format, content)
		failed := 0
		for i := range 250 {
			bad := bytes.Clone(packed)
			at := rnd.IntN(len(bad))
			if i < 120 { // headers and trailers get more than their share
				at = i/2*(i%2) + (len(bad)-1-i/2)*(1-i%2)
			}
			bad[at] ^= 1 << rnd.IntN(8)
			got, err := read(t, bad)
			if err != nil {
				failed++
				continue
			}
			// A flip in the magic makes it a raw disk, if the size fits.
			require.True(t, bytes.Equal(content, got) || bytes.Equal(bad, got), "%s, flip at byte %d went unnoticed", format, at)
		}
		require.Greater(t, failed, 150, format)
	}
}

// TestDamageAtTheVeryEnd: all data has been read when the checksum turns out
// to be wrong.
func TestDamageAtTheVeryEnd(t *testing.T) {
	content := disk(3<<20, 22)
	for format, fromEnd := range map[string]int{"gzip": 8, "zstd": 1, "xz": 3} {
		bad := pack(t, format, content)
		bad[len(bad)-fromEnd] ^= 0x10
		_, err := read(t, bad)
		require.ErrorIs(t, err, blockstore.ErrInvalid, format)
	}
	zipped := pack(t, "zip", content)
	at := bytes.LastIndex(zipped, []byte("PK\x01\x02")) + 16 // the CRC-32
	zipped[at] ^= 0x10
	_, err := read(t, zipped)
	require.ErrorContains(t, err, "checksum mismatch")
}

func TestDamageIsExplained(t *testing.T) {
	packed := pack(t, "gzip", disk(3<<20, 23))
	bad := bytes.Clone(packed)
	bad[len(bad)-8] ^= 1
	_, err := read(t, bad)
	require.ErrorContains(t, err, "gzip input: checksum mismatch at or before byte")
	require.ErrorContains(t, err, "fetch or compress it again")
	_, err = read(t, packed[:len(packed)-5])
	require.ErrorContains(t, err, "gzip input: cut short")
}
