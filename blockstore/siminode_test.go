package blockstore

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// tear mixes the sectors of some versions of a page.
func tear(rng *rand.Rand, versions []*simPage) *simPage {
	p := new(simPage)
	for at := 0; at < simPageSize; at += simSector {
		v := versions[rng.IntN(len(versions))]
		if v == nil {
			v = &simZero
		}
		copy(p[at:at+simSector], v[at:])
	}
	return p
}

// page returns the content of a page; nil is zeros.
func (in *simInode) page(n int64) *simPage {
	if chunk := in.chunks[n/simChunk]; chunk != nil {
		return chunk[n%simChunk]
	}
	return nil
}

func (in *simInode) set(n int64, p *simPage) {
	chunk := in.chunks[n/simChunk]
	if chunk == nil {
		if p == nil {
			return
		}
		chunk = new([simChunk]*simPage)
		in.chunks[n/simChunk] = chunk
	}
	chunk[n%simChunk] = p
}

// put changes a page and remembers what it was.
func (in *simInode) put(n int64, p *simPage) {
	versions := in.before[n]
	if len(versions) == simVersions {
		versions = slices.Delete(versions, simVersions/2, simVersions/2+1)
	}
	in.before[n] = append(versions, in.page(n))
	in.set(n, p)
}

func (in *simInode) resize(size int64) {
	if size == in.size {
		return
	}
	in.sizes = append(in.sizes, in.size)
	in.size = size
}

// cut is resize to less, as a crash leaves it.
func (in *simInode) cut(size int64) {
	in.size = size
	for c, chunk := range in.chunks {
		for i, p := range chunk {
			start := (c*simChunk + int64(i)) * simPageSize
			switch {
			case p == nil || start+simPageSize <= size:
			case start >= size:
				chunk[i] = nil
			default:
				short := new(simPage)
				copy(short[:size-start], p[:])
				chunk[i] = short
			}
		}
	}
}

// pieces returns in how many pages a range lies.
func pieces(off int64, n int) int {
	if n == 0 {
		return 1
	}
	return int((off+int64(n)-1)/simPageSize-off/simPageSize) + 1
}

// pageOf returns the i-th page of a range, where in the page the range is, and
// where in the range the page is.
func pageOf(off int64, n, i int) (page int64, in, at, length int) {
	page = off/simPageSize + int64(i)
	start := max(off, page*simPageSize)
	end := min(off+int64(n), (page+1)*simPageSize)
	return page, int(start - page*simPageSize), int(start - off), int(end - start)
}

// writePart writes the i-th page of p at off.
func (in *simInode) writePart(p []byte, off int64, i int) {
	if len(p) == 0 {
		return
	}
	n, start, at, length := pageOf(off, len(p), i)
	fresh := new(simPage)
	if old := in.page(n); old != nil && length < simPageSize {
		*fresh = *old
	}
	copy(fresh[start:start+length], p[at:])
	in.put(n, fresh)
	if end := n*simPageSize + int64(start+length); end > in.size {
		in.resize(end)
	}
}

func (in *simInode) read(p []byte, off int64) {
	for i := range pieces(off, len(p)) {
		n, start, at, length := pageOf(off, len(p), i)
		if page := in.page(n); page != nil {
			copy(p[at:at+length], page[start:])
		} else {
			clear(p[at : at+length])
		}
	}
}

// punch makes a range of whole pages a hole.
func (in *simInode) punch(off, length int64) {
	for n := off / simPageSize; n < (off+length)/simPageSize; n++ {
		if chunk := in.chunks[n/simChunk]; chunk == nil {
			n = (n/simChunk+1)*simChunk - 1
		} else if chunk[n%simChunk] != nil {
			in.put(n, nil)
		}
	}
}

// sync makes everything durable.
func (in *simInode) sync() {
	if in.dir != nil {
		in.dir.synced = maps.Clone(in.dir.entries)
		in.dir.changes = nil
		return
	}
	for n := range in.before {
		delete(in.loose, n)
	}
	clear(in.before)
	in.sizes = nil
}

// failSync is a sync that fails: the kernel says so once and takes the pages
// for clean from then on.
func (d *simDisk) failSync(in *simInode) {
	if in.loose == nil {
		in.loose = map[int64][]*simPage{}
	}
	for n, versions := range in.before {
		in.loose[n] = append(slices.Clip(in.loose[n]), versions...)
	}
	clear(in.before)
	if !slices.Contains(d.loose, in) {
		d.loose = append(d.loose, in)
	}
}

// settleLoose decides what the disk has of pages whose writing has failed.
func (in *simInode) settleLoose(rng *rand.Rand) {
	for _, n := range slices.Sorted(maps.Keys(in.loose)) {
		if in.before[n] == nil { // clean
			in.put(n, tear(rng, append(slices.Clip(in.loose[n]), in.page(n))))
			delete(in.before, n)
			delete(in.loose, n)
		}
	}
}

// nextData returns the first run of pages with data at or after off.
func (in *simInode) nextData(off int64) (start, end int64, found bool) {
	first := off / simPageSize
	for _, c := range slices.Sorted(maps.Keys(in.chunks)) {
		if (c+1)*simChunk <= first {
			continue
		}
		for i, p := range in.chunks[c] {
			n := c*simChunk + int64(i)
			if n < first || p == nil {
				if found {
					return start, end, true
				}
				continue
			}
			if !found {
				start, found = n*simPageSize, true
			}
			end = (n + 1) * simPageSize
		}
		if found {
			return start, end, true
		}
	}
	return start, end, found
}

func (in *simInode) allocated() (n int64) {
	for _, chunk := range in.chunks {
		for _, p := range chunk {
			if p != nil {
				n += simPageSize
			}
		}
	}
	return n
}
