package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize/attribute"
)

// kindOf pairs the collections of the API with those of the store.
func kindOf(c v1.Collection) model.Kind {
	switch c {
	case v1.HardwareCollection:
		return model.ServerHardwares
	case v1.TypeCollection:
		return model.HardwareTypes
	case v1.EnclosureCollection:
		return model.Enclosures
	case v1.GroupCollection:
		return model.EnclosureGroups
	case v1.LogicalCollection:
		return model.LogicalEnclosures
	}
	return ""
}

// Resources lists a collection by name.
func (b *backend) Resources(ctx context.Context, c v1.Collection) (list []v1.Resource, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		t := newTeller(r)
		return r.Each(kindOf(c), func(res model.Resource) error {
			told, err := t.tell(res)
			list = append(list, told)
			return err
		})
	})
	slices.SortFunc(list, func(a, b v1.Resource) int { return strings.Compare(a.Head().Name, b.Head().Name) })
	return list, err
}

// Resource describes one resource.
func (b *backend) Resource(ctx context.Context, c v1.Collection, name string) (told v1.Resource, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		res, err := find(r, kindOf(c), name)
		if err != nil {
			return err
		}
		told, err = newTeller(r).tell(res)
		return err
	})
	return told, err
}

// find returns a resource by its name or URI.
func find(r *store.Reader, k model.Kind, nameOrURI string) (model.Resource, error) {
	if u := model.URI(nameOrURI); u.Kind() == k {
		return r.Get(u)
	}
	return r.ByName(k, nameOrURI)
}

// reference returns the URI of what a request names, "" for "".
func reference(r *store.Reader, of, field string, k model.Kind, nameOrURI string) (model.URI, error) {
	if nameOrURI == "" {
		return "", nil
	}
	res, err := find(r, k, nameOrURI)
	if errors.Is(err, store.ErrNotFound) {
		return "", attribute.Invalid("%s of %q is %q, but none of the %s is called that: add it first", field, of, nameOrURI, k)
	}
	if err != nil {
		return "", err
	}
	return res.Head().URI, nil
}

// CreateResource makes a resource.
func (b *backend) CreateResource(ctx context.Context, in v1.Resource, how v1.Change) (v1.Outcome, error) {
	return b.changeResource(ctx, how, "create", func(tx *store.Tx) (model.Resource, error) {
		res, err := understand(&tx.Reader, in, nil)
		if err != nil {
			return nil, err
		}
		return res, tx.Create(res)
	})
}

// ReplaceResource changes a resource.
func (b *backend) ReplaceResource(ctx context.Context, name string, in v1.Resource, how v1.Change) (v1.Outcome, error) {
	return b.changeResource(ctx, how, "change", func(tx *store.Tx) (model.Resource, error) {
		old, err := present(tx, in.Collection(), name, how)
		if err != nil {
			return nil, err
		}
		if in.Head().Name == "" {
			in.Head().Name = old.Head().Name
		}
		next, err := understand(&tx.Reader, in, old)
		if err != nil || sameResource(old, next) {
			return next, err
		}
		if isDefault(old) && next.Head().Name != old.Head().Name {
			return nil, attribute.Invalid("%s keeps its name: servers without an enclosure belong there", old.Head().URI)
		}
		return next, tx.Save(next)
	})
}

// DeleteResource deletes a resource that nothing refers to.
func (b *backend) DeleteResource(ctx context.Context, c v1.Collection, name string, how v1.Change) (v1.Outcome, error) {
	return b.changeResource(ctx, how, "delete", func(tx *store.Tx) (model.Resource, error) {
		old, err := present(tx, c, name, how)
		if err != nil {
			return nil, err
		}
		if isDefault(old) {
			return nil, attribute.Invalid("%s cannot be deleted: servers for which nothing else is named belong there", old.Head().URI)
		}
		return nil, tx.Delete(old.Head().URI, old.Head().ETag)
	})
}

// changeResource makes one update and tells what became of the resource.
func (b *backend) changeResource(ctx context.Context, how v1.Change, why string, fn func(*store.Tx) (model.Resource, error)) (out v1.Outcome, err error) {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return out, err
	}
	out.DryRun = how.DryRun
	out.Effects = []v1.Effect{}
	var res model.Resource
	err = s.Update(ctx, store.Cause{Who: "api", Why: why}, func(tx *store.Tx) error {
		if res, err = fn(tx); err == nil && how.DryRun {
			err = errDry
		}
		return err
	})
	if err != nil && !errors.Is(err, errDry) || res == nil {
		return out, ignoreDry(err)
	}
	err = s.View(ctx, func(r *store.Reader) error {
		out.Resource, err = newTeller(r).tell(res)
		return err
	})
	return out, err
}

func ignoreDry(err error) error {
	if errors.Is(err, errDry) {
		return nil
	}
	return err
}

// present returns a resource that is to be changed, if it is in the state that
// the client knows.
func present(tx *store.Tx, c v1.Collection, name string, how v1.Change) (model.Resource, error) {
	old, err := find(&tx.Reader, kindOf(c), name)
	if err != nil {
		return nil, err
	}
	if how.ETag != "" && how.ETag != store.AnyETag && how.ETag != old.Head().ETag {
		return nil, &v1.Error{
			Code: v1.CodeStale, Message: old.Head().Name + " was changed meanwhile: its eTag is " + old.Head().ETag + ", not " + how.ETag,
			Advice: "Read it again and repeat the change.",
		}
	}
	return old, nil
}

func isDefault(res model.Resource) bool {
	u := res.Head().URI
	return u == model.DefaultURI(u.Kind())
}
