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
	pr, pw := io.Pipe()
	u := &upload{r: pr, body: r.Body, done: make(chan struct{})}
	u.stop = context.AfterFunc(r.Context(), func() { pr.CloseWithError(r.Context().Err()) })
	go func() {
		defer close(u.done)
		_, err := io.CopyBuffer(pw, struct{ io.Reader }{r.Body}, make([]byte, uploadBuffer))
		pw.CloseWithError(err) // nil is io.EOF
	}()
	return u
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
