package v1

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

// endlessDump is a daemon whose dumps come to no end.
type endlessDump struct {
	Backend
	begins string
}

func (d endlessDump) Dump(ctx context.Context, w io.Writer) (blockstore.DumpInfo, error) {
	_, _ = io.WriteString(w, d.begins)
	<-ctx.Done()
	return blockstore.DumpInfo{}, context.Cause(ctx)
}

// TestADumpHasItsTime, after which it is broken off, or refused where nothing
// was sent yet.
func TestADumpHasItsTime(t *testing.T) {
	dump := func(begins string) *httptest.ResponseRecorder {
		s := &server{backend: endlessDump{begins: begins}, log: slog.New(slog.DiscardHandler)}
		w := httptest.NewRecorder()
		s.dumpStore(w, httptest.NewRequest(http.MethodGet, "/v1/store/dump", nil))
		return w
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		w := dump("")
		require.Equal(t, dumpTime, time.Since(start))
		require.Equal(t, 499, w.Code)
		require.Contains(t, w.Body.String(), "longer than 1h0m0s")
		long := string(make([]byte, 2*dumpPiece))
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { dump(long) })
	})
}
