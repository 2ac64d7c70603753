package proxydhcp

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// told is the line of dnsmasq for a server that it answered: "PXE(br0) 52:54:00:12:34:56 proxy".
var told = regexp.MustCompile(`PXE\([^)]*\) (?:\S+ )?((?:[0-9a-f]{2}:){5}[0-9a-f]{2}) `)

// listen hands on what dnsmasq says, until it says no more. ready is closed by the line
// that it writes when it has its ports.
func (r *run) listen(out io.Reader, s *server, ready chan<- struct{}) {
	lines := bufio.NewScanner(out) // ends at a line of more than 64 KiB, which dnsmasq has none of
	started := false
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		r.mu.Lock()
		r.said = text
		r.mu.Unlock()
		s.log.Debug(text)
		if m := told.FindStringSubmatch(text); m != nil && s.asked != nil {
			s.asked(m[1])
		}
		if !started && strings.Contains(text, "started, version") {
			started = true
			close(ready)
		}
	}
	_, _ = io.Copy(io.Discard, out) // a full pipe would stop it
}
