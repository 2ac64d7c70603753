package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

func TestFailureIsShown(t *testing.T) {
	var b strings.Builder
	printFailure(&b, nil)
	require.Empty(t, b.String())
	f := &blockstore.FailureInfo{Cause: "fdatasync: input/output error", Since: time.Now(), Bytes: 22 * 4096, More: 3}
	for i := range int64(22) {
		f.Ranges = append(f.Ranges, blockstore.Range{Offset: i << 20, Length: 4096})
	}
	printFailure(&b, f)
	require.Contains(t, b.String(), "FAILED ")
	require.Contains(t, b.String(), "input/output error")
	require.Contains(t, b.String(), "4096 bytes at 19922944\n  and 5 ranges more")
	b.Reset()
	f.Accepted, f.Ranges, f.More = time.Now(), nil, 0
	printFailure(&b, f)
	require.Contains(t, b.String(), "loss accepted ")
	require.Contains(t, b.String(), "nothing is lost")
}
