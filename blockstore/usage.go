package blockstore

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
)

// onlyIn yields runs of blocks that the record own names and both, the record
// of the next version laid over it, names otherwise, with the layer that holds
// them: nobody but a reader of own reads them there. Layers that older versions
// read too are left out: those of other lineages, and those below oldest.
func onlyIn(own, both *composer, lineage uint64, oldest uint32) iter.Seq2[blockRun, layerID] {
	return func(yield func(blockRun, layerID) bool) {
		for block := 0; block < regionBlocks; {
			src, end := own.cells[block], block+1
			if src == sourceUnset || src == sourceZero || both.cells[block] == src {
				block = end
				continue
			}
			for end < regionBlocks && own.cells[end] == src && both.cells[end] != src {
				end++
			}
			id := own.layers[src-1]
			if id.lineage == lineage && id.version >= oldest && !yield(blockRun{block, end}, id) {
				return
			}
			block = end
		}
	}
}

// blockRun is a run of blocks of a region.
type blockRun struct{ start, end int }

// Usage of a disk, in bytes.
type Usage struct {
	Kind string `json:"kind"` // "image", "volume", "snapshot"
	Name string `json:"name"` // of a snapshot: VOLUME/NAME
	// Logical is the size of the disk, Mapped what it does not read as known
	// zeros.
	Logical int64 `json:"logical"`
	Mapped  int64 `json:"mapped"`
	// Exclusive is what deleting it alone would give back; the rest of Mapped
	// is shared with others. A volume goes with its snapshots.
	Exclusive int64 `json:"exclusive"`
}

// UsageReport says what takes room in a store.
type UsageReport struct {
	Disks []Usage `json:"disks"`
	// Data is what all layers take on the host's disk, in bytes.
	Data int64 `json:"data"`
}

// Usage works out what each disk takes and what it shares. It reads the whole
// map of everything: milliseconds for each thousand regions of 16 MiB. What is
// written meanwhile may or may not be counted.
func (s *Store) Usage(ctx context.Context) (UsageReport, error) {
	report := UsageReport{Disks: []Usage{}}
	release, err := s.begin()
	if err != nil {
		return report, err
	}
	defer release()
	for _, t := range s.usageTasks() {
		u, err := s.usageOf(ctx, t)
		if err != nil {
			return report, err
		}
		if u != nil {
			report.Disks = append(report.Disks, *u)
		}
	}
	slices.SortFunc(report.Disks, func(a, b Usage) int { return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name) })
	report.Data, err = s.dataBytes()
	return report, err
}

