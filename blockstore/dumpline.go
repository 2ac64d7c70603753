package blockstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// A line of a dump is a record of the metadata as JSON that a person can read.
//
//	{"type":"volume","name":"web-1","value":{…}}         names; value as it is stored
//	{"type":"version","lineage":"…16 hex","version":0,"value":{…}}
//	{"type":"map","lineage":"…","region":3,"version":1,"map":{"full":false,"layers":["…16 hex-8 hex"],"runs":[[0,5,1]]}}
//	{"type":"raw","key":"…hex","hex":"…hex"}             what fits none of these
//
// The runs of a map are those of record.go: blocks since the run before, blocks,
// source. A record is written in a readable way only if the same bytes come back
// from it; so whatever is in the metadata is kept exactly.
type dumpLine struct {
	Type    string          `json:"type"`
	Key     string          `json:"key,omitempty"`
	Volume  string          `json:"volume,omitempty"` // its ID
	Name    string          `json:"name,omitempty"`
	Lineage string          `json:"lineage,omitempty"`
	Version *uint32         `json:"version,omitempty"`
	Region  *uint32         `json:"region,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	Map     *dumpMap        `json:"map,omitempty"`
	Number  *uint64         `json:"number,omitempty"`
	Hex     string          `json:"hex,omitempty"`
}

// dumpMap is a map record.
type dumpMap struct {
	Full   bool        `json:"full"`
	Layers []string    `json:"layers"`
	Runs   [][3]uint64 `json:"runs"`
}

const dumpRaw = "raw"

// dumpKind says how the keys and values below a prefix are written. The letters
// of a key: V id of a volume, n name to the end, l lineage, v version, i version
// inverted, r region. Those of a value: j JSON, m map, n number, h other bytes.
type dumpKind struct {
	prefix     byte
	name       string
	key, value string
}

var dumpKinds = []dumpKind{
	{prefixImage, "image", "n", "j"},
	{prefixVolume, "volume", "n", "j"},
	{prefixSnapshot, "snapshot", "Vn", "j"},
	{prefixRetired, "retired", "V", "j"},
	{prefixLineage, "lineage", "l", "j"},
	{prefixVersion, "version", "lv", "j"},
	{prefixMap, "map", "lri", "m"},
	{prefixTouched, "touched", "lvr", "h"},
	{prefixHash, "hash", "lvr", "h"},
	{prefixFlushed, "flushed", "l", "n"},
	{prefixOpen, "open", "l", "j"},
	{prefixFailed, "failed", "l", "j"},
	{prefixFailed, "unsynced", "lr", "h"},
	{prefixRequest, "request", "n", "j"},
}

// encodeDumpLine writes a record as one line.
func encodeDumpLine(key, value []byte) []byte {
	for _, k := range dumpKinds {
		l := dumpLine{Type: k.name}
		if len(key) == 0 || key[0] != k.prefix || !l.setKey(k.key, key[1:]) || !l.setValue(k.value, value) {
			continue
		}
		line := l.encode()
		if gotKey, got, ok := decodeDumpLine(line); ok && bytes.Equal(gotKey, key) && bytes.Equal(got, value) {
			return line
		}
	}
	return dumpLine{Type: dumpRaw, Key: hex.EncodeToString(key), Hex: hex.EncodeToString(value)}.encode()
}

// encode returns a line with its end, or nothing if that cannot be.
func (l dumpLine) encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // which would change stored values
	if e.Encode(l) != nil {
		return nil // a value that is no JSON; it is written raw
	}
	return b.Bytes()
}

// decodeDumpLine is the inverse of encodeDumpLine.
func decodeDumpLine(line []byte) (key, value []byte, ok bool) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var l dumpLine
	if d.Decode(&l) != nil {
		return nil, nil, false
	}
	if l.Type == dumpRaw {
		key, err := hex.DecodeString(l.Key)
		value, err2 := hex.DecodeString(l.Hex)
		return key, value, err == nil && err2 == nil && len(key) > 0
	}
	for _, k := range dumpKinds {
		if k.name != l.Type {
			continue
		}
		if key, ok = l.appendKey([]byte{k.prefix}, k.key); !ok {
			return nil, nil, false
		}
		value, ok = l.bytes(k.value)
		return key, value, ok
	}
	return nil, nil, false
}

func (l *dumpLine) setKey(form string, key []byte) bool {
	for _, f := range form {
		n := map[rune]int{'V': 32, 'n': len(key), 'l': 8}[f]
		if n == 0 {
			n = 4
		}
		if len(key) < n {
			return false
		}
		part := key[:n]
		key = key[n:]
		switch f {
		case 'V':
			l.Volume = string(part)
		case 'n':
			l.Name = string(part)
		case 'l':
			l.Lineage = hex.EncodeToString(part)
		case 'v':
			l.Version = new(binary.BigEndian.Uint32(part))
		case 'i':
			l.Version = new(^binary.BigEndian.Uint32(part))
		case 'r':
			l.Region = new(binary.BigEndian.Uint32(part))
		}
	}
	return len(key) == 0
}

func (l *dumpLine) appendKey(key []byte, form string) ([]byte, bool) {
	for _, f := range form {
		number := l.Version
		if f == 'r' {
			number = l.Region
		}
		switch f {
		case 'V':
			key = append(key, l.Volume...)
			continue
		case 'n':
			key = append(key, l.Name...)
			continue
		case 'l':
			lineage, err := hex.DecodeString(l.Lineage)
			if err != nil || len(lineage) != 8 {
				return nil, false
			}
			key = append(key, lineage...)
			continue
		}
		if number == nil {
			return nil, false
		}
		v := *number
		if f == 'i' {
			v = ^v
		}
		key = binary.BigEndian.AppendUint32(key, v)
	}
	return key, true
}

func (l *dumpLine) setValue(form string, value []byte) bool {
	switch form {
	case "j":
		l.Value = value
		return len(value) > 0
	case "m":
		l.Map = readDumpMap(value)
		return l.Map != nil
	case "n":
		if len(value) != 8 {
			return false
		}
		l.Number = new(binary.LittleEndian.Uint64(value))
		return true
	}
	l.Hex = hex.EncodeToString(value)
	return true
}

func (l *dumpLine) bytes(form string) ([]byte, bool) {
	switch form {
	case "j":
		return l.Value, len(l.Value) > 0
	case "m":
		if l.Map == nil {
			return nil, false
		}
		return l.Map.bytes()
	case "n":
		if l.Number == nil {
			return nil, false
		}
		return binary.LittleEndian.AppendUint64(nil, *l.Number), true
	}
	b, err := hex.DecodeString(l.Hex)
	return b, err == nil
}

// readDumpMap takes a map record apart, or returns nil if it is none.
func readDumpMap(rec []byte) *dumpMap {
	d := decoder{b: rec}
	head := d.byte()
	m := &dumpMap{Full: head&0x0f == recordFull, Layers: []string{}, Runs: [][3]uint64{}}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		m.Layers = append(m.Layers, layerDir(layerID{d.uint64(), uint32(d.uvarint())}))
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		m.Runs = append(m.Runs, [3]uint64{d.uvarint(), d.uvarint(), d.uvarint()})
	}
	if d.bad || len(d.b) > 0 {
		return nil
	}
	return m
}

// bytes puts a map record together again.
func (m *dumpMap) bytes() ([]byte, bool) {
	head := byte(recordFormat | recordDelta)
	if m.Full {
		head = recordFormat | recordFull
	}
	b := binary.AppendUvarint([]byte{head}, uint64(len(m.Layers)))
	for _, name := range m.Layers {
		lineage, version, _ := strings.Cut(name, "-")
		id, err := hex.DecodeString(lineage + version)
		if err != nil || len(id) != 12 {
			return nil, false
		}
		b = binary.LittleEndian.AppendUint64(b, binary.BigEndian.Uint64(id))
		b = binary.AppendUvarint(b, uint64(binary.BigEndian.Uint32(id[8:])))
	}
	b = binary.AppendUvarint(b, uint64(len(m.Runs)))
	for _, run := range m.Runs {
		for _, n := range run {
			b = binary.AppendUvarint(b, n)
		}
	}
	return b, true
}
