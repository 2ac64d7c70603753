package blockstore

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// State of a scrub.
const (
	ScrubNone      = "none" // there was none yet
	ScrubRunning   = "running"
	ScrubDone      = "done"
	ScrubCancelled = "cancelled"
	ScrubFailed    = "failed"
)

// ScrubReport describes the last scrub, or the one that runs.
type ScrubReport struct {
	State   string    `json:"state"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Done of Total bytes of data are read. Compared of them were held against
	// checksums; the others have none (snapshots) and could be read.
	Done     int64 `json:"done"`
	Total    int64 `json:"total"`
	Compared int64 `json:"compared"`
	// Rate is what is read in a second, in bytes, and Left how long the rest
	// will take at that, in seconds; both of a scrub that runs.
	Rate int64 `json:"rate,omitempty"`
	Left int64 `json:"left,omitempty"`
	// Limit is what background I/O may take in a second now; 0: no limit.
	Limit int64 `json:"limit,omitempty"`

	Findings []ScrubFinding `json:"findings"`
	More     int            `json:"more,omitempty"` // findings left off
	// Cached says that the file system refuses to be read past the page cache,
	// so that memory may have been looked at in the place of the disk.
	Cached bool   `json:"cached,omitempty"`
	Error  string `json:"error,omitempty"` // why it failed
}

// ScrubFinding is a part of the sealed data that is damaged.
type ScrubFinding struct {
	// Images that it is part of, or the layer where it is part of none.
	Images []string `json:"images,omitempty"`
	Layer  string   `json:"layer"`
	BadChunk
	// Disks are all that read data of this part where it is damaged or may be:
	// a checksum says of 16 MiB that they are not as they were.
	Disks []string `json:"disks"`
}

// maxScrubFindings bounds a report.
const maxScrubFindings = 1000

// scrubState is what is kept in the file scrub below the store's directory.
type scrubState struct {
	ScrubReport
	Next scrubPlace `json:"next"`
}

// scrubber runs scrubs, one at a time. How far one is stands in a file, written
// every scrubSave bytes: it is no metadata, and a scrub that reads some regions
// twice does no harm.
type scrubber struct {
	s    *Store
	now  func() time.Time
	mu   sync.Mutex
	st   scrubState
	quit context.CancelCauseFunc // of the one that runs; nil: none
	done chan struct{}           // of the last one: closed when it does nothing any more
	// The rate is of this process: what was done before, and since when.
	before    int64
	since     time.Time
	saveEvery int64 // bytes read between two writes of the file
}

const scrubSave = 1 << 30

var errCancelled = errors.New("cancelled")

func (s *Store) scrubPath() string { return filepath.Join(s.dir, "scrub") }

// startScrubber goes on with a scrub that was under way when the store was
// closed or its process killed.
func startScrubber(s *Store) *scrubber {
	c := &scrubber{s: s, now: time.Now, saveEvery: scrubSave}
	c.st.State = ScrubNone
	b, err := s.fs.ReadFile(s.scrubPath())
	if err == nil {
		err = json.Unmarshal(b, &c.st)
	}
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			s.o.Logger.Warn("what the last scrub found cannot be read, and is forgotten", "file", s.scrubPath(), "err", err)
		}
		c.st = scrubState{ScrubReport: ScrubReport{State: ScrubNone}}
	}
	if c.st.State == ScrubRunning && !s.o.ReadOnly {
		c.mu.Lock()
		c.startLocked()
		c.mu.Unlock()
	}
	return c
}

// StartScrub begins to read all sealed data, in the background and out of its
// budget, and to compare it with its checksums. Error: ErrInUse (one runs).
func (s *Store) StartScrub(context.Context) (ScrubReport, error) {
	release, err := s.begin()
	if err != nil {
		return ScrubReport{}, err
	}
	defer release()
	c := s.scrub
	if s.o.ReadOnly {
		return c.report(), s.usable()
	}
	c.mu.Lock()
	if c.quit != nil {
		c.mu.Unlock()
		return c.report(), errf(ErrInUse, "a scrub is running since %s: wait for it, or cancel it first", c.report().Started.Format(time.RFC3339))
	}
	c.st = scrubState{ScrubReport: ScrubReport{State: ScrubRunning, Started: c.now().UTC()}}
	c.startLocked()
	c.mu.Unlock()
	return c.report(), nil
}

// Scrub describes the last scrub, or the one that runs.
func (s *Store) Scrub(context.Context) (ScrubReport, error) { return s.scrub.report(), nil }

// CancelScrub ends the scrub that runs, and returns what it has found. Error:
// ErrNotFound (none runs).
func (s *Store) CancelScrub(ctx context.Context) (ScrubReport, error) {
	c := s.scrub
	c.mu.Lock()
	quit, done := c.quit, c.done
	c.mu.Unlock()
	if quit == nil {
		return c.report(), errf(ErrNotFound, "no scrub is running")
	}
	quit(errCancelled)
	select {
	case <-done:
		return c.report(), nil
	case <-ctx.Done():
		return c.report(), context.Cause(ctx)
	}
}

// startLocked runs the scrub that stands in st, from where it is.
func (c *scrubber) startLocked() {
	ctx, quit := context.WithCancelCause(context.Background())
	last := c.done
	c.quit, c.done = quit, make(chan struct{})
	c.before, c.since = c.st.Done, c.now()
	go c.run(ctx, last, c.done)
}

// stop ends a scrub for the next open of the store to go on with. It waits for
// one that has come to its end by itself, too.
func (c *scrubber) stop() {
	c.mu.Lock()
	quit, done := c.quit, c.done
	c.mu.Unlock()
	if quit != nil {
		quit(errStopped)
	}
	if done != nil {
		<-done
	}
}

func (c *scrubber) report() ScrubReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.st.ScrubReport
	r.Findings = append([]ScrubFinding{}, r.Findings...)
	if r.State != ScrubRunning {
		return r
	}
	r.Limit = c.s.pacer.limit()
	if passed := c.now().Sub(c.since); passed > time.Second {
		r.Rate = int64(float64(r.Done-c.before) / passed.Seconds())
	}
	if r.Rate > 0 {
		r.Left = max(0, r.Total-r.Done) / r.Rate
	}
	return r
}

func (c *scrubber) run(ctx context.Context, last, done chan struct{}) {
	defer close(done)
	if last != nil {
		<-last // it may still keep how it has ended
	}
	p := scrubPass{c: c, files: newDirectFiles(c.s.fs), buf: alignedBuffer(RegionSize)}
	defer p.files.close()
	c.save()
	err := p.plan(ctx)
	if err == nil {
		c.mu.Lock()
		next := c.st.Next
		c.mu.Unlock()
		err = c.s.scrubWalk(ctx, next, func(u scrubUnit) error { return p.unit(ctx, u) })
	}
	c.end(err)
}

// end notes how a scrub has ended, but for one that goes on later.
func (c *scrubber) end(err error) {
	c.mu.Lock()
	st := &c.st
	c.quit = nil
	if !errors.Is(err, errStopped) {
		st.Ended, st.State = c.now().UTC(), ScrubDone
	}
	switch {
	case err == nil:
		st.Total = st.Done // what was deleted meanwhile does not count
	case errors.Is(err, errStopped):
	case errors.Is(err, errCancelled):
		st.State = ScrubCancelled
	default:
		st.State, st.Error = ScrubFailed, err.Error()
	}
	log, state, found := c.s.o.Logger, st.State, len(st.Findings)+st.More
	c.mu.Unlock()
	c.save()
	switch {
	case state == ScrubFailed:
		log.Error("scrub failed", "err", err)
	case found > 0:
		log.Error("scrub-mismatch: sealed data is damaged; goldstream scrub status names it", "state", state, "places", found)
	case state != ScrubRunning:
		log.Info("scrub ended", "state", state)
	}
}

// save keeps the state. Where that fails the scrub goes on.
func (c *scrubber) save() {
	c.mu.Lock()
	b, err := json.Marshal(&c.st)
	c.mu.Unlock()
	if err == nil {
		err = writeSynced(c.s, map[string][]byte{c.s.scrubPath(): append(b, '\n')}, c.s.scrubPath())
	}
	if err != nil {
		c.s.o.Logger.Warn("how far the scrub is was not kept; after a restart it reads some data again", "err", err)
	}
}

// scrubPass is a scrub while it runs in this process.
type scrubPass struct {
	c     *scrubber
	files *directFiles
	buf   []byte
	saved int64 // bytes read when the state was kept last
}

// plan counts what there is to read, if that was not done yet.
func (p *scrubPass) plan(ctx context.Context) error {
	c := p.c
	c.mu.Lock()
	known := c.st.Total > 0
	c.mu.Unlock()
	if known {
		return nil
	}
	total := int64(0)
	err := c.s.scrubWalk(ctx, scrubPlace{}, func(u scrubUnit) error {
		total += u.bytes()
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.st.Total = total
	c.mu.Unlock()
	return nil
}

func (p *scrubPass) unit(ctx context.Context, u scrubUnit) error {
	c, n := p.c, u.bytes()
	if err := c.s.pacer.spend(ctx, n); err != nil {
		return err
	}
	reason, err := p.look(u)
	if err != nil {
		return err
	}
	var f *ScrubFinding
	var incomplete error // not all disks of the finding are known
	if reason != "" {
		f, incomplete = c.finding(u, reason)
		c.s.o.Logger.Error("scrub-mismatch: "+reason, "layer", f.Layer, "images", f.Images, "offset", f.Offset, "disks", f.Disks)
	}
	c.mu.Lock()
	st := &c.st
	st.Done += n
	if u.sum != nil {
		st.Compared += n
	}
	st.Cached = st.Cached || p.files.cached
	st.Next = scrubPlace{u.id.lineage, u.id.version, u.next}
	if f != nil && len(st.Findings) < maxScrubFindings {
		st.Findings = append(st.Findings, *f)
	} else if f != nil {
		st.More++
	}
	save := f != nil || st.Done-p.saved >= c.saveEvery
	if save {
		p.saved = st.Done
	}
	c.mu.Unlock()
	if save {
		c.save()
	}
	return incomplete
}

// look reads a unit and says what is wrong with it. An error says that it could
// not be looked at.
func (p *scrubPass) look(u scrubUnit) (reason string, err error) {
	if u.damage != nil {
		return u.damage.Error(), nil
	}
	buf, off := p.buf[:u.length()], int64(u.region)<<regionShift
	if err := p.files.readPage(u.page, buf, off); err != nil {
		if isDamage(err) {
			return err.Error(), nil
		}
		return "", fmt.Errorf("read layer %s at byte %d: %w", layerDir(u.id), off, err)
	}
	if u.sum == nil {
		return "", nil
	}
	if sum := sha256.Sum256(buf); sum != *u.sum {
		return mismatch(sum, *u.sum), nil
	}
	return "", nil
}

func mismatch(sum, want [sha256.Size]byte) string {
	return fmt.Sprintf("SHA-256 is %x, was %x when the image was sealed", sum[:8], want[:8])
}

func (c *scrubber) finding(u scrubUnit, reason string) (*ScrubFinding, error) {
	disks, err := c.s.readersOf(u)
	images := c.s.cat.imagesOf(u.id)
	if u.page == nil || u.page.zero() { // of data that the map does not know any more
		for _, name := range images {
			if name = "image " + name; !slices.Contains(disks, name) {
				disks = append(disks, name)
			}
		}
	}
	return &ScrubFinding{
		Images: images, Layer: layerDir(u.id),
		BadChunk: BadChunk{Offset: int64(u.region) << regionShift, Length: u.length(), Reason: reason},
		Disks:    disks,
	}, err
}

func cutImage(disk string) (name string, ok bool) { return strings.CutPrefix(disk, "image ") }
