package v1

import (
	"context"
	"io"
	"net/http"
	"time"
)

const uploadBuffer = 256 << 10

// upload is a request's body on its way to whoever imports it. The importer may
// stop reading at any time, and a Read of it always ends when it is closed,
// which the body itself does not offer while its client is silent.
type upload struct {
	r    *io.PipeReader
	body io.Reader
	stop func() bool
	done chan struct{} // closed when nothing reads the body any more
}

func newUpload(r *http.Request) *upload {
	u := &upload{body: r.Body}
	u.r, u.stop, u.done = pump(r.Context(), r.Body)
	return u
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
func (u *upload) discard(rc *http.ResponseController) {
	_ = rc.SetReadDeadline(time.Now().Add(discardTimeout))
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
