package blockstore

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestOpenTellsTheHostFromDamage: what the host refuses is no damage.
func TestOpenTellsTheHostFromDamage(t *testing.T) {
	for errno, cause := range map[unix.Errno]error{
		unix.EACCES: fs.ErrPermission, unix.EPERM: fs.ErrPermission,
		unix.ENOSPC: ErrNoSpace, unix.EDQUOT: ErrNoSpace, unix.EMFILE: unix.EMFILE,
	} {
		err := explainOpen("/d", fmt.Errorf("pebble: %w", &os.PathError{Op: "open", Path: "/d/x", Err: errno}))
		require.ErrorIs(t, err, cause)
		require.NotErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "nothing is damaged")
	}
	require.ErrorIs(t, explainOpen("/d", &os.PathError{Err: unix.EIO}), ErrCorrupt)
	require.ErrorIs(t, explainOpen("/d", io.ErrUnexpectedEOF), ErrCorrupt)
}

// TestVerifyTellsTheHostFromDamage: a region that could not be looked at is not
// reported as damaged.
func TestVerifyTellsTheHostFromDamage(t *testing.T) {
	for err, damage := range map[error]bool{
		unix.EIO: true, io.EOF: true, io.ErrUnexpectedEOF: true, unix.ENOENT: true, unix.EUCLEAN: true,
		unix.EMFILE: false, unix.ENOMEM: false, unix.EACCES: false, unix.EINTR: false, unix.EINVAL: false,
	} {
		require.Equal(t, damage, isDamage(fmt.Errorf("read: %w", err)), "%v", err)
	}
}
