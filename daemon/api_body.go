package daemon

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// netRest is how long a client may take for the rest of a body that its request was
// answered without.
const netRest = 5 * time.Second

// maxRest is how much of it is read; net/http itself reads as much.
const maxRest = 256 << 10 // bytes

// restBounded gives h's clients a time for what h does not read of their bodies.
// net/http reads that to its end, with the deadline that stands: without one it would
// wait for ever, whoever sends it. What h does read has the deadlines that h sets.
func restBounded(h http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Time{}) // the server's own is for what it refuses itself
		if r.Body == nil || r.Body == http.NoBody {
			h.ServeHTTP(w, r)
			return
		}
		b := &restBody{ReadCloser: r.Body}
		a := &restWriter{ResponseWriter: w, rc: rc, body: b, limit: limit}
		if r.Header.Get("Expect") != "" { // reading would ask the client to send
			a.unasked = true
		}
		// The server looks at the type of its own request's body.
		copied := *r
		copied.Body = b
		defer a.finish()
		h.ServeHTTP(a, &copied)
	})
}

// restBody knows whether it was read to its end.
type restBody struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *restBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// restWriter settles what is left of the body before the header of the answer, where
// net/http would read it.
type restWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	body    *restBody
	limit   time.Duration
	unasked bool // the client waits for a word before it sends the body
	settled bool
	own     bool // the handler has the connection, or reads while it writes
	taken   bool // the connection is not the server's any more
}

func (w *restWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *restWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.settle()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *restWriter) Write(p []byte) (int, error) {
	w.settle()
	return w.ResponseWriter.Write(p)
}

func (w *restWriter) FlushError() error {
	w.settle()
	return w.rc.Flush()
}

// EnableFullDuplex has the server leave the body to the handler.
func (w *restWriter) EnableFullDuplex() error {
	err := w.rc.EnableFullDuplex()
	w.own = w.own || err == nil
	return err
}

func (w *restWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := w.rc.Hijack()
	w.taken = w.taken || err == nil
	return c, rw, err
}

// settle reads the rest of the body for a while. A client that does not send it loses
// its connection after the answer.
func (w *restWriter) settle() {
	if w.settled || w.own || w.taken {
		return
	}
	w.settled = true
	if w.body.ended.Load() {
		return
	}
	w.bound()
	if w.unasked || w.Header().Get("Connection") == "close" {
		return // the answer goes first
	}
	if _, err := io.CopyN(io.Discard, w.body, maxRest+1); err == io.EOF {
		_ = w.rc.SetReadDeadline(time.Time{}) // the server reads on, to notice that the client went away
		return
	}
	w.Header().Set("Connection", "close")
}

// finish bounds what the server reads after the handler; it sets another deadline for
// the next request.
func (w *restWriter) finish() {
	if !w.taken && !w.body.ended.Load() {
		w.bound()
	}
}

func (w *restWriter) bound() { _ = w.rc.SetReadDeadline(time.Now().Add(w.limit)) }
