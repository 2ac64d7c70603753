package blockstore

import (
	"encoding/binary"
	"slices"
)

// simMapping is a shared mapping: a store to it is a write that nobody sees.
type simMapping struct {
	d  *simDisk
	in *simInode
	b  []byte
}

func (m *simMapping) Bytes() []byte { return m.b }

func (m *simMapping) Sync() error {
	return m.d.do(simSync, "/mapping", m.in, 1, func(int) {
		m.absorb()
		m.in.sync()
	})
}

func (m *simMapping) Close() error {
	return m.d.do(simOpen, "/mapping", nil, 1, func(int) {
		m.absorb()
		m.in.maps = slices.DeleteFunc(m.in.maps, func(o *simMapping) bool { return o == m })
	})
}

// absorb takes over what was stored into the mapping. Stores may be under way,
// as they may be when a process is killed.
func (m *simMapping) absorb() {
	for at := 0; at < len(m.b); at += simPageSize {
		old := m.in.page(int64(at / simPageSize))
		if old == nil {
			old = &simZero
		}
		now := m.b[at:min(at+simPageSize, len(m.b))]
		if differsUnordered(old[:len(now)], now) {
			page := make([]byte, len(now))
			copyUnordered(page, now)
			m.in.writePart(page, int64(at), 0)
		}
	}
}

// differsUnordered compares with memory that others may be changing.
//
//go:norace
func differsUnordered(a, b []byte) bool {
	for len(a) >= 8 && binary.NativeEndian.Uint64(a) == binary.NativeEndian.Uint64(b) {
		a, b = a[8:], b[8:]
	}
	for i := range a {
		if a[i] != b[i] {
			return true
		}
	}
	return false
}

// copyUnordered copies memory that others may be changing.
//
//go:norace
func copyUnordered(to, from []byte) {
	//lint:ignore S1001 the race detector looks into copy even here
	for i := range from {
		to[i] = from[i]
	}
}
