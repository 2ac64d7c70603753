package blockstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// keeper takes the checksums of captured images, in the background, out of the
// one budget of background I/O: a capture seals a volume of any size in
// milliseconds, and reads nothing. It commits the sums every few regions, with
// how far it is, and goes on from there after a restart. The image that it
// reads is open meanwhile, so that its data stays if its name goes.
//
// A region that cannot be read has no sum, and neither have those after it:
// then the image has no content id until the region can be read again.
type keeper struct {
	s      *Store
	wakeup chan struct{}
	ctx    context.Context // ends with errStopped
	quit   context.CancelCauseFunc
	done   chan struct{}

	mu struct {
		sync.Mutex
		claims map[layerID]*claim
	}
}

// claim is the right to take the sums of a version.
type claim struct {
	ended  chan struct{}
	wanted bool // by others
}

// keepEvery is how often the keeper looks for itself, for what failed.
const keepEvery = 10 * time.Minute

func startKeeper(s *Store) *keeper {
	k := &keeper{s: s, wakeup: make(chan struct{}, 1), done: make(chan struct{})}
	k.ctx, k.quit = context.WithCancelCause(context.Background())
	k.mu.claims = map[layerID]*claim{}
	if s.o.ReadOnly {
		close(k.done)
		return k
	}
	k.wake()
	go k.run()
	return k
}

// wake has the keeper look for images without sums. It never blocks.
func (k *keeper) wake() {
	select {
	case k.wakeup <- struct{}{}:
	default:
	}
}

func (k *keeper) stop() {
	k.quit(errStopped)
	<-k.done
}

func (k *keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-tick.C:
		case <-k.wakeup:
		}
		k.round()
	}
}

// round takes the sums of all images that have none, oldest first.
func (k *keeper) round() {
	for _, name := range k.s.cat.unsummed() {
		err := k.image(name)
		switch {
		case k.ctx.Err() != nil || k.s.usable() != nil:
			return
		case errors.Is(err, ErrNotFound) || errors.Is(err, errYield):
		case err != nil:
			k.s.o.Logger.Warn("checksums of a captured image not taken; tried again in ten minutes", "image", name, "err", err)
		}
	}
}

// unsummed lists the images without a content id.
func (c *catalogue) unsummed() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*imageEntry
	for _, e := range c.mu.images {
		if e.info().ContentID == "" {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *imageEntry) int {
		if d := a.rec.Created.Compare(b.rec.Created); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
	for _, e := range list {
		names = append(names, e.name)
	}
	return names
}

func (k *keeper) image(name string) error {
	d, err := k.s.OpenImage(k.ctx, name)
	if err != nil {
		return err
	}
	defer d.Close()
	report := VerifyReport{Image: name}
	c := newVerifier(k.s, d.image, &report)
	defer c.close()
	cl, mine := k.take(c.id)
	if !mine {
		return errYield
	}
	defer k.release(c.id, cl)
	if err := c.learnRest(); err != nil || !c.learn {
		return err
	}
	c.yield = func() bool { return k.isWanted(cl) || !k.s.cat.named(d.image) }
	if err := c.run(k.ctx); err != nil {
		return err
	}
	if len(report.Bad) > 0 {
		return errf(ErrCorrupt, "at byte %d: %s", report.Bad[0].Offset, report.Bad[0].Reason)
	}
	k.s.o.Logger.Info("checksums of a captured image taken", "image", name, "bytes", report.Learnt)
	return nil
}

// named tells that the version of a view still has a name.
func (c *catalogue) named(v *view) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := v.lineage.at(v.version)
	return at != nil && at.names > 0
}

// take claims a version if nobody else has.
func (k *keeper) take(id layerID) (cl *claim, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cl := k.mu.claims[id]; cl != nil {
		return cl, false
	}
	cl = &claim{ended: make(chan struct{})}
	k.mu.claims[id] = cl
	return cl, true
}

func (k *keeper) release(id layerID, cl *claim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.mu.claims, id)
	close(cl.ended)
}

func (k *keeper) isWanted(cl *claim) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return cl.wanted
}

// claim takes a version from the keeper, which lets go of it with its next
// region, or waits for whoever else has it.
func (k *keeper) claim(ctx context.Context, id layerID) (release func(), err error) {
	for {
		cl, mine := k.take(id)
		if mine {
			return func() { k.release(id, cl); k.wake() }, nil
		}
		k.mu.Lock()
		cl.wanted = true
		k.mu.Unlock()
		select {
		case <-cl.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
