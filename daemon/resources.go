package daemon

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
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
	case v1.TemplateCollection:
		return model.ProfileTemplates
	case v1.ProfileCollection:
		return model.ServerProfiles
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
	if p, ok := in.(*v1.Profile); ok {
		return b.createProfile(ctx, p, how)
	}
	what := word(in.Collection()) + " " + in.Head().Name
	return b.carryOut(ctx, wish{how, "create " + what, in, func(ch *change) error {
		res, err := understand(&ch.tx.Reader, in, nil)
		if err != nil {
			return err
		}
		res.Head().URI = model.URI(strings.Replace(string(ch.newProfile), string(model.ServerProfiles), string(res.Kind()), 1))
		ch.res = res
		return ch.tx.Create(res)
	}})
}

// ReplaceResource changes a resource.
func (b *backend) ReplaceResource(ctx context.Context, name string, in v1.Resource, how v1.Change) (v1.Outcome, error) {
	if p, ok := in.(*v1.Profile); ok {
		return b.replaceProfile(ctx, name, p, how)
	}
	what := word(in.Collection()) + " " + name
	return b.carryOut(ctx, wish{how, "change " + what, in, func(ch *change) error {
		old, err := present(ch.tx, in.Collection(), name, how)
		if err != nil {
			return err
		}
		ch.subject = string(old.Head().URI)
		if in.Head().Name == "" {
			in.Head().Name = old.Head().Name
		}
		next, err := understand(&ch.tx.Reader, in, old)
		if err != nil {
			return err
		}
		if ch.res = next; sameResource(old, next) {
			return nil
		}
		if err := keepsName(old, next); err != nil {
			return err
		}
		if err := ch.edited(old, next); err != nil {
			return err
		}
		ch.res = next
		return ch.tx.Save(next)
	}})
}

// DeleteResource deletes a resource that nothing refers to.
func (b *backend) DeleteResource(ctx context.Context, c v1.Collection, name string, how v1.Change) (v1.Outcome, error) {
	if c == v1.ProfileCollection {
		return b.deleteProfile(ctx, name, how)
	}
	what := word(c) + " " + name
	return b.carryOut(ctx, wish{how, "delete " + what, name, func(ch *change) error {
		old, err := present(ch.tx, c, name, how)
		if err != nil {
			return err
		}
		ch.subject = string(old.Head().URI)
		if isDefault(old) {
			return attribute.Invalid("%s cannot be deleted: servers for which nothing else is named belong there", old.Head().URI)
		}
		if err := ch.deleted(old); err != nil {
			return err
		}
		ch.res = nil // of profiles that it concerned
		return ch.tx.Delete(old.Head().URI, old.Head().ETag)
	}})
}

// edited asks the rules about a resource that profiles depend on.
func (ch *change) edited(old, next model.Resource) error {
	switch old := old.(type) {
	case *model.ServerHardware:
		return ch.editedHardware(old, next.(*model.ServerHardware))
	case *model.LogicalEnclosure:
		return ch.editedLogical(old, next.(*model.LogicalEnclosure))
	case *model.EnclosureGroup:
		if next.(*model.EnclosureGroup).NoDeployment && !old.NoDeployment {
			return ch.elsewhere([]rules.Event{{Kind: rules.DeploymentOff, Subject: old.URI}}, nil)
		}
	}
	return nil
}

// editedHardware asks if the server may be another, or stand elsewhere. What
// only describes it disturbs nobody.
func (ch *change) editedHardware(old, next *model.ServerHardware) error {
	if sameServer(old, next) && old.Type == next.Type && old.InEnclosure() == next.InEnclosure() {
		return nil
	}
	e := rules.Event{Kind: rules.ReplaceHardware, Subject: old.URI, NewType: next.Type}
	le, err := ch.homeOf(next.InEnclosure())
	if err != nil {
		return err
	}
	if le != nil {
		e.NewHome = le.URI
	}
	return ch.elsewhere([]rules.Event{e}, nil)
}

// sameServer tells whether two records can be of one server: with the UUID, in
// whatever case, and at least the MAC addresses that it had, in any order. Cards
// are added to servers. Where no UUID and no address was known there is nothing to
// know it by.
func sameServer(old, next *model.ServerHardware) bool {
	if !strings.EqualFold(old.UUID, next.UUID) {
		return false
	}
	if old.UUID == "" && len(old.MACs) == 0 {
		return len(next.MACs) == 0
	}
	return !slices.ContainsFunc(old.MACs, func(mac string) bool {
		return !slices.ContainsFunc(next.MACs, func(m string) bool { return sameMAC(m, mac) })
	})
}

// sameMAC compares addresses of which one may not be in the one form yet.
func sameMAC(a, b string) bool {
	x, errX := net.ParseMAC(a)
	y, errY := net.ParseMAC(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func (ch *change) editedLogical(old, next *model.LogicalEnclosure) error {
	var events []rules.Event
	for _, e := range old.Enclosures {
		if !slices.Contains(next.Enclosures, e) {
			events = append(events, rules.Event{Kind: rules.RemoveEnclosure, Subject: e, Home: old.URI})
		}
	}
	if old.Group != next.Group {
		events = append(events, rules.Event{Kind: rules.MoveEnclosure, Subject: old.URI})
	}
	return ch.elsewhere(events, nil)
}

// deleted asks the rules about a resource that goes.
func (ch *change) deleted(old model.Resource) error {
	uri := old.Head().URI
	switch old.(type) {
	case *model.LogicalEnclosure:
		return ch.elsewhere([]rules.Event{{Kind: rules.DeleteEnclosure, Subject: uri}}, nil)
	case *model.HardwareType:
		return ch.elsewhere([]rules.Event{{Kind: rules.DeleteType, Subject: uri}}, nil)
	case *model.ServerHardware:
		return ch.elsewhere([]rules.Event{{Kind: rules.RemoveHardware, Subject: uri}}, func(_ rules.Event, p *model.ServerProfile) { p.Hardware = "" })
	}
	return nil
}

// word is what one of a collection is called.
func word(c v1.Collection) string { return strings.TrimSuffix(string(c), "s") }

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

// keepsName refuses another name for what is there always.
func keepsName(old, next model.Resource) error {
	if isDefault(old) && next.Head().Name != old.Head().Name {
		return attribute.Invalid("%s keeps its name: servers without an enclosure belong there", old.Head().URI)
	}
	return nil
}

func isDefault(res model.Resource) bool {
	u := res.Head().URI
	return u == model.DefaultURI(u.Kind())
}
