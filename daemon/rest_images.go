package daemon

import (
	"context"
	"errors"
	"io"

	"goldstream/api/rest"
	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize/attribute"
)

// AddImage imports an image, and then gives it its record. An image whose record
// cannot be made is removed again.
func (b restBackend) AddImage(ctx context.Context, how rest.How, name string, r io.Reader, head func() (model.Meta, error)) (rest.Done, error) {
	if err := b.freeGolden(ctx, model.Meta{Name: name}); err != nil {
		return rest.Done{}, err // before a large upload
	}
	disk, err := b.freeDisk(ctx, name)
	if err != nil {
		return rest.Done{}, err
	}
	info, err := b.ImportStream(ctx, r, -1, blockstore.ImportRequest{Name: disk})
	if err != nil {
		return rest.Done{}, err
	}
	m, err := head()
	if err != nil {
		return rest.Done{}, errors.Join(err, b.dropImage(ctx, info))
	}
	return b.recordImage(ctx, how, m, info)
}

// freeGolden refuses a name that is none, or taken.
func (b restBackend) freeGolden(ctx context.Context, m model.Meta) error {
	if err := (&model.GoldenImage{Meta: m, Image: "-", ImageID: "-"}).Validate(); err != nil {
		return err
	}
	return b.view(ctx, func(r *store.Reader) error {
		_, err := r.ByName(model.GoldenImages, m.Name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = &v1.Error{Code: v1.CodeExists, Message: "there is a golden image " + quoted(m.Name) + " already", Advice: "Choose another name, or delete that one."}
		}
		return err
	})
}

// freeDisk is a name for the block store, which does not take all that resources
// may be called.
func (b restBackend) freeDisk(ctx context.Context, name string) (string, error) {
	disk := storeName(name)
	_, err := b.Image(ctx, disk)
	switch {
	case errors.Is(err, blockstore.ErrNotFound):
		return disk, nil
	case err != nil:
		return "", err
	}
	return b.d.freeImage(ctx, disk, nil)
}

// recordImage makes the record of an image that was just made, or removes it.
func (b restBackend) recordImage(ctx context.Context, how rest.How, m model.Meta, info blockstore.ImageInfo) (rest.Done, error) {
	how.Task, how.ETag = true, ""
	done, err := b.Save(ctx, how, func(*store.Reader) (rest.Wanted, error) {
		return rest.Wanted{Resource: &model.GoldenImage{Meta: m, Image: info.Name, ImageID: info.ID, Size: info.Size}}, nil
	})
	if err != nil {
		err = errors.Join(err, b.dropImage(ctx, info))
	}
	return done, err
}

func (b restBackend) dropImage(ctx context.Context, info blockstore.ImageInfo) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return b.Store.DeleteImage(ctx, info.Name, "")
}

// CaptureVolume makes an image of what a volume holds: at once or, by steps, in a
// task whose image has no record, and so no description, until somebody gives it one.
func (b restBackend) CaptureVolume(ctx context.Context, how rest.How, volume *model.OSVolume, plan *model.BuildPlan, head model.Meta) (rest.Done, error) {
	if plan != nil && plan.Type != "capture" {
		return rest.Done{}, attribute.Invalid("build plan %q is of the type %s: a capture needs one of type capture", plan.Name, plan.Type)
	}
	steps := plan != nil && len(plan.Steps) > 0
	if !steps {
		if done, known, err := b.Repeated(ctx, how); known || err != nil {
			return done, err
		}
	}
	if err := b.freeGolden(ctx, head); err != nil {
		return rest.Done{}, err
	}
	disk, err := b.freeDisk(ctx, head.Name)
	if err != nil {
		return rest.Done{}, err
	}
	if steps {
		i, err := b.Capture(ctx, v1.CaptureByPlan{Volume: volume.Name, Plan: string(plan.URI), Name: disk}, how.RequestID)
		return rest.Done{Task: &i}, err
	}
	info, err := b.CaptureImage(ctx, volume.Name, blockstore.ImportRequest{Name: disk})
	if err != nil {
		return rest.Done{}, err
	}
	return b.recordImage(ctx, how, head, info)
}

// removeImage removes the disk of an image whose record is gone, or that never had
// one, unless its name is another's by now.
func (b restBackend) removeImage(ctx context.Context, g *model.GoldenImage) error {
	info, err := b.Image(ctx, g.Image)
	if errors.Is(err, blockstore.ErrNotFound) || err == nil && info.ID != g.ImageID {
		return nil
	}
	if err != nil {
		return err
	}
	return b.DeleteImage(ctx, g.Image, "")
}
