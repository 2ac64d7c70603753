package v1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"goldstream/access"
)

const uploadBuffer = 256 << 10

// upload is a request's body on its way to whoever imports it. The importer may
// stop reading at any time, and a Read of it always ends when it is closed,
// which the body itself does not offer while its client is silent.
type upload struct {
	r    *io.PipeReader
	body io.Reader
	last func(time.Duration) // bounds what is still to be read
	stop func() bool
	done chan struct{} // closed when nothing reads the body any more
}

// stallTimeout is how long a client of the network may send nothing of a body that
// has no time limit of its own. On the socket a pipe may pause as long as it likes.
const stallTimeout = 2 * time.Minute

func newUpload(rc *http.ResponseController, r *http.Request) *upload {
	u := &upload{body: r.Body, last: func(d time.Duration) { _ = rc.SetReadDeadline(time.Now().Add(d)) }}
	if p, ok := unstalled(rc, r, stallTimeout).(*patientReader); ok {
		u.body, u.last = p, p.last
	}
	u.r, u.stop, u.done = pump(r.Context(), u.body)
	return u
}

// unstalled is the body of a request, whose reads fail once a client of the network
// is silent for so long.
func unstalled(rc *http.ResponseController, r *http.Request, patience time.Duration) io.Reader {
	if who, _ := access.From(r.Context()); who.Local {
		return r.Body
	}
	return &patientReader{Reader: r.Body, rc: rc, patience: patience}
}

type patientReader struct {
	io.Reader
	rc       *http.ResponseController
	patience time.Duration

	mu  sync.Mutex
	end time.Time // of all reads; zero: none
}

// wait gives the client time to send the next piece.
func (p *patientReader) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.end
	if end.IsZero() {
		end = time.Now().Add(p.patience)
	}
	_ = p.rc.SetReadDeadline(end)
}

// last bounds the read under way and all that follow.
func (p *patientReader) last(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = time.Now().Add(d)
	_ = p.rc.SetReadDeadline(p.end)
}

func (p *patientReader) Read(b []byte) (int, error) {
	p.wait()
	n, err := p.Reader.Read(b)
	if err == io.EOF { // the server reads on, to notice that the client went away
		_ = p.rc.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{Code: CodeCancelled, Message: fmt.Sprintf("nothing came for %s: the upload is given up", p.patience), Advice: "Send it again."}
	}
	return n, err
}

// pump passes r on to a pipe whose reader does not wait for r once ctx ends or
// it is closed; stop ends the watch over ctx. A Read of r that is under way then
// is left to itself; done is closed when it has returned.
func pump(ctx context.Context, r io.Reader) (pr *io.PipeReader, stop func() bool, done chan struct{}) {
	pr, pw := io.Pipe()
	done = make(chan struct{})
	stop = context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()) })
	go func() {
		defer close(done)
		// Without r's WriteTo, which would ask for buffers of its own size.
		_, err := io.CopyBuffer(pw, struct{ io.Reader }{r}, make([]byte, uploadBuffer))
		pw.CloseWithError(err) // nil is io.EOF
	}()
	return pr, stop, done
}

// close ends reads by the importer.
func (u *upload) close() {
	u.stop()
	u.r.Close()
}

// discard reads what is left of the body for a while. A client that is still
// sending finds the error in the answer, where closing the connection under it
// would let it see a broken pipe only.
func (u *upload) discard() {
	u.last(discardTimeout)
	<-u.done
	_, _ = io.Copy(io.Discard, u.body)
}

// drain reads what a refused request still sends, up to a bound, so that a
// client that is sending finds the error and not a broken connection. One that
// asked first (Expect: 100-continue) sends nothing once it has the error.
func drain(rc *http.ResponseController, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || r.Header.Get("Expect") != "" {
		return
	}
	_ = rc.SetReadDeadline(time.Now().Add(discardTimeout))
	defer rc.SetReadDeadline(time.Time{})
	_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
}
