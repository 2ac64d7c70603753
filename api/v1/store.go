package v1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"goldstream/blockstore"
)

// StoreBackend is the part of a Backend that keeps the store's metadata safe.
type StoreBackend interface {
	Checkpoint(ctx context.Context) (blockstore.CheckpointInfo, error)
	Checkpoints(ctx context.Context) ([]blockstore.CheckpointInfo, error)
	// Check sees whether the records and files of the store agree.
	Check(ctx context.Context, progress func(blockstore.Progress)) (blockstore.CheckReport, error)
	// Stats says what the store did and holds.
	Stats(ctx context.Context) (blockstore.Stats, error)
	// Dump writes the metadata, as it is at one instant, as lines of JSON.
	Dump(ctx context.Context, w io.Writer) (blockstore.DumpInfo, error)
}

// CheckpointList answers GET /v1/store/checkpoints, oldest first.
type CheckpointList struct {
	Checkpoints []blockstore.CheckpointInfo `json:"checkpoints"`
}

func (s *server) routeStore(mux *router) {
	mux.HandleFunc("GET /v1/store/checkpoints", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		list, err := s.backend.Checkpoints(r.Context())
		return CheckpointList{Checkpoints: orEmpty(list)}, err
	}))
	mux.HandleFunc("POST /v1/store/checkpoints", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return s.backend.Checkpoint(r.Context())
	}))
	mux.HandleFunc("POST /v1/store/check", s.stream(s.checkStore))
	mux.HandleFunc("GET /v1/store/dump", s.dumpStore)
}

func (s *server) checkStore(e *events, r *http.Request) (any, error) {
	report, err := s.backend.Check(r.Context(), e.progress)
	report.Findings = orEmpty(report.Findings)
	return report, err
}

// dumpTime is how long a dump may take in all. It keeps files of the metadata on
// the disk that are replaced meanwhile, and others from dumping: a client that
// takes a piece now and then must not do that for good.
const dumpTime = time.Hour

var errDumpTime = fmt.Errorf("%w: the dump took longer than %v; have it written to a faster place", context.Canceled, dumpTime)

// dumpStore breaks off where the dump cannot be completed: one without its last
// line is none.
func (s *server) dumpStore(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, done := context.WithTimeoutCause(r.Context(), dumpTime, errDumpTime)
	defer done()
	sent := &sentWriter{w: &slowWriter{w: w, rc: http.NewResponseController(w)}}
	err := onlyQuery(r)
	if err == nil {
		buffered := bufio.NewWriterSize(sent, dumpPiece)
		w.Header().Set("Content-Type", TypeNDJSON)
		if _, err = s.backend.Dump(ctx, buffered); err == nil {
			err = buffered.Flush()
		}
	}
	s.record(r, start, err)
	switch {
	case err == nil:
	case sent.any:
		panic(http.ErrAbortHandler)
	default:
		s.deadline(w)
		writeError(w, err)
	}
}

const dumpPiece = 256 << 10 // bytes written at once

// sentWriter remembers that something was written.
type sentWriter struct {
	w   io.Writer
	any bool
}

func (s *sentWriter) Write(p []byte) (int, error) {
	s.any = true
	return s.w.Write(p)
}

// Checkpoint keeps a copy of the metadata as it is now.
func (c *Client) Checkpoint(ctx context.Context) (info blockstore.CheckpointInfo, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/store/checkpoints", nil, &info)
	return info, err
}

// Checkpoints lists the copies of the metadata that are kept, oldest first.
func (c *Client) Checkpoints(ctx context.Context) ([]blockstore.CheckpointInfo, error) {
	var l CheckpointList
	err := c.call(ctx, http.MethodGet, "/v1/store/checkpoints", nil, &l)
	return l.Checkpoints, err
}

// CheckStore checks a store in service. Damage is in the report, not an error.
func (c *Client) CheckStore(ctx context.Context, progress ProgressFunc) (r blockstore.CheckReport, err error) {
	err = c.work(ctx, "/v1/store/check", nil, &r, progress, nil)
	return r, err
}

// Dump writes the metadata of a store in service to w, and looks whether it has
// come over whole.
func (c *Client) Dump(ctx context.Context, w io.Writer) (blockstore.DumpInfo, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/store/dump", "", nil, -1, nil)
	if err != nil {
		return blockstore.DumpInfo{}, err
	}
	defer resp.Body.Close()
	info, err := blockstore.VerifyDump(ctx, io.TeeReader(resp.Body, w))
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, blockstore.ErrCorrupt) {
		err = brokeOff(ctx, err)
	}
	return info, err
}
