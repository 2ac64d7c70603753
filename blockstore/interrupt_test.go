package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A signal is no failure of the disk: the call is made again until it ends in
// another way, and that way is reported.
func TestAnInterruptedCallIsMadeAgain(t *testing.T) {
	for _, end := range []error{nil, unix.ENOSPC} {
		answers := []error{unix.EINTR, unix.EINTR, end}
		calls := 0
		err := uninterrupted(func() error {
			calls++
			return answers[calls-1]
		})
		require.Equal(t, end, err)
		require.Equal(t, len(answers), calls)
	}
}
