package nbd

import "strings"

// Meta contexts: the maps of a disk that BLOCK_STATUS reports, and the options
// by which a client finds and chooses them.
//
//	base:allocation        HOLE and ZERO of runs that read as zero, 0 of data
//	qemu:allocation-depth  0 where nothing is held, 1 what the disk itself
//	                       holds, 2 what it has from below (the golden image)
//
// proto: "base:allocation" metadata context; qemu's docs/interop/nbd.txt.
//
// base:allocation promises that a write where HOLE is clear does not run out of
// space, except for reasons that another context gives. Depth is that other
// context: the first write to a block of depth 2 makes the disk a block of its
// own, which takes space as a hole does. HOLE without ZERO, which would say so
// in one context, means "contents undefined" to clients: they would skip it.

// contextSet is a set of contexts.
type contextSet uint8

const (
	contextAllocation contextSet = 1 << iota
	contextDepth
)

// metaContexts are all there are, in the order of their chunks. The number is
// what BLOCK_STATUS calls one on the wire; any would do.
var metaContexts = [...]struct {
	set  contextSet
	id   uint32
	name string
}{
	{contextAllocation, 1, baseAllocation},
	{contextDepth, 2, "qemu:allocation-depth"},
}

// baseAllocation is the context that Client asks for.
const baseAllocation = "base:allocation"

// count returns how many contexts are in the set.
func (s contextSet) count() (n int) {
	for _, m := range &metaContexts {
		if s&m.set != 0 {
			n++
		}
	}
	return n
}

// matching returns what a query means. LIST knows "namespace:" as well, for all
// of the namespace.
func matching(query string, list bool) (s contextSet) {
	for _, m := range &metaContexts {
		namespace, _, _ := strings.Cut(m.name, ":")
		if query == m.name || list && query == namespace+":" {
			s |= m.set
		}
	}
	return s
}

// matchingAll is matching for an option's queries. Without any, LIST means all
// and SET none.
func matchingAll(queries []string, list bool) (s contextSet) {
	if len(queries) == 0 && list {
		return contextAllocation | contextDepth
	}
	for _, q := range queries {
		s |= matching(q, list)
	}
	return s
}

// Values of the maps, for a run that reads as zero or not, and that the disk
// itself holds or not.

// allocation never promises that a write cannot run out of space (HOLE clear
// on a zero run): blocks come from a pool that all share.
func allocation(zero bool) uint32 {
	if zero {
		return stateHole | stateZero
	}
	return 0
}

func depth(zero, own bool) uint32 {
	switch {
	case own:
		return 1
	case zero:
		return 0
	}
	return 2
}
