package blockstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// A check looks at every record of the metadata and at every file of data, and
// says where they do not agree. It changes nothing and goes on after what it
// cannot read: checkrecords.go resolves what records name, checkmaps.go walks
// the maps and holds them against the files, checkfiles.go looks at the files.
//
// It reports only what no lawful history of the store leaves behind. So a hole
// under data is told of in imported layers alone: in one that a volume wrote, a
// trim may have punched a block and been lost with the power, after which the
// block reads as zero though the map says data. Versions that nobody can read
// are looked at for form only, for the reclaimer takes them apart in steps.
// The data itself is not read: VerifyImage does that. A store in service is
// checked by checklive.go.

// Severity of a finding.
const (
	// SeverityDamage is what cannot be read, or not as it was written.
	SeverityDamage = "damage"
	// SeverityWarning is what should not be, and by which nothing is lost.
	SeverityWarning = "warning"
)

// Kinds of findings.
const (
	FindMetadata  = "metadata-unreadable" // part of the metadata cannot be read at all
	FindLostTail  = "metadata-lost-tail"  // durable commits are gone from its end
	FindRecord    = "record-damaged"      // a record does not parse
	FindDangling  = "reference-dangling"  // a record names what does not exist
	FindMissing   = "file-missing"
	FindTruncated = "file-truncated" // a data file does not have its length
	FindHole      = "data-missing"   // a data file has a hole where the map names data
	FindFile      = "file-unreadable"
	FindStray     = "file-stray" // no record names it
	FindUnknown   = "record-unknown"
	FindUnnamed   = "layer-unnamed" // nothing names it, and it was never given up
	FindRestore   = "restore-unfinished"
)

// Finding is one thing that a check found.
type Finding struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind"`
	Where    string `json:"where"` // path of a file, or a record
	What     string `json:"what"`
	Bytes    int64  `json:"bytes,omitempty"` // of the disks' data that cannot be read
	// Disks are the images, volumes and snapshots that read what is damaged.
	Disks []string `json:"disks,omitempty"`
}

// CheckReport is the outcome of a check.
type CheckReport struct {
	Records  int64     `json:"records"` // of the metadata, that were looked at
	Files    int       `json:"files"`   // of data
	Disks    int       `json:"disks"`
	Damage   int       `json:"damage"` // findings that are damage
	Findings []Finding `json:"findings"`
	More     int       `json:"more,omitempty"` // findings left off
	// InService tells that the store was open meanwhile; Passes is how often it
	// was gone through then.
	InService bool `json:"inService,omitempty"`
	Passes    int  `json:"passes,omitempty"`
}

// maxFindings bounds a report; damage comes first.
const maxFindings = 1000

// CheckStore checks a store that nobody has open. Nothing of it is changed but
// for its LOCK file.
//
// What is damaged is in the report, also if the metadata cannot be opened at
// all. Errors: ErrLocked, ErrNotFound, ErrFormat, what the host refuses.
func CheckStore(ctx context.Context, dir string, o Options) (CheckReport, error) {
	s, err := openAtRest(dir, o)
	if err != nil {
		return CheckReport{}, err
	}
	report, err := s.check(ctx)
	return report, errors.Join(err, s.close())
}

func (s *offline) check(ctx context.Context) (CheckReport, error) {
	c := newChecker(ctx, s.Store)
	meta, err := s.coming()
	if err != nil {
		return CheckReport{}, err
	}
	if meta != s.metaDir() {
		c.add(SeverityWarning, FindRestore, s.planPath(), "a restore of the metadata was cut off, and is finished when the store is opened next: what it puts in place was checked")
	}
	err = c.look(s, meta, func(v *Store) error { return c.checkTail(v, s) })
	return c.report(), err
}

