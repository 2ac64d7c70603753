package daemon

import (
	"context"

	"goldstream/blockstore"
)

// slots bounds how much of one kind runs at once.
type slots chan struct{}

// enter waits for a slot, and tells so if it has to. Call leave when done.
func (s slots) enter(ctx context.Context, progress func(blockstore.Progress)) (leave func(), err error) {
	leave = func() { <-s }
	select {
	case s <- struct{}{}:
		return leave, nil
	default:
	}
	if progress != nil {
		progress(blockstore.Progress{Stage: "wait", Total: -1})
	}
	select {
	case s <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
