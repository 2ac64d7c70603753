package imagestreamer

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// TestArchiveSize compares the length that is told with what comes, on both sides
// of where ZIP takes up its 64-bit form.
func TestArchiveSize(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, limit32 - 20, limit32} {
		var n counter
		require.NoError(t, archive(&n, "a name.img", size, func(w io.Writer) error {
			p := make([]byte, 8<<20)
			for left := size; left > 0; left -= int64(len(p)) {
				p = p[:min(int64(len(p)), left)]
				if _, err := w.Write(p); err != nil {
					return err
				}
			}
			return nil
		}))
		require.EqualValues(t, n, archiveSize("a name.img", size), size)
	}
}
