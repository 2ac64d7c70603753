package netboot

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Identity is what a server says of itself. Empty fields are not known; the texts
// are in one form: "52:54:00:12:34:56", lower-case UUIDs, serials of plain text.
type Identity struct {
	MAC    string `json:"mac,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
}

// ErrIdentity is an identity that cannot be.
var ErrIdentity = errors.New("no identity of a server")

const mostSerial = 64

// ParseIdentity checks the three texts and brings them into their one form.
func ParseIdentity(mac, uuid, serial string) (id Identity, err error) {
	if id.MAC, err = parseMAC(mac); err != nil {
		return Identity{}, err
	}
	if id.UUID, err = parseUUID(uuid); err != nil {
		return Identity{}, err
	}
	if id.Serial, err = parseSerial(serial); err != nil {
		return Identity{}, err
	}
	if id == (Identity{}) {
		return id, fmt.Errorf("%w: neither MAC address nor UUID nor serial number", ErrIdentity)
	}
	return id, nil
}

func parseMAC(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%w: %.40q is no MAC address: write 52:54:00:12:34:56", ErrIdentity, s)
	}
	if mac[0]&1 != 0 || strings.Trim(mac.String(), "0:") == "" {
		return "", fmt.Errorf("%w: %s is the address of no single NIC", ErrIdentity, mac)
	}
	return mac.String(), nil
}

// parseUUID leaves out those that boards have which were never given one: they are
// the same on many.
func parseUUID(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	digits := strings.ReplaceAll(strings.ToLower(s), "-", "")
	if len(s) != 36 || len(digits) != 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %.40q is no UUID: write 01234567-89ab-cdef-0123-456789abcdef", ErrIdentity, s)
	}
	if strings.Trim(digits, digits[:1]) == "" || digits == "03000200040005000006000700080009" {
		return "", nil
	}
	return strings.ToLower(s), nil
}

// placeholders are what boards without a serial number have for one.
var placeholders = []string{"default string", "to be filled by o.e.m.", "system serial number", "not specified", "none", "0", "0123456789"}

func parseSerial(s string) (string, error) {
	s = strings.TrimSpace(s)
	for _, p := range placeholders {
		if strings.EqualFold(s, p) {
			return "", nil
		}
	}
	if len(s) > mostSerial || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("${}\\", r) }) {
		return "", fmt.Errorf("%w: the serial number is no plain text of up to %d characters", ErrIdentity, mostSerial)
	}
	return s, nil
}

// claimed reads the identity of a request. A UUID or serial that is none is left out
// where the MAC address is there: firmware has odd ones.
func claimed(q url.Values) (Identity, error) {
	id, err := ParseIdentity(q.Get("mac"), "", "")
	if err != nil {
		return ParseIdentity(q.Get("mac"), q.Get("uuid"), q.Get("serial"))
	}
	id.UUID, _ = parseUUID(q.Get("uuid"))
	id.Serial, _ = parseSerial(q.Get("serial"))
	return id, nil
}

// String is the identity for people.
func (id Identity) String() string {
	var parts []string
	if id.MAC != "" {
		parts = append(parts, "MAC "+id.MAC)
	}
	if id.UUID != "" {
		parts = append(parts, "UUID "+id.UUID)
	}
	if id.Serial != "" {
		parts = append(parts, "serial "+id.Serial)
	}
	return strings.Join(parts, ", ")
}
