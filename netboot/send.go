package netboot

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// sendPiece is what a server has sendTimeout to take: firmware is slow, but a
	// server that was switched off must not hold a file for ever.
	sendPiece   = 1 << 20
	sendTimeout = time.Minute
)

func newPiece(p []byte) io.Reader { return bytes.NewReader(p) }

// send gives a file out. What breaks off is the server's to ask for again.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, stage string, content io.Reader, size int64) {
	one, _ := h.boots.get(r.PathValue("boot"))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	for left := size; left > 0; {
		_ = control.SetWriteDeadline(time.Now().Add(sendTimeout))
		n, err := io.CopyN(w, content, min(left, sendPiece))
		if left -= n; err != nil {
			h.o.Log.Warn("a boot file broke off", "volume", one.Volume, "from", one.From, "file", stage, "left", left, "error", err)
			panic(http.ErrAbortHandler) // the length was promised
		}
	}
	h.reached(r.PathValue("boot"), one, stage)
}
