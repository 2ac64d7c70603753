package daemon

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

// TestSlots: one too many waits, says so, and may be cancelled.
func TestSlots(t *testing.T) {
	s := make(slots, 1)
	leave, err := s.enter(t.Context(), nil)
	require.NoError(t, err)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = s.enter(ctx, func(p blockstore.Progress) {
		require.Equal(t, "wait", p.Stage)
		cancel(why)
	})
	require.ErrorIs(t, err, why)
	second, err := s.enter(t.Context(), func(blockstore.Progress) { leave() })
	require.NoError(t, err)
	second()
	require.Empty(t, s)
}

// TestImportsTakeTurns runs an import and a conversion in full houses.
func TestImportsTakeTurns(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "data"), Options{Imports: 1, Conversions: 1})
	require.NoError(t, err)
	b := &backend{Store: d.store, d: d}
	leave, err := d.imports.enter(t.Context(), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	req := blockstore.ImportRequest{Name: "x", Progress: func(blockstore.Progress) { cancel() }}
	_, err = b.ImportStream(ctx, bytes.NewReader(make([]byte, 512)), 512, req)
	require.ErrorIs(t, err, context.Canceled)
	leave()
	req.Progress = nil
	_, err = b.ImportStream(t.Context(), bytes.NewReader(make([]byte, 512)), 512, req)
	require.NoError(t, err)
	require.Empty(t, d.imports)
	require.NoError(t, d.Close())
}
