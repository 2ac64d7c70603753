package v1

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// typeMetrics is the text format of Prometheus.
const typeMetrics = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers GET /metrics with what /v1/stats, the exports of /v1/connections
// and the tasks say, and the requests of the API, in the text format of Prometheus.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	text, err := s.metricsText(r)
	s.record(r, start, err)
	s.deadline(w)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", typeMetrics)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // the client is gone: nobody to tell
}

func (s *server) metricsText(r *http.Request) ([]byte, error) {
	if err := onlyQuery(r); err != nil {
		return nil, err
	}
	st, err := s.backend.Stats(r.Context())
	if err != nil {
		return nil, err
	}
	l, err := s.backend.Connections(r.Context())
	if err != nil {
		return nil, err
	}
	var m metricsWriter
	m.store(&st)
	m.exports(l.Exports)
	m.requests(s.requests)
	m.one("ready", "gauge", "1 if all parts of the daemon work.", ready(s.backend.Ready(r.Context())))
	if tasks, err := s.backend.Tasks(r.Context()); err == nil { // disks are served without them
		m.tasks(tasks)
	}
	return m.b.Bytes(), nil
}

type metricsWriter struct{ b bytes.Buffer }

// head begins a metric: its lines follow at once.
func (m *metricsWriter) head(name, kind, help string) {
	fmt.Fprintf(&m.b, "# HELP goldstream_%s %s\n# TYPE goldstream_%s %s\n", name, help, name, kind)
}

func (m *metricsWriter) one(name, kind, help string, value float64) {
	m.head(name, kind, help)
	m.line(name, "", value)
}

