package rest

import (
	"encoding/json"
	"net/http"

	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
)

// Answer is what a verb answers with once the change was accepted.
type Answer int

// The answers.
const (
	Refused Answer = iota // there is no such verb
	AsResource
	AsTask
	// Empty is 204 without a body; of a deletion only.
	Empty
)

// Version is a type's name from a version of the API on.
type Version struct {
	From int
	Name string
}

// From is a type's name from a version on.
func From(version int, name string) Version { return Version{version, name} }

// Resource says how clients see one kind of the model, declaratively: routes,
// lists, names, eTags, times and status codes follow from it.
type Resource struct {
	Kind  model.Kind
	Path  string    // default: that of the kind
	Types []Version // by rising version, the first for all that are older
	// Show fills in the fields of the kind.
	Show func(v *View, res model.Resource, o Object) error
	// Take makes what a client wants of the fields it sent; old is what it
	// replaces, or nil. Name, description and what is only kept are filled in.
	Take func(v *View, f *Fields, meta model.Meta, old model.Resource) (Wanted, error)
	// Told are fields that Show fills in and clients send back.
	Told []string
	// Hidden tells of what is not shown. May be nil.
	Hidden func(model.Resource) bool
	// Others lists what is there beside the resources of the store. May be nil.
	Others func(v *View) ([]model.Resource, error)

	Create, Replace, Delete Answer
}

// View is a state of the store in which an answer is made.
type View struct {
	*Call
	*store.Reader
	names map[model.URI]string
	known map[string]any
}

// Known is something that many objects of an answer need, found once.
func Known[T any](v *View, key string, find func() (T, error)) (T, error) {
	if known, ok := v.known[key]; ok {
		return known.(T), nil
	}
	found, err := find()
	if err == nil {
		v.known[key] = found
	}
	return found, err
}

// Name is what a resource is called, "" of what is gone.
func (v *View) Name(u model.URI) string {
	if name, ok := v.names[u]; ok || u == "" {
		return name
	}
	name := ""
	if res, err := v.Get(u); err == nil {
		name = res.Head().Name
	}
	v.names[u] = name
	return name
}

// Dependents are those of a kind that refer to a resource.
func (v *View) Dependents(u model.URI, kind model.Kind) ([]Object, error) {
	list := []Object{}
	users, err := v.Referrers(u)
	for _, user := range users {
		if user.Kind() == kind {
			list = append(list, Object{"name": v.Name(user), "uri": string(user)})
		}
	}
	return list, err
}

// TypeOf is a type's name in the version that the client speaks.
func (c *Call) TypeOf(types []Version) string {
	name := types[0].Name
	for _, t := range types {
		if c.Version >= t.From {
			name = t.Name
		}
	}
	return name
}

// View runs fn on one state of the store.
func (c *Call) View(fn func(*View) error) error { return c.view(fn) }

func (c *Call) view(fn func(*View) error) error {
	return c.Backend.View(c.Context(), func(r *store.Reader) error { return fn(c.at(r)) })
}

func (c *Call) at(r *store.Reader) *View {
	return &View{c, r, map[model.URI]string{}, map[string]any{}}
}

func (res *Resource) path() string {
	if res.Path != "" {
		return res.Path
	}
	return "/rest/" + string(res.Kind)
}

func (res *Resource) routes() []Route {
	list := []Route{
		{"GET " + res.path(), res.list}, {"GET " + res.path() + "/{$}", res.list},
		{"GET " + res.path() + "/{id}", res.get},
	}
	if res.Create != Refused {
		list = append(list, Route{"POST " + res.path(), res.create})
	}
	if res.Replace != Refused {
		list = append(list, Route{"PUT " + res.path() + "/{id}", res.replace})
	}
	if res.Delete != Refused {
		list = append(list, Route{"DELETE " + res.path() + "/{id}", res.remove})
	}
	return list
}

// Object is a resource as the client sees it.
func (res *Resource) Object(v *View, r model.Resource) (Object, error) {
	o := Object{}
	o.head(v.TypeOf(res.Types), r.Head())
	return o, res.Show(v, r, o)
}