// look checks the metadata that stands in meta, and the files; then does more.
func (c *checker) look(s *offline, meta string, more func(v *Store) error) error {
	v, err := s.openView(meta)
	if errors.Is(err, ErrCorrupt) {
		c.add(SeverityDamage, FindMetadata, s.metaDir(), err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	c.db = v.db
	if err = c.run(); err == nil {
		err = more(v)
	}
	return errors.Join(err, v.endView())
}

// checkTail compares where the metadata ends with how far it was durable.
func (c *checker) checkTail(v *Store, s *offline) error {
	path := filepath.Join(s.dir, "seq")
	if _, err := s.fs.ReadFile(path); err != nil {
		c.add(SeverityDamage, FindMissing, path, "it says how far the metadata goes, and cannot be read: "+err.Error())
		return nil
	}
	want, err := s.witnessed()
	if err != nil {
		c.add(SeverityDamage, FindTruncated, path, err.Error())
		return nil
	}
	if have, err := v.storedSequence(); err == nil && have < want { // else told already
		c.add(SeverityDamage, FindLostTail, s.metaDir(), fmt.Sprintf("the metadata ends at commit %d, but commit %d was durable", have, want))
	}
	return nil
}

// checker is one pass over a store.
type checker struct {
	ctx context.Context
	s   *Store // for its directory and file system
	fs  hostFS
	db  pebble.Reader

	lineages map[uint64]*checkLineage
	volumes  map[string]string // name for people, by ID
	disks    int
	records  int64
	bytes    int64 // of records
	files    int
	pace     *pace          // nil: none
	progress func(Progress) // nil: nobody asks
	stage    string
	// blind says that records are unreadable without which it is not known
	// what is referred to: then nothing is called stray or unnamed.
	blind bool

	data  map[string]*checkFile
	found map[findingKey]*found
}

type findingKey struct{ kind, where string }

// found is a finding that grows.
type found struct {
	Finding
	blocks unsyncedSet
	disks  map[string]bool
}

func newChecker(ctx context.Context, s *Store) *checker {
	return &checker{
		ctx: ctx, s: s, fs: s.fs, lineages: map[uint64]*checkLineage{}, volumes: map[string]string{},
		data: map[string]*checkFile{}, found: map[findingKey]*found{},
	}
}

// pause is called often, and ends a check that was cancelled.
func (c *checker) pause() error {
	if c.progress != nil {
		c.progress(Progress{Stage: c.stage, Done: c.bytes, Total: -1})
	}
	if err := cancelled(c.ctx); err != nil || c.pace == nil {
		return err
	}
	return c.pace.rest(c.ctx)
}

func (c *checker) run() error {
	defer c.closeFiles()
	for _, step := range []func() error{c.loadLineages, c.loadVersions, c.checkParents, c.loadNames, c.checkOthers, c.checkMaps, c.checkFiles} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// add enters a finding; what is found of the same thing again adds its disks.
func (c *checker) add(severity, kind, where, what string, disks ...string) *found {
	f := c.found[findingKey{kind, where}]
	if f == nil {
		f = &found{Finding: Finding{Severity: severity, Kind: kind, Where: where, What: what}, blocks: unsyncedSet{}, disks: map[string]bool{}}
		c.found[findingKey{kind, where}] = f
	}
	for _, d := range disks {
		f.disks[d] = true
	}
	return f
}

func (c *checker) report() CheckReport {
	r := CheckReport{Records: c.records, Files: c.files, Disks: c.disks, Findings: []Finding{}}
	for _, f := range c.found {
		f.Bytes = f.blocks.bytes()
		f.Disks = slices.Sorted(maps.Keys(f.disks))
		if f.Severity == SeverityDamage {
			r.Damage++
		}
		r.Findings = append(r.Findings, f.Finding)
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return strings.Compare(a.Severity+a.Kind+a.Where, b.Severity+b.Kind+b.Where)
	})
	if n := len(r.Findings); n > maxFindings {
		r.Findings, r.More = r.Findings[:maxFindings], n-maxFindings
	}
	return r
}
