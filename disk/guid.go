package disk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a GUID as it stands on disk: the first three groups of its text are
// little-endian numbers (UEFI appendix A).
type GUID [16]byte

// ParseGUID reads the form C12A7328-F81F-11D2-BA4B-00A0C93EC93B, in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) {
		return g, fmt.Errorf("%q is no GUID: 32 hexadecimal digits in groups of 8-4-4-4-12 are", s)
	}
	copy(g[:], b)
	g = g.swapped()
	if !strings.EqualFold(g.String(), s) {
		return GUID{}, fmt.Errorf("%q is no GUID: its groups are not 8-4-4-4-12 digits", s)
	}
	return g, nil
}

// String returns the usual form, in capitals.
func (g GUID) String() string {
	b := g.swapped()
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (g GUID) swapped() GUID {
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(g[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(g[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(g[6:]))
	return g
}
