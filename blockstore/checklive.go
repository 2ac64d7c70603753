package blockstore

import (
	"context"
	"time"
)

// A store in service changes while it is checked. Its records are read at one
// instant, at which they are as whole as a crash would find them; its files are
// seen later, when some are gone whose records stood then, and some are new.
// What is found for such a reason is not found again: the second pass reads the
// records anew, and by then the deletion that let a file go is in them, for it
// is committed before the file goes, as a new file's record is before the file
// comes. No path and no record is used twice. So only what both passes find is
// told, and there is no second pass where the first finds nothing.

// Check checks a store in service, and changes nothing. It takes at most half of
// the time of one processor.
//
// What is damaged is in the report. Errors: ErrInUse (a check is running),
// ErrNoSpace, ErrFailed (check it at rest), the context's, what the host refuses.
func (s *Store) Check(ctx context.Context, progress func(Progress)) (CheckReport, error) {
	release, err := s.begin()
	if err != nil {
		return CheckReport{}, err
	}
	defer release()
	if s.checking.Swap(true) {
		return CheckReport{}, errf(ErrInUse, "a check of the store is running: wait for it to end")
	}
	defer s.checking.Store(false)
	first, err := s.checkPass(ctx, "check", progress)
	if err != nil {
		return CheckReport{}, err
	}
	if len(first.found) == 0 {
		return first.liveReport(1), nil
	}
	second, err := s.checkPass(ctx, "check again", progress)
	if err != nil {
		return CheckReport{}, err
	}
	second.keepCommon(first)
	return second.liveReport(2), nil
}

func (s *Store) checkPass(ctx context.Context, stage string, progress func(Progress)) (*checker, error) {
	c := newChecker(ctx, s)
	c.pace, c.stage, c.progress = &pace{since: time.Now()}, stage, progress
	err := s.atOneInstant(ctx, func(meta string) error {
		return c.look(&offline{s}, meta, func(*Store) error { return c.pause() })
	})
	return c, err
}

// keepCommon drops what another pass has not found too.
func (c *checker) keepCommon(other *checker) {
	for key, f := range c.found {
		was := other.found[key]
		if was == nil || was.Severity != f.Severity {
			delete(c.found, key)
			continue
		}
		if len(f.blocks) == 0 {
			continue
		}
		if f.blocks.keep(was.blocks); len(f.blocks) == 0 {
			delete(c.found, key)
		}
	}
}

func (c *checker) liveReport(passes int) CheckReport {
	r := c.report()
	r.InService, r.Passes = true, passes
	return r
}

// pace has work rest as long as it worked.
type pace struct{ since time.Time }

const paceWork = 10 * time.Millisecond

func (p *pace) rest(ctx context.Context) error {
	worked := time.Since(p.since)
	if worked < paceWork {
		return nil
	}
	// A machine that was busy otherwise makes no long rest.
	t := time.NewTimer(min(worked, 10*paceWork))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		p.since = time.Now()
		return nil
	}
}
