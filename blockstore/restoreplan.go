package blockstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A restore takes effect at one instant: when its plan is durable. The plan is
// the file DATA/blocks/restoring, one object of JSON, which is written when the
// metadata to come is ready in meta.restoring, and before anything is moved:
//
//	format   1
//	cause    what was restored, for people
//	aside    name of the directory that takes what is replaced
//	layers   names of the layers that go there too
//	present  sequence of the newest commit known durable then
//
// Whoever opens the store next carries a plan to its end, from wherever it was
// cut off: every step may be repeated. The last step but one renames
// meta.restoring to meta, so where that is gone, only the plan is left to
// remove. What a restore has prepared without getting to its plan is removed.
//
// A program that does not know of plans refuses a store whose meta is gone, and
// opens one from which nothing was moved yet. Then the store goes on, and its
// plan is void: that is what present tells.
type restorePlan struct {
	Format  int      `json:"format"`
	Cause   string   `json:"cause"`
	Aside   string   `json:"aside"`
	Layers  []string `json:"layers"`
	Present uint64   `json:"present"`
}

const restorePlanFormat = 1

var asideForm = regexp.MustCompile(`^before-restore-\d{8}T\d{6}\.\d{3}Z$`)

func (s *offline) planPath() string { return filepath.Join(s.dir, "restoring") }

// newRestorePlan plans to put meta.restoring in the place of the metadata.
func newRestorePlan(cause string, layers []string, present uint64) restorePlan {
	aside := "before-restore-" + time.Now().UTC().Format("20060102T150405.000Z")
	return restorePlan{restorePlanFormat, cause, aside, layers, present}
}

// carryOut makes a plan durable and brings it to its end.
func (s *offline) carryOut(p restorePlan) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	err = writeSynced(s.Store, map[string][]byte{s.planPath(): append(b, '\n')}, s.planPath())
	if err == nil {
		err = s.finish(p)
	}
	return s.explainPlan(err)
}

// explainPlan adds to the error of a restore whose plan stands what comes of it.
func (s *offline) explainPlan(err error) error {
	if err == nil {
		return nil
	}
	names, listErr := s.fs.List(s.dir)
	if listErr != nil || !slices.Contains(names, filepath.Base(s.planPath())) {
		return err
	}
	giveUp := ""
	if slices.Contains(names, "meta") && slices.Contains(names, filepath.Base(s.freshMeta())) { // nothing was moved yet
		giveUp = "; to give it up, remove " + s.planPath() + " before that"
	}
	return fmt.Errorf("the restore is under way, and the next open of the store finishes it%s: %w", giveUp, err)
}

// finishRestore brings a restore that was cut off to its end, if its plan
// stands, or else removes what it has prepared.
func (s *offline) finishRestore() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	if !slices.Contains(names, filepath.Base(s.planPath())) {
		return s.forgetRestore(names)
	}
	b, err := s.fs.ReadFile(s.planPath())
	if err != nil {
		return err
	}
	p, err := parseRestorePlan(b)
	if err != nil {
		return fmt.Errorf("%s, by which a restore of the metadata was to be finished: %w", s.planPath(), err)
	}
	if void, err := s.void(p, names); err != nil {
		return err
	} else if void {
		s.o.Logger.Warn("a restore of the metadata that was cut off is given up: the store has gone on since", "restore", p.Cause)
		return errors.Join(s.fs.Remove(s.planPath()), s.fs.SyncDir(s.dir), s.forgetRestore(names))
	}
	if err := s.finish(p); err != nil {
		return fmt.Errorf("a restore of the metadata was cut off and cannot be finished; mend what is told here, and open the store again: %w", noSpace(err))
	}
	s.o.Logger.Warn("a restore of the metadata that was cut off has been finished", "restore", p.Cause, "aside", filepath.Join(s.dir, p.Aside))
	return nil
}

// coming returns where the metadata stands that the next open will have.
func (s *offline) coming() (string, error) {
	names, err := s.fs.List(s.dir)
	if err != nil || !slices.Contains(names, filepath.Base(s.planPath())) || !slices.Contains(names, filepath.Base(s.freshMeta())) {
		return s.metaDir(), err
	}
	b, err := s.fs.ReadFile(s.planPath())
	if err != nil {
		return s.metaDir(), err
	}
	p, err := parseRestorePlan(b)
	if err != nil {
		return s.metaDir(), nil // which the next open says
	}
	if void, err := s.void(p, names); err != nil || void {
		return s.metaDir(), err
	}
	return s.freshMeta(), nil
}

// forgetRestore removes what a restore has prepared. Where there is no metadata
// it is kept: a program that knew no plans may have moved that.
func (s *offline) forgetRestore(names []string) error {
	if !slices.Contains(names, "meta") {
		return nil
	}
	for _, name := range names {
		if name == "restoring.new" || name == filepath.Base(s.freshMeta()) {
			if err := s.fs.RemoveAll(filepath.Join(s.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// void tells that nothing was moved by a plan and the store has gone on since.
func (s *offline) void(p restorePlan, names []string) (bool, error) {
	if !slices.Contains(names, "meta") || !slices.Contains(names, filepath.Base(s.freshMeta())) {
		return false, nil
	}
	durable, err := s.witnessed()
	return durable > p.Present, err
}

func parseRestorePlan(b []byte) (p restorePlan, err error) {
	if err := json.Unmarshal(b, &p); err != nil || p.Format < 1 || !asideForm.MatchString(p.Aside) {
		return p, errf(ErrCorrupt, "it is damaged: remove it and run the restore again")
	}
	if p.Format > restorePlanFormat {
		return p, errf(ErrFormat, "it has format %d, and this program knows %d: use the goldstream that began the restore", p.Format, restorePlanFormat)
	}
	for _, name := range p.Layers {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return p, errf(ErrCorrupt, "it names the layer %q: remove it and run the restore again", name)
		}
	}
	return p, nil
}

// finish moves what is replaced aside, and the metadata that is ready in its
// place. Everything may have been done before.
func (s *offline) finish(p restorePlan) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, filepath.Base(s.freshMeta())) {
		aside := filepath.Join(s.dir, p.Aside)
		if err := errors.Join(s.fs.Mkdir(aside), s.fs.SyncDir(s.dir)); err != nil {
			return err
		}
		if err := s.replaceMeta(s.freshMeta(), aside, p.Layers); err != nil {
			return err
		}
	} else if !slices.Contains(names, "meta") {
		return errf(ErrCorrupt, "%s is gone, which was to become the metadata: remove %s and run the restore again", s.freshMeta(), s.planPath())
	}
	if err := s.fs.Remove(s.planPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.fs.SyncDir(s.dir)
}
