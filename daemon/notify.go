package daemon

import (
	"net"
	"os"
)

// notify tells systemd a state (sd_notify(3)) where it runs us; elsewhere it
// does nothing. systemd not listening is systemd's trouble, not ours.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