// dataBytes sums what the files of all layers take.
func (s *Store) dataBytes() (total int64, err error) {
	s.cat.mu.Lock()
	var ids []layerID
	for _, l := range s.cat.mu.lineages {
		for _, v := range l.versions {
			ids = append(ids, layerID{l.id, v.number})
		}
		for number := range l.merged {
			ids = append(ids, layerID{l.id, number})
		}
	}
	s.cat.mu.Unlock()
	for _, id := range ids {
		n, err := s.layer(id).allocated()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// usageTask is one disk of a report.
type usageTask struct {
	usage Usage
	open  func(ctx context.Context) (*Disk, error)
	goes  []versionRun // the versions that would go with it
}

// versionRun is a run of neighbouring versions of a lineage. What is not needed
// and waits to be reclaimed is passed over.
type versionRun struct {
	lineage  *lineage
	versions []*version
	before   *version   // nil: none
	after    []*version // up to the next one that is needed
}

func (s *Store) usageTasks() []usageTask {
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	var tasks []usageTask
	for name, e := range c.mu.images {
		tasks = append(tasks, usageTask{Usage{Kind: "image", Name: name}, func(ctx context.Context) (*Disk, error) { return s.OpenImage(ctx, name) }, soleName(e.lineage, e.version)})
	}
	for name, e := range c.mu.volumes {
		tasks = append(tasks, usageTask{Usage{Kind: "volume", Name: name}, func(ctx context.Context) (*Disk, error) { return s.OpenVolume(ctx, name) }, c.goesWithLocked(e)})
		for snapshot, sn := range e.snapshots {
			tasks = append(tasks, usageTask{Usage{Kind: "snapshot", Name: name + "/" + snapshot},
				func(ctx context.Context) (*Disk, error) { return s.OpenSnapshot(ctx, name, snapshot) }, soleName(sn.lineage, sn.version)})
		}
	}
	return tasks
}

// soleName returns the version if only one name holds it.
func soleName(l *lineage, v *version) []versionRun {
	if v.names != 1 || v.children > 0 {
		return nil
	}
	return runsOf(l, func(_ *lineage, at *version) bool { return at == v })
}

// goesWithLocked returns what would go with a volume: its top, the snapshots
// that nobody has cloned or captured, and what stood only for these.
func (c *catalogue) goesWithLocked(e *volumeEntry) []versionRun {
	names := map[*version]int{}
	lineages := []*lineage{e.lineage}
	for _, sn := range e.snapshots {
		names[sn.version]++
		if !slices.Contains(lineages, sn.lineage) {
			lineages = append(lineages, sn.lineage)
		}
	}
	children := map[*version]int{}
	for _, l := range lineages {
		if l.parent != nil {
			children[l.parent.at(l.rec.ParentVersion)]++
		}
	}
	goes := func(l *lineage, v *version) bool {
		own := v.rec.State == versionDoomed || names[v] > 0 || l == e.lineage && v == l.tip()
		return own && v.names == names[v] && v.children == children[v]
	}
	var runs []versionRun
	for _, l := range lineages {
		runs = append(runs, runsOf(l, goes)...)
	}
	return runs
}

// runsOf cuts the versions that go into runs of neighbours.
func runsOf(l *lineage, goes func(*lineage, *version) bool) []versionRun {
	var runs []versionRun
	var before *version
	run := -1 // that is added to
	for _, v := range l.versions {
		switch gone := l.unneeded(v); {
		case goes(l, v):
			if run < 0 {
				runs = append(runs, versionRun{lineage: l, before: before})
				run = len(runs) - 1
			}
			runs[run].versions = append(runs[run].versions, v)
		case run >= 0:
			runs[run].after = append(runs[run].after, v)
			if !gone {
				run, before = -1, v
			}
		case !gone:
			before = v
		}
	}
	return runs
}

// usageOf works out one disk; nil if it is gone meanwhile.
func (s *Store) usageOf(ctx context.Context, t usageTask) (*Usage, error) {
	d, err := t.open(ctx)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInUse) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	u := t.usage
	u.Logical = d.Size()
	if u.Mapped, err = allocatedOf(ctx, d); err != nil {
		return nil, err
	}
	for _, run := range t.goes {
		n, err := s.exclusive(ctx, run)
		if err != nil {
			return nil, err
		}
		u.Exclusive += n << blockShift
	}
	return &u, nil
}

// exclusive counts the blocks that only a run of versions reads: as if one
// after the other was absorbed.
func (s *Store) exclusive(ctx context.Context, run versionRun) (blocks int64, err error) {
	done := map[uint32]bool{}
	for _, v := range run.versions {
		for from := uint32(0); ; {
			if err := cancelled(ctx); err != nil {
				return 0, err
			}
			regions, err := s.touched(layerID{run.lineage.id, v.number}, from, absorbStep)
			if err != nil {
				return 0, err
			}
			if len(regions) == 0 {
				break
			}
			for _, region := range regions {
				if done[region] {
					continue
				}
				done[region] = true
				n, err := s.exclusiveIn(run, region)
				if err != nil {
					return 0, err
				}
				blocks += n
			}
			from = regions[len(regions)-1] + 1
		}
	}
	return blocks, nil
}

func (s *Store) exclusiveIn(run versionRun, region uint32) (blocks int64, err error) {
	oldest := uint32(1)
	if run.before != nil {
		oldest = run.before.number + 1
	}
	now, next := newComposer(), newComposer()
	defer now.release()
	defer next.release()
	lay := func(c *composer, v *version) error {
		rec, err := s.record(mapKey(run.lineage.id, region, v.number))
		if rec == nil || err != nil {
			return err
		}
		return c.apply(rec)
	}
	count := func() {
		for r := range onlyIn(now, next, run.lineage.id, oldest) {
			blocks += int64(r.end - r.start)
		}
	}
	for _, v := range run.versions {
		if err := lay(next, v); err != nil {
			return 0, err
		}
		count()
		if err := lay(now, v); err != nil {
			return 0, err
		}
	}
	for _, v := range run.after {
		if err := lay(next, v); err != nil {
			return 0, err
		}
	}
	if len(run.after) == 0 {
		next.fill(0, regionBlocks, sourceUnset)
	}
	count()
	return blocks, nil
}
