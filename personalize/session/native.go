package session

import (
	"context"
	"errors"
	"fmt"

	"goldstream/personalize"
	"goldstream/personalize/inspect"
	"goldstream/personalize/step"
)

// native plans and applies a step on the tree that is mounted.
func (x *run) native(ctx context.Context, s personalize.PlanStep) error {
	optional := s.Native.Generalize != nil && s.Native.Generalize.IfSystem
	switch err := x.mount(ctx); {
	case optional && errors.Is(err, inspect.ErrNoLinux):
		x.o.Logf("generalize did nothing: %v", err)
		return nil
	case optional && err != nil:
		return fmt.Errorf("%w; deploy as it is (--as-is) if the disk's identity may stay", err)
	case err != nil:
		return err
	}
	tree := cellFiles{x.cell, x.o.RSAKey}
	ops, err := s.Native.Plan(ctx, tree, x.plan.Values.Lookup)
	if err != nil {
		return err
	}
	for _, op := range ops {
		x.o.Logf("%s", op)
	}
	if len(ops) == 0 {
		x.o.Logf("it is so already")
	}
	return step.Apply(ctx, tree, ops)
}

// mount mounts the disk's operating system, unless a step before has mounted what
// it meant.
func (x *run) mount(ctx context.Context) error {
	if x.mounted {
		return nil
	}
	have, err := x.cell.Mounts(ctx)
	if err != nil || len(have) > 0 {
		return err
	}
	device, err := inspect.MountRoot(ctx, x.cell)
	if err != nil {
		return err
	}
	x.mounted = true
	x.o.Logf("the root file system is on %s", device)
	return nil
}
