package blockstore

import (
	"context"
	"math/bits"
	"sync/atomic"
	"time"
)

// Stats say what a store has done since it was opened and what it holds now.
// Sizes are in bytes. Reads are not counted here, for they take no lock and
// share no counter: who serves the disks counts them.
type Stats struct {
	Since time.Time `json:"since"`
	// Writes are those of clients, trims and zeroing among them. What is zeroed
	// without being written has no bytes.
	Writes       int64 `json:"writes"`
	WrittenBytes int64 `json:"writtenBytes"`
	// Flushes are what clients asked for, waiting included; Commits what made
	// the data of one volume durable, for one or more of them; MetadataCommits
	// are the syncs of metadata, each of one or more batches.
	Flushes         Timing `json:"flushes"`
	Commits         Timing `json:"commits"`
	MetadataCommits Timing `json:"metadataCommits"`
	MetadataBatches int64  `json:"metadataBatches"`

	OpenVolumes   int   `json:"openVolumes"`
	DirtyVolumes  int   `json:"dirtyVolumes"`
	UnsyncedBytes int64 `json:"unsyncedBytes"` // that no commit has begun with
	// OldestUnsynced is how long the oldest write has waited that is not durable.
	OldestUnsynced time.Duration `json:"oldestUnsyncedNs"`

	MapBytes  int64 `json:"mapBytes"` // memory of extent maps
	MapBudget int64 `json:"mapBudget"`
	// MapTables are those of MapBytes that cannot be dropped and read again: the
	// tables of open disks, 2 bytes for each GiB, and 512 where they are used.
	MapTables int64 `json:"mapTables"`
	OpenFiles int   `json:"openFiles"` // data files
	FileLimit int   `json:"fileLimit"`

	Free    int64         `json:"free"` // of the host's file system
	Total   int64         `json:"total"`
	Stalled int           `json:"stalled"` // writes that wait for space or a quota
	Failed  bool          `json:"failed"`  // it takes no more changes, since a commit failed
	Pebble  MetadataStats `json:"metadata"`
}

// MetadataStats are those of the database of the metadata.
type MetadataStats struct {
	DiskBytes         int64 `json:"diskBytes"`
	LogBytes          int64 `json:"logBytes"` // written to the write-ahead log
	MemtableBytes     int64 `json:"memtableBytes"`
	Flushes           int64 `json:"flushes"` // of memtables
	Compactions       int64 `json:"compactions"`
	CompactionsNow    int64 `json:"compactionsNow"`
	CompactionDebt    int64 `json:"compactionDebt"` // bytes
	L0Files           int64 `json:"l0Files"`
	L0Sublevels       int64 `json:"l0Sublevels"`
	ReadAmplification int64 `json:"readAmplification"`
	CacheBytes        int64 `json:"cacheBytes"`
	CacheHits         int64 `json:"cacheHits"`
	CacheMisses       int64 `json:"cacheMisses"`
}

// Timing counts what was done by how long it took.
type Timing struct {
	Count   int64   `json:"count"`
	Seconds float64 `json:"seconds"` // all together
	// Latency[0] are those under 2 µs, Latency[i] those from 2^i to under
	// 2^(i+1) µs, and the last one all longer ones.
	Latency [timingBuckets]int64 `json:"latency"`
}

const timingBuckets = 24

// Quantile returns a time that at least the part q, between 0 and 1, stayed
// under: the upper bound of a bucket, so up to twice too much. 0: nothing yet.
func (t *Timing) Quantile(q float64) time.Duration {
	seen := int64(0)
	for i, n := range t.Latency {
		if seen += n; n > 0 && float64(seen) >= q*float64(t.Count) {
			return time.Microsecond << (i + 1)
		}
	}
	return 0
}

// timing is a Timing that is counted.
type timing struct {
	total   atomic.Int64 // ns
	buckets [timingBuckets]atomic.Int64
}

func (t *timing) since(began time.Time) {
	took := max(0, time.Since(began))
	t.total.Add(int64(took))
	t.buckets[min(timingBuckets-1, max(0, bits.Len64(uint64(took.Microseconds()))-1))].Add(1)
}

func (t *timing) get() (sum Timing) {
	for i := range t.buckets {
		sum.Latency[i] = t.buckets[i].Load()
		sum.Count += sum.Latency[i]
	}
	sum.Seconds = time.Duration(t.total.Load()).Seconds()
	return sum
}

// storeCounts are what a store counts.
type storeCounts struct {
	since          time.Time
	writes, bytes  atomic.Int64
	batches        atomic.Int64
	flush, commit  timing
	metadataCommit timing
}

// Stats returns what the store has done and holds. It looks at no file. Error:
// ErrClosed.
func (s *Store) Stats(context.Context) (Stats, error) {
	end, err := s.begin()
	if err != nil {
		return Stats{}, err
	}
	defer end()
	free, total, _, err := s.space.host()
	if err != nil {
		return Stats{}, err
	}
	n := &s.counted
	st := Stats{
		Since: n.since, Writes: n.writes.Load(), WrittenBytes: n.bytes.Load(),
		Flushes: n.flush.get(), Commits: n.commit.get(), MetadataCommits: n.metadataCommit.get(), MetadataBatches: n.batches.Load(),
		MapBytes: s.pages.bytes.Load() + s.pages.tables.Load(), MapBudget: s.pages.budget, MapTables: s.pages.tables.Load(), OpenFiles: s.files.count(), FileLimit: s.files.limit,
		Free: free, Total: total, Stalled: int(s.space.waiters.Load()), Failed: s.failed.isGiven(),
	}
	s.cat.countOpen(&st)
	if st.Failed { // Pebble may stand still, with its locks
		return st, nil
	}
	m := s.db.Metrics()
	st.Pebble = MetadataStats{
		DiskBytes: int64(m.DiskSpaceUsage()), LogBytes: int64(m.WAL.BytesWritten), MemtableBytes: int64(m.MemTable.Size),
		Flushes: m.Flush.Count, Compactions: m.Compact.Count, CompactionsNow: m.Compact.NumInProgress, CompactionDebt: int64(m.Compact.EstimatedDebt),
		L0Files: m.Levels[0].TablesCount, L0Sublevels: int64(m.Levels[0].Sublevels), ReadAmplification: int64(m.ReadAmp()),
		CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
	}
	return st, nil
}

// countOpen adds what is open and not yet durable.
func (c *catalogue) countOpen(st *Stats) {
	c.mu.Lock()
	var entries []*volumeEntry
	for _, e := range c.mu.volumes {
		if e.users > 0 {
			entries = append(entries, e)
		}
	}
	c.mu.Unlock()
	st.OpenVolumes = len(entries)
	now := time.Now().UnixNano()
	for _, e := range entries {
		v := e.now.Load()
		if v == nil {
			continue
		}
		st.UnsyncedBytes += v.unsynced.Load()
		oldest := v.syncing.Load()
		if oldest == 0 {
			oldest = v.written.Load()
		}
		if oldest != 0 {
			st.DirtyVolumes++
			st.OldestUnsynced = max(st.OldestUnsynced, time.Duration(now-oldest))
		}
	}
}

// count returns how many files are open.
func (t *fileTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.mu.open)
}
