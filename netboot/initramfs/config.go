package initramfs

import (
	"fmt"
	"strings"
)

// Where things are, without the "/" in front.
const (
	Dir        = "goldstream"
	Helper     = Dir + "/helper"
	ConfigFile = Dir + "/boot"
	TokenFile  = Dir + "/token"
)

// Config is the file ConfigFile: lines of NAME=VALUE.
type Config struct {
	Server string // "server": address of the NBD listener
	Device string // "device": /dev/nbd0
	NIC    string // "nic": MAC address of the NIC that it booted from; none: the first with a link
	Stages string // "stages": http://HOST:PORT/PATH/, told each stage by a POST
}

// Append appends the file's text.
func (c Config) Append(p []byte) []byte {
	return fmt.Appendf(p, "server=%s\ndevice=%s\nnic=%s\nstages=%s\n", c.Server, c.Device, c.NIC, c.Stages)
}

// ParseConfig reads it.
func ParseConfig(text string) (c Config, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case "server":
			c.Server = value
		case "device":
			c.Device = value
		case "nic":
			c.NIC = value
		case "stages":
			c.Stages = value
		default:
			return c, fmt.Errorf("%s: there is no %.40q", ConfigFile, name)
		}
	}
	if c.Server == "" || c.Device == "" {
		return c, fmt.Errorf("%s: server or device is missing", ConfigFile)
	}
	return c, nil
}