func (res *Resource) list(c *Call) error {
	var all []Object
	err := c.view(func(v *View) error {
		each := func(r model.Resource) error {
			if res.Hidden != nil && res.Hidden(r) {
				return nil
			}
			o, err := res.Object(v, r)
			all = append(all, o)
			return err
		}
		if err := v.Each(res.Kind, each); err != nil || res.Others == nil {
			return err
		}
		others, err := res.Others(v)
		for _, r := range others {
			if err == nil {
				err = each(r)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.List(all)
}

// Find returns the resource that a request names.
func (res *Resource) Find(v *View) (model.Resource, error) {
	u := model.URI("/rest/" + string(res.Kind) + "/" + v.PathValue("id"))
	if u.Kind() != res.Kind {
		return nil, Missing(string(u))
	}
	r, err := v.Get(u)
	if err == nil && res.Hidden != nil && res.Hidden(r) {
		return nil, Missing(string(u))
	}
	if err == nil || res.Others == nil {
		return r, err
	}
	others, errOthers := res.Others(v)
	for _, r := range others {
		if r.Head().URI == u {
			return r, nil
		}
	}
	if errOthers != nil {
		err = errOthers
	}
	return nil, err
}

func (res *Resource) get(c *Call) error {
	var o Object
	err := c.view(func(v *View) error {
		r, err := res.Find(v)
		if err == nil {
			o, err = res.Object(v, r)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, o)
}

// wanted makes what a client wants of the fields that it sent.
func (res *Resource) wanted(v *View, f *Fields, old model.Resource) (Wanted, error) {
	var meta model.Meta
	if old != nil {
		meta = *old.Head()
	}
	meta.Name, meta.Description = f.TextOr("name", meta.Name), f.TextOr("description", meta.Description)
	w, err := res.Take(v, f, meta, old)
	if wrong := f.Err(); wrong != nil { // the cause of what else is wrong
		err = wrong
	}
	if err != nil {
		return w, err
	}
	f.Ignore(res.Told...)
	extra := f.Extra()
	for key, value := range w.Kept {
		if extra == nil {
			extra = map[string]json.RawMessage{}
		}
		extra[key] = value
	}
	w.Resource.Head().Extra = extra
	return w, f.Err()
}

func (res *Resource) create(c *Call) error {
	f, how, err := c.change()
	if err != nil {
		return err
	}
	how.Task = res.Create == AsTask
	how.ETag = ""
	done, err := c.Backend.Save(c.Context(), how, func(r *store.Reader) (Wanted, error) {
		return res.wanted(c.at(r), f.again(), nil)
	})
	if err != nil {
		return err
	}
	return res.answer(c, res.Create, http.StatusCreated, done)
}

// Put replaces a resource.
func (res *Resource) Put(c *Call) error { return res.replace(c) }

func (res *Resource) replace(c *Call) error {
	f, how, err := c.change()
	if err != nil {
		return err
	}
	how.Task = res.Replace == AsTask
	done, err := c.Backend.Save(c.Context(), how, func(r *store.Reader) (Wanted, error) {
		v := c.at(r)
		old, err := res.Find(v)
		if err != nil {
			return Wanted{}, err
		}
		return res.wanted(v, f.again(), old)
	})
	if err != nil {
		return err
	}
	return res.answer(c, res.Replace, http.StatusOK, done)
}

// Edit changes a resource otherwise than by a PUT of all of it, and answers as
// one does. edit gets a resource of its own.
func (res *Resource) Edit(c *Call, edit func(*View, model.Resource) error) error {
	how, err := c.how()
	if err != nil {
		return err
	}
	how.Task = res.Replace == AsTask
	done, err := c.Backend.Save(c.Context(), how, func(r *store.Reader) (Wanted, error) {
		v := c.at(r)
		old, err := res.Find(v)
		if err == nil {
			err = edit(v, old)
		}
		return Wanted{Resource: old, Deployment: true, Values: true}, err
	})
	if err != nil {
		return err
	}
	return res.answer(c, res.Replace, http.StatusOK, done)
}

func (res *Resource) remove(c *Call) error {
	how, err := c.how()
	if err != nil {
		return err
	}
	before, repeated, err := c.Backend.Repeated(c.Context(), how)
	if err != nil {
		return err
	}
	var old model.Resource
	err = c.view(func(v *View) (err error) {
		old, err = res.Find(v)
		return err
	})
	if err != nil && repeated {
		return res.answer(c, res.Delete, http.StatusOK, before) // it is gone already
	}
	if err != nil {
		return err
	}
	how.Task = res.Delete == AsTask
	done, err := c.Backend.Delete(c.Context(), how, old) // finishes what a repeated one left
	if err != nil {
		return err
	}
	return res.answer(c, res.Delete, http.StatusOK, done)
}

func (res *Resource) answer(c *Call, a Answer, status int, done Done) error {
	switch {
	case c.how0().DryRun:
		return c.Answer(http.StatusOK, Object{"dryRun": true, "effects": List(done.Effects)})
	case a == AsTask && done.Task != nil:
		return c.Accepted(*done.Task)
	case a == Empty:
		c.W.WriteHeader(http.StatusNoContent)
		return nil
	}
	var o Object
	err := c.view(func(v *View) error {
		r, err := v.Get(done.URI)
		if err == nil {
			o, err = res.Object(v, r)
		}
		return err
	})
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		c.W.Header().Set("Location", string(done.URI))
	}
	return c.Answer(status, o)
}
