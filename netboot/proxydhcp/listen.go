package proxydhcp

import (
	"bufio"
	"io"
	"log/slog"
	"strings"
)

// listen hands on what dnsmasq says, until it says no more. ready is closed by the line
// that it writes when it has its ports.
func (r *run) listen(out io.Reader, log *slog.Logger, ready chan<- struct{}) {
	lines := bufio.NewScanner(out) // ends at a line of more than 64 KiB, which dnsmasq has none of
	started := false
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		r.mu.Lock()
		r.said = text
		r.mu.Unlock()
		log.Debug(text)
		if !started && strings.Contains(text, "started, version") {
			started = true
			close(ready)
		}
	}
	_, _ = io.Copy(io.Discard, out) // a full pipe would stop it
}
