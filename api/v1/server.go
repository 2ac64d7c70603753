package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"goldstream/access"
)

// Limits of the server. A stream that is imported has no time limit of its
// own: a pipe may pause as long as its writer likes.
const (
	maxHeader      = 64 << 10         // bytes of a request's header
	maxJSON        = 1 << 20          // bytes of a JSON body
	maxDrain       = 64 << 20         // bytes read of the body of a request that is refused
	headerTimeout  = 10 * time.Second // to send the header
	jsonTimeout    = 30 * time.Second // to send a JSON body
	idleTimeout    = 2 * time.Minute  // between requests
	writeTimeout   = time.Minute      // to take one piece of an answer
	discardTimeout = 5 * time.Second  // to notice an early error while sending
)

type server struct {
	backend  Backend
	log      *slog.Logger
	version  Version
	requests *Requests // nil: nothing is counted
}

// counting is a Backend that has its requests counted.
type counting interface{ Requests() *Requests }

// NewServer returns an HTTP server of the API for a Unix listener, whose peers may
// do everything. Its Shutdown waits for running work; Close cuts it off.
func NewServer(b Backend, version string, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           NewHandler(b, localGate{}, version, log),
		ConnContext:       withPeer,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// NewHandler returns the API's handlers without a server around them: gate says
// who makes a request, and rights.go what it may do then. Imports by path need
// the peer that NewServer's connections carry.
func NewHandler(b Backend, gate Gate, version string, log *slog.Logger) http.Handler {
	s := &server{backend: b, log: log, version: Version{Version: version, Go: runtime.Version()}}
	if c, ok := b.(counting); ok {
		s.requests = c.Requests()
	}
	return s.routes(gate)
}

func (s *server) routes(gate Gate) *router {
	mux := newRouter(s, gate)
	s.routeImages(mux)
	s.routeVolumes(mux)
	s.routeSnapshots(mux)
	s.routeRetired(mux)
	s.routeTokens(mux)
	s.routeBoot(mux)
	s.routeLoss(mux)
	s.routeStore(mux)
	s.routeTasks(mux)
	s.routePlans(mux)
	s.routeBundles(mux)
	s.routeCaptures(mux)
	s.routeResources(mux)
	s.routeProfiles(mux)
	s.routeTemplates(mux)
	s.routeAudit(mux)
	s.routeMounts(mux)
	s.routeScrub(mux)
	s.routeAccounts(mux)
	s.routeHealth(mux)
	s.routeOpenAPI(mux)
	mux.HandleFunc("GET /v1/version", s.answer(func(http.ResponseWriter, *http.Request) (any, error) { return s.version, nil }))
	mux.HandleFunc("GET /v1/status", s.answer(s.status))
	mux.HandleFunc("GET /v1/connections", s.answer(s.connections))
	mux.HandleFunc("GET /v1/usage", s.answer(s.usage))
	mux.HandleFunc("GET /v1/stats", s.answer(s.stats))
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("/", s.answerAny(noRoute))
	return mux
}

func (s *server) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	st, err := s.backend.Status(r.Context())
	st.Version = s.version.Version
	return st, err
}

func (s *server) usage(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.Usage(r.Context())
}

func noRoute(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, &Error{Code: CodeNotFound, Message: fmt.Sprintf("there is no %s %s in this API", r.Method, r.URL.Path)}
}

// answer makes a handler of a function whose result is one JSON document, or
// nothing where it is nil. The request may have no query parameters but those
// named.
func (s *server) answer(f func(http.ResponseWriter, *http.Request) (any, error), query ...string) http.HandlerFunc {
	return s.answerAny(func(w http.ResponseWriter, r *http.Request) (any, error) {
		if err := onlyQuery(r, query...); err != nil {
			return nil, err
		}
		return f(w, r)
	})
}

func (s *server) answerAny(f func(http.ResponseWriter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		v, err := f(w, r)
		s.record(r, start, err)
		if err != nil { // before the answer: with its header the server gives up a long body
			drain(http.NewResponseController(w), r)
		}
		s.deadline(w)
		switch {
		case err != nil:
			writeError(w, err)
		case v == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, v)
		}
	}
}

// answerOnce answers with an error and nothing else.
func (s *server) answerOnce(w http.ResponseWriter, r *http.Request, err error) {
	s.record(r, time.Now(), err)
	s.deadline(w)
	writeError(w, err)
}

// deadline gives the client time to take the next piece of an answer. Transports
// without deadlines (tests) go without.
func (s *server) deadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// record logs a request: what changes things or fails as information, the rest
// for debugging.
func (s *server) record(r *http.Request, start time.Time, err error) {
	status := http.StatusOK
	if err != nil {
		status = ErrorOf(err).Status()
	}
	s.requests.count(r.Pattern, status, time.Since(start))
	level := slog.LevelDebug
	if r.Method != http.MethodGet {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Duration("took", time.Since(start).Round(time.Microsecond)),
	}
	if who, ok := access.From(r.Context()); ok {
		attrs = append(attrs, slog.String("who", who.Name))
	}
	if id := r.Header.Get(HeaderRequestID); id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	if err != nil {
		e := ErrorOf(err)
		attrs = append(attrs, slog.String("code", string(e.Code)), slog.String("error", err.Error()))
		if e.Status() == http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// writeJSON tells the length, so that the client has the whole answer even while
// the handler still reads the request.
func writeJSON(w http.ResponseWriter, status int, v any) {
	p, err := json.Marshal(v)
	if err != nil {
		status, p = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be written"}}`)
	}
	w.Header().Set("Content-Type", TypeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(p)))
	w.WriteHeader(status)
	_, _ = w.Write(p) // the client is gone: nobody to tell
}

func writeError(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	switch e.Code {
	case CodeUnauthenticated:
		w.Header().Set("WWW-Authenticate", `Bearer realm="goldstream"`)
	case CodeThrottled:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(err)))
	}
	writeJSON(w, e.Status(), errorBody{Error: e})
}

// retryAfter is how many seconds a client shall wait.
func retryAfter(err error) int {
	var t *access.ThrottleError
	if !errors.As(err, &t) {
		return 1
	}
	return max(1, int(t.Wait.Seconds())+1)
}

// readJSON decodes the body into v, strictly.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != TypeJSON {
		return invalid(fmt.Sprintf("the body's Content-Type is %q; send %s", t, TypeJSON))
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(jsonTimeout))
	// The deadline must not stand after the body: the server reads on, to
	// notice that the client went away.
	defer rc.SetReadDeadline(time.Time{})
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return invalid("the body is no valid request: " + err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body holds more than one JSON document")
	}
	return nil
}

// orEmpty returns a list that is [] in JSON where there is nothing in it.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// onlyQuery refuses query parameters other than those named.
func onlyQuery(r *http.Request, names ...string) error {
	for k := range r.URL.Query() {
		if !slices.Contains(names, k) {
			return invalid(fmt.Sprintf("unknown query parameter %q", k))
		}
	}
	return nil
}