func (m *metricsWriter) line(name, labels string, value float64) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(&m.b, "goldstream_%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

func (m *metricsWriter) store(st *blockstore.Stats) {
	failed := 0.0
	if st.Failed {
		failed = 1
	}
	p := &st.Pebble
	for _, g := range []struct {
		name, kind, help string
		value            float64
	}{
		{"writes_total", "counter", "Writes, trims and zeroings of volumes.", float64(st.Writes)},
		{"written_bytes_total", "counter", "Bytes that were written to volumes.", float64(st.WrittenBytes)},
		{"metadata_batches_total", "counter", "Batches of changes of metadata.", float64(st.MetadataBatches)},
		{"open_volumes", "gauge", "Volumes that are open.", float64(st.OpenVolumes)},
		{"dirty_volumes", "gauge", "Volumes with writes that are not durable.", float64(st.DirtyVolumes)},
		{"unsynced_bytes", "gauge", "Bytes written that no commit has begun with.", float64(st.UnsyncedBytes)},
		{"oldest_unsynced_seconds", "gauge", "Age of the oldest write that is not durable.", st.OldestUnsynced.Seconds()},
		{"map_bytes", "gauge", "Memory of extent maps.", float64(st.MapBytes)},
		{"map_table_bytes", "gauge", "Memory of extent maps that cannot be dropped.", float64(st.MapTables)},
		{"map_budget_bytes", "gauge", "Budget of that memory.", float64(st.MapBudget)},
		{"open_data_files", "gauge", "Data files that are open.", float64(st.OpenFiles)},
		{"open_data_files_limit", "gauge", "Data files that may be open.", float64(st.FileLimit)},
		{"free_bytes", "gauge", "Free space of the store's file system.", float64(st.Free)},
		{"size_bytes", "gauge", "Size of the store's file system.", float64(st.Total)},
		{"stalled_writes", "gauge", "Writes that wait for space or a quota.", float64(st.Stalled)},
		{"store_failed", "gauge", "1 if the store takes no more changes.", failed},
		{"metadata_disk_bytes", "gauge", "Disk space of the metadata.", float64(p.DiskBytes)},
		{"metadata_log_bytes_total", "counter", "Bytes written to the log of the metadata.", float64(p.LogBytes)},
		{"metadata_memtable_bytes", "gauge", "Memory of metadata that is not in tables yet.", float64(p.MemtableBytes)},
		{"metadata_flushes_total", "counter", "Tables written from memory.", float64(p.Flushes)},
		{"metadata_compactions_total", "counter", "Compactions of the metadata.", float64(p.Compactions)},
		{"metadata_compactions_now", "gauge", "Compactions that run.", float64(p.CompactionsNow)},
		{"metadata_compaction_debt_bytes", "gauge", "Bytes that are to be compacted.", float64(p.CompactionDebt)},
		{"metadata_l0_files", "gauge", "Tables in level 0.", float64(p.L0Files)},
		{"metadata_l0_sublevels", "gauge", "Sublevels of level 0.", float64(p.L0Sublevels)},
		{"metadata_read_amplification", "gauge", "Levels that a read may look at.", float64(p.ReadAmplification)},
		{"metadata_cache_bytes", "gauge", "Memory of the block cache.", float64(p.CacheBytes)},
		{"metadata_cache_hits_total", "counter", "Blocks found in the cache.", float64(p.CacheHits)},
		{"metadata_cache_misses_total", "counter", "Blocks not found in the cache.", float64(p.CacheMisses)},
	} {
		m.one(g.name, g.kind, g.help, g.value)
	}
	m.timing("flush_seconds", "Flushes that clients asked for.", &st.Flushes)
	m.timing("commit_seconds", "Commits of volumes: data and metadata.", &st.Commits)
	m.timing("metadata_commit_seconds", "Syncs of metadata.", &st.MetadataCommits)
}

func (m *metricsWriter) timing(name, help string, t *blockstore.Timing) {
	m.head(name, "histogram", help)
	m.buckets(name, "", t.Latency[:], len(t.Latency), t.Count)
	m.line(name+"_sum", "", t.Seconds)
	m.line(name+"_count", "", float64(t.Count))
}

// buckets writes a histogram whose i-th bucket ends at 2^(i+1) µs; the last of
// so many is open.
func (m *metricsWriter) buckets(name, labels string, latency []int64, n int, count int64) {
	if labels != "" {
		labels += ","
	}
	sum := int64(0)
	for i := range n - 1 {
		if i < len(latency) {
			sum += latency[i]
		}
		le := (time.Microsecond << (i + 1)).Seconds()
		m.line(name+"_bucket", labels+`le="`+strconv.FormatFloat(le, 'g', -1, 64)+`"`, float64(sum))
	}
	m.line(name+"_bucket", labels+`le="+Inf"`, float64(count))
}

// exports writes what was done for each export that clients have open. The
// counts of one begin anew when its first client comes.
func (m *metricsWriter) exports(list []ExportInUse) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b ExportInUse) int { return strings.Compare(a.Export, b.Export) })
	each := func(name, kind, help string, value func(e *ExportInUse, op string, o *Operations) (labels string, v float64)) {
		m.head(name, kind, help)
		for i := range list {
			e := &list[i]
			for _, op := range []struct {
				name string
				o    *Operations
			}{{"read", &e.Statistics.Reads}, {"write", &e.Statistics.Writes}, {"flush", &e.Statistics.Flushes}, {"other", &e.Statistics.Others}} {
				labels, v := value(e, op.name, op.o)
				m.line(name, labels, v)
			}
		}
	}
	labels := func(e *ExportInUse, op string) string {
		return `export="` + labelEscapes.Replace(e.Export) + `",op="` + op + `"`
	}
	each("nbd_requests_total", "counter", "Requests of NBD clients.", func(e *ExportInUse, op string, o *Operations) (string, float64) {
		return labels(e, op), float64(o.Count)
	})
	each("nbd_bytes_total", "counter", "Bytes of requests of NBD clients.", func(e *ExportInUse, op string, o *Operations) (string, float64) {
		return labels(e, op), float64(o.Bytes)
	})
	each("nbd_latency_p99_seconds", "gauge", "Time that 99 of 100 requests stayed under.", func(e *ExportInUse, op string, o *Operations) (string, float64) {
		return labels(e, op), (time.Duration(o.P99) * time.Microsecond).Seconds()
	})
	m.head("nbd_clients", "gauge", "Clients of an export.")
	for _, e := range list {
		m.line("nbd_clients", `export="`+labelEscapes.Replace(e.Export)+`"`, float64(e.Connections))
	}
	m.head("nbd_errors_total", "counter", "Error replies.")
	for _, e := range list {
		m.line("nbd_errors_total", `export="`+labelEscapes.Replace(e.Export)+`"`, float64(e.Statistics.Errors))
	}
}

func ready(parts []Part) float64 {
	for _, p := range parts {
		if !p.Ready {
			return 0
		}
	}
	return 1
}

// tasks writes how many tasks are in which state. One that stands still needs
// somebody to look at it.
func (m *metricsWriter) tasks(list []task.Info) {
	counts := map[task.State]int{}
	halted := 0
	for i := range list {
		counts[list[i].State]++
		if list[i].Halted != "" && !list[i].State.Finished() {
			halted++
		}
	}
	m.head("tasks", "gauge", "Tasks that are kept, by state.")
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		m.line("tasks", `state="`+labelEscapes.Replace(string(state))+`"`, float64(counts[state]))
	}
	m.one("tasks_halted", "gauge", "Tasks that stand still until somebody does something.", float64(halted))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
