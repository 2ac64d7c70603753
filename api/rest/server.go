package rest

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// Versions of the API that clients may speak: those of OneView 3.0 to 8.0. They
// differ, here, in the names of types only.
const (
	oldest = 300
	newest = 4400
)

// Tree is a part of the API.
type Tree struct {
	Resources []*Resource
	Routes    []Route
}

// Options of a handler.
type Options struct {
	Backend Backend
	Gate    Gate
	Logger  *slog.Logger
}

// NewHandler serves trees, all under /rest/.
func NewHandler(o Options, trees ...Tree) http.Handler {
	mux := http.NewServeMux()
	add := func(r Route) { mux.HandleFunc(r.Pattern, o.serve(r.Do, true)) }
	for _, t := range append(trees, Tree{Routes: taskRoutes()}) {
		for _, res := range t.Resources {
			for _, r := range res.routes() {
				add(r)
			}
		}
		for _, r := range t.Routes {
			add(r)
		}
	}
	mux.HandleFunc("GET /rest/version", o.serve(version, false))
	mux.HandleFunc("POST /rest/login-sessions", o.serve(login, false))
	mux.HandleFunc("DELETE /rest/login-sessions", o.serve(logout, false))
	mux.HandleFunc("GET /rest/sessions/idle-timeout", o.serve(idle, false))
	mux.HandleFunc("POST /rest/sessions/idle-timeout", o.serve(setIdle, false))
	mux.HandleFunc("/", o.serve(func(c *Call) error { return Missing(c.Method + " " + c.URL.Path) }, false))
	return mux
}

// serve has a request served by whoever may send it, and what fails answered.
func (o Options) serve(do func(*Call) error, guarded bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &Call{Request: r, W: w, Backend: o.Backend, Gate: o.Gate, Version: newest, limit: openBody}
		err := c.admit(guarded)
		if err == nil {
			err = do(c)
		}
		o.record(c, start, err)
		if err == nil {
			return
		}
		c.drain()
		p := problem(err)
		_ = c.Answer(p.Status, p.object())
	}
}

func (c *Call) admit(guarded bool) (err error) {
	if s := c.Header.Get("X-Api-Version"); s != "" {
		if c.Version, err = strconv.Atoi(s); err != nil || c.Version < 1 {
			return Bad("X-API-Version %.32q is no version: use %d to %d", s, oldest, newest)
		}
	}
	if !guarded {
		return nil
	}
	ctx, who, err := c.Gate.Admit(c.Request, c.Header.Get("Auth"))
	if err == nil {
		c.Request, c.Who, c.limit = c.WithContext(ctx), who, maxBody
	}
	return err
}

// drain reads what a refused request still sends, up to a bound, so that its
// client finds the error and not a broken connection.
func (c *Call) drain() {
	if c.limit < maxBody { // nobody knows who sends it
		c.W.Header().Set("Connection", "close")
		return
	}
	if c.Request.Body == nil || c.Header.Get("Expect") != "" {
		return
	}
	_ = http.NewResponseController(c.W).SetReadDeadline(time.Now().Add(drainTimeout))
	defer http.NewResponseController(c.W).SetReadDeadline(time.Time{})
	_, _ = io.CopyN(io.Discard, c.Request.Body, maxDrain)
}

const (
	drainTimeout = 5 * time.Second
	maxDrain     = 64 << 20 // bytes
)

// record logs a request: what changes things or fails as information, the rest
// for debugging. Bodies and headers may hold secrets.
func (o Options) record(c *Call, start time.Time, err error) {
	level := slog.LevelDebug
	if c.Method != http.MethodGet {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.String("method", c.Method), slog.String("path", c.URL.Path), slog.String("who", c.Who),
		slog.Duration("took", time.Since(start).Round(time.Microsecond)),
	}
	if err != nil {
		p := problem(err)
		attrs = append(attrs, slog.String("code", p.Code), slog.String("error", p.Message))
		if p.Status == http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	o.Logger.LogAttrs(c.Context(), level, "request", attrs...)
}

func version(c *Call) error {
	return c.Answer(http.StatusOK, Object{"currentVersion": newest, "minimumVersion": oldest})
}
