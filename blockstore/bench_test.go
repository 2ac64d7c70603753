package blockstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), testOptions())
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkClone makes durable clones of images of 1 GiB and 64 TiB.
func BenchmarkClone(b *testing.B) {
	for _, size := range []int64{1 << 30, 64 << 40} {
		b.Run(fmt.Sprintf("%dGiB", size>>30), func(b *testing.B) {
			s := benchStore(b)
			_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: size})
			require.NoError(b, err)
			_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "img"})
			require.NoError(b, err)
			n := 0
			for b.Loop() {
				n++
				_, err := s.CreateVolume(ctx, CloneRequest{Name: fmt.Sprintf("c%d", n), Image: "img"})
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkReadCached reads random cached 4 KiB blocks of a clone, from its
// image and from its own layer.
func BenchmarkReadCached(b *testing.B) {
	s := benchStore(b)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 256 << 20})
	require.NoError(b, err)
	d, err := s.OpenVolume(ctx, "v")
	require.NoError(b, err)
	defer d.Close()
	require.NoError(b, d.WriteZeroes(ctx, 0, 256<<20, true, true))
	p := make([]byte, BlockSize)
	for _, try := range []bool{false, true} {
		b.Run(fmt.Sprintf("try=%v", try), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				off := int64(rand.IntN(65536)) << blockShift
				if try && d.TryReadAt(p, off) {
					continue
				}
				if err := d.ReadAt(ctx, p, off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWrite overwrites and first-writes 4 KiB blocks.
func BenchmarkWrite(b *testing.B) {
	s := benchStore(b)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 40})
	require.NoError(b, err)
	d, err := s.OpenVolume(ctx, "v")
	require.NoError(b, err)
	defer d.Close()
	p := make([]byte, BlockSize)
	p[0] = 1
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		at := int64(0)
		for b.Loop() {
			at++
			require.NoError(b, d.WriteAt(ctx, p, at<<blockShift, false))
		}
	})
	require.NoError(b, d.Flush(ctx))
	b.Run("over", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			require.NoError(b, d.WriteAt(ctx, p, int64(1+rand.IntN(1000))<<blockShift, false))
		}
	})
}
