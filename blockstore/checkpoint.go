package blockstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A checkpoint is a copy of the metadata as it was at one moment, below
// checkpoints/TIME-SEQUENCE: tables as hard links, the rest copied. It is taken
// beside everything else, every hour, and the oldest go. It is made under
// another name and renamed, so one that has its name is whole.
//
// The data is not part of it. What was deleted or trimmed since is not there any
// more, and what a writable layer has overwritten is newer: restore.go tells.
type checkpointer struct {
	s    *Store
	once sync.Once
	quit chan struct{}
	done chan struct{}
	// taking holds one token: one at a time.
	taking chan struct{}
}

// CheckpointInfo describes a checkpoint of the metadata.
type CheckpointInfo struct {
	Name string    `json:"name"`
	Time time.Time `json:"time"`
	// Sequence of the newest commit that is in it for sure.
	Sequence uint64 `json:"sequence"`
}

const (
	checkpointTime = "20060102T150405Z"
	checkpointTick = time.Minute
	unfinished     = ".unfinished"
)

func (s *Store) checkpointsDir() string { return filepath.Join(s.dir, "checkpoints") }

func startCheckpointer(s *Store) *checkpointer {
	c := &checkpointer{s: s, quit: make(chan struct{}), done: make(chan struct{}), taking: make(chan struct{}, 1)}
	if s.o.ReadOnly {
		close(c.done)
		return c
	}
	go c.run()
	return c
}

// stop ends the checkpointer; one that is being taken is finished first.
func (c *checkpointer) stop() {
	c.once.Do(func() { close(c.quit) })
	<-c.done
}

func (c *checkpointer) run() {
	defer close(c.done)
	tick := time.NewTicker(checkpointTick)
	defer tick.Stop()
	for {
		select {
		case <-c.quit:
			return
		case now := <-tick.C:
			if err := c.ifDue(now); err != nil {
				c.s.o.Logger.Warn("no checkpoint of the metadata; tried again in a minute", "err", err)
			}
		}
	}
}

// ifDue takes a checkpoint if the newest is old and something has changed since.
func (c *checkpointer) ifDue(now time.Time) error {
	s := c.s
	if s.o.CheckpointInterval < 0 || s.usable() != nil {
		return nil
	}
	list, err := listCheckpoints(s.fs, s.checkpointsDir())
	if err != nil {
		return err
	}
	if n := len(list); n > 0 {
		last := list[n-1]
		if age := now.Sub(last.Time); age >= 0 && age < s.o.CheckpointInterval || last.Sequence == s.witness.now() {
			return nil
		}
	}
	_, err = c.take(context.Background())
	return err
}

// Checkpoint keeps a copy of the metadata as it is now, beside those that are
// taken by themselves (Options.CheckpointInterval). The oldest beyond
// Options.Checkpoints go.
//
// Errors: ErrNoSpace, ErrFailed.
func (s *Store) Checkpoint(ctx context.Context) (CheckpointInfo, error) {
	release, err := s.begin()
	if err != nil {
		return CheckpointInfo{}, err
	}
	defer release()
	return s.checkpoints.take(ctx)
}

func (c *checkpointer) take(ctx context.Context) (info CheckpointInfo, err error) {
	select {
	case c.taking <- struct{}{}:
		defer func() { <-c.taking }()
	case <-ctx.Done():
		return info, context.Cause(ctx)
	}
	s := c.s
	if err := s.usable(); err != nil {
		return info, err
	}
	// Metadata waits for room where there is none; a copy of it does not.
	if free, _, l, err := s.space.host(); err != nil {
		return info, err
	} else if free < l.reserve {
		return info, errf(ErrNoSpace, "no checkpoint on a full disk: free some space first")
	}
	info = CheckpointInfo{Time: time.Now().UTC().Truncate(time.Second), Sequence: s.witness.now()}
	info.Name = fmt.Sprintf("%s-%016x", info.Time.Format(checkpointTime), info.Sequence)
	dir := s.checkpointsDir()
	list, err := listCheckpoints(s.fs, dir)
	if err != nil {
		return info, err
	}
	if slices.Contains(list, info) { // nothing has changed, within a second
		return info, nil
	}
	if err := c.write(dir, info.Name); err != nil {
		return info, fmt.Errorf("checkpoint of the metadata: %w", noSpace(err))
	}
	s.o.Logger.Info("checkpoint of the metadata taken", "name", info.Name)
	return info, c.prune(append(list, info))
}

func (c *checkpointer) write(dir, name string) error {
	fs := c.s.fs
	if err := errors.Join(fs.Mkdir(dir), fs.SyncDir(c.s.dir)); err != nil {
		return err
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, left := range names { // by a process that was killed
		if strings.HasSuffix(left, unfinished) {
			if err := fs.RemoveAll(filepath.Join(dir, left)); err != nil {
				return err
			}
		}
	}
	path := filepath.Join(dir, name)
	if err := c.s.db.Checkpoint(path+unfinished, pebble.WithFlushedWAL()); err != nil {
		return errors.Join(err, fs.RemoveAll(path+unfinished))
	}
	return errors.Join(fs.Rename(path+unfinished, path), fs.SyncDir(dir))
}

// prune removes the oldest checkpoints of a list.
func (c *checkpointer) prune(list []CheckpointInfo) error {
	for ; len(list) > c.s.o.Checkpoints; list = list[1:] {
		path := filepath.Join(c.s.checkpointsDir(), list[0].Name)
		// One that is removed in part must not look whole.
		if err := c.s.fs.Rename(path, path+unfinished); err != nil {
			return err
		}
		if err := c.s.fs.RemoveAll(path + unfinished); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoints lists the checkpoints of the metadata, oldest first.
func (s *Store) Checkpoints(context.Context) ([]CheckpointInfo, error) {
	return listCheckpoints(s.fs, s.checkpointsDir())
}

var checkpointForm = regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{16}$`)

func listCheckpoints(fs hostFS, dir string) (list []CheckpointInfo, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if !checkpointForm.MatchString(name) {
			continue
		}
		at, seq, _ := strings.Cut(name, "-")
		info := CheckpointInfo{Name: name}
		if info.Time, err = time.Parse(checkpointTime, at); err != nil {
			continue
		}
		if info.Sequence, err = strconv.ParseUint(seq, 16, 64); err == nil {
			list = append(list, info)
		}
	}
	return list, nil
}
