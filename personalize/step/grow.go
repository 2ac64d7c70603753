package step

import (
	"context"
	"errors"

	"goldstream/personalize/attribute"
)

// Grower is a tree whose root file system can be made as large as the disk allows.
// Where it is so already nothing happens.
type Grower interface {
	GrowRoot(ctx context.Context) error
}

// planGrow cannot know how large file systems get: it is always to be done, and
// the second time changes nothing.
func planGrow(tree Files) ([]Op, error) {
	if _, ok := tree.(Grower); !ok {
		return nil, attribute.Invalid("a growRoot step needs a whole disk, and here is none")
	}
	return []Op{{Path: "/", Grow: true}}, nil
}

func grow(ctx context.Context, tree Files) error {
	g, ok := tree.(Grower)
	if !ok {
		return errors.ErrUnsupported
	}
	return g.GrowRoot(ctx)
}
