package daemon

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"goldstream/api/imagestreamer"
	"goldstream/api/oneview"
	"goldstream/api/rest"
	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/personalize/attribute"
)

// restBackend is the store as the APIs of old want it: by URIs, in the model's
// own types.
type restBackend struct{ *backend }

var _ rest.Backend = restBackend{}

// restHandler serves the APIs of old.
func (b *backend) restHandler(gate rest.Gate) http.Handler {
	return rest.NewHandler(rest.Options{Backend: restBackend{b}, Gate: gate, Logger: b.d.log}, imagestreamer.Tree(), oneview.Tree())
}

// withRest serves the APIs of old beside another.
func withRest(other, old http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/rest/") || r.URL.Path == "/null" {
			old.ServeHTTP(w, r)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// View runs fn on one state of the store.
func (b restBackend) View(ctx context.Context, fn func(*store.Reader) error) error {
	return b.view(ctx, fn)
}

// wishOf is a change of one resource, as far as it is known before it is tried.
func wishOf(how rest.How, verb string, res model.Resource) wish {
	h := res.Head()
	what := restWord(h.URI.Kind()) + " " + h.Name
	w := wish{
		how:  v1.Change{ETag: how.ETag, RequestID: how.RequestID, DryRun: how.DryRun, Confirmed: how.Confirmed},
		name: verb + " " + what, request: res,
	}
	if how.Sent != nil {
		w.request = asSent(how.Sent)
	}
	return w
}

// Repeated finds the task of a request that was sent before.
func (b restBackend) Repeated(ctx context.Context, how rest.How) (done rest.Done, known bool, err error) {
	if how.Sent == nil {
		return done, false, nil
	}
	s, tasks, err := b.d.life(ctx)
	if err != nil {
		return done, false, err
	}
	digest, err := requestDigest(s.Key(), wish{how: v1.Change{RequestID: how.RequestID}, request: asSent(how.Sent)})
	if err != nil {
		return done, false, err
	}
	i, known, err := tasks.Known(how.RequestID, digest)
	return rest.Done{URI: model.URI(i.About), Task: &i}, known, err
}

// restWord is what one of a kind is called in the names of tasks: as api/v1 does,
// so that both keep out of each other's way.
func restWord(k model.Kind) string {
	for _, c := range v1.Collections() {
		if kindOf(c) == k {
			return word(c)
		}
	}
	return strings.TrimSuffix(string(k), "s")
}

// Save makes or changes a resource.
func (b restBackend) Save(ctx context.Context, how rest.How, made func(*store.Reader) (rest.Wanted, error)) (rest.Done, error) {
	if done, known, err := b.Repeated(ctx, how); known || err != nil {
		return done, err // before the store is read: it is another by now
	}
	var first rest.Wanted
	verb := "create"
	err := b.view(ctx, func(r *store.Reader) (err error) {
		if first, err = made(r); err != nil {
			return err
		}
		if first.Resource.Head().URI != "" {
			verb = "change"
		}
		return nil
	})
	if err != nil {
		return rest.Done{}, err
	}
	head := first.Resource.Head()
	if verb == "create" {
		head.URI = model.NewURI(first.Resource.Kind())
	}
	w := wishOf(how, verb, first.Resource)
	w.do = func(ch *change) error {
		in, err := made(&ch.tx.Reader)
		if err != nil {
			return err
		}
		if in.Resource.Head().URI == "" {
			in.Resource.Head().URI = head.URI
		}
		return ch.saveWanted(in, w.how)
	}
	out, err := b.carryOutTraced(ctx, w, trace{always: how.Task})
	return doneOf(head.URI, out), err
}

func doneOf(u model.URI, out v1.Outcome) rest.Done {
	done := rest.Done{URI: u, Task: out.Task}
	for _, e := range out.Effects {
		done.Effects = append(done.Effects, fmt.Sprintf("profile %s, volume %s: %s by row %s (%s)", e.Profile, e.Volume, e.Action, strings.Join(e.Rows, ", "), strings.Join(e.Reasons, "; ")))
	}
	return done
}

// existing is what has a URI, nil if nothing has, if it is in the state that the
// client knows.
func (ch *change) existing(u model.URI, etag string) (model.Resource, error) {
	has, err := ch.tx.Has(u)
	if err != nil || !has {
		return nil, err
	}
	old, err := ch.tx.Get(u)
	if err != nil {
		return nil, err
	}
	return old, fresh(old, etag)
}

// fresh refuses a change of another state than the client knows.
func fresh(old model.Resource, etag string) error {
	if h := old.Head(); etag != "" && etag != store.AnyETag && etag != h.ETag {
		return &v1.Error{
			Code: v1.CodeStale, Message: h.Name + " was changed meanwhile: its eTag is " + h.ETag + ", not " + etag,
			Advice: "Read it again and repeat the change.",
		}
	}
	return nil
}

// saveWanted keeps what a client wants, by the rules for its kind.
func (ch *change) saveWanted(in rest.Wanted, how v1.Change) error {
	next := in.Resource
	old, err := ch.existing(next.Head().URI, how.ETag)
	if err != nil {
		return err
	}
	if p, ok := next.(*model.ServerProfile); ok {
		return ch.saveWantedProfile(in, p, old)
	}
	if t, ok := next.(*model.ProfileTemplate); ok {
		if err := ch.saveWantedTemplate(in, t, old); err != nil {
			return err
		}
	}
	if ch.res = next; old != nil && sameResource(old, next) {
		return nil
	}
	if err := next.Validate(); err != nil {
		return err
	}
	if old != nil {
		if err := keepsName(old, next); err != nil {
			return err
		}
		if err := ch.edited(old, next); err != nil {
			return err
		}
	}
	ch.res = next
	return ch.savePlan(old, next)
}

// saveWantedProfile has the rules decide what a profile comes to.
func (ch *change) saveWantedProfile(in rest.Wanted, p *model.ServerProfile, old model.Resource) (err error) {
	before, _ := old.(*model.ServerProfile)
	q := rules.Request{Profile: *p, GivesDeployment: in.Deployment, GivesValues: in.Values}
	if d := q.Profile.Deployment; d != nil && d.Plan != "" {
		values, err := retyped(&ch.tx.Reader, d.Plan, d.Values)
		if err != nil {
			return err
		}
		q.Profile.Deployment = &model.Deployment{Plan: d.Plan, Values: withoutNICs(values)}
	}
	after := rules.Merge(before, q)
	if before == nil {
		after.URI = p.URI
		if err := ch.fillFromTemplate(&after); err != nil {
			return err
		}
	}
	return ch.saveProfile(rules.Event{Kind: rules.Save, Force: in.Force}, before, &after)
}

// withoutNICs leaves NICs out that have no member: clients send back all attributes
// of a plan as they were shown.
func withoutNICs(values []model.Value) []model.Value {
	return slices.DeleteFunc(values, func(v model.Value) bool {
		return v.Type == attribute.NIC && v.Reveal() == "" && !strings.Contains(v.Name, ".")
	})
}

// fillFromTemplate puts values of a template into a new profile that has the same
// plan and that does not say them itself: passwords, which clients are shown masked.
func (ch *change) fillFromTemplate(p *model.ServerProfile) error {
	if p.Template == "" || p.Plan() == "" {
		return nil
	}
	res, err := ch.tx.Get(p.Template)
	if err != nil {
		return err
	}
	if t := res.(*model.ProfileTemplate); t.Plan() == p.Plan() {
		var secrets []model.Value
		for _, v := range t.Values() {
			if v.Secret() {
				secrets = append(secrets, v)
			}
		}
		p.Deployment = &model.Deployment{Plan: p.Plan(), Values: rules.Filled(p.Values(), secrets)}
	}
	return nil
}

// saveWantedTemplate reads values of a template as those of a profile.
func (ch *change) saveWantedTemplate(in rest.Wanted, t *model.ProfileTemplate, old model.Resource) error {
	var before *model.ServerProfile
	if was, ok := old.(*model.ProfileTemplate); ok {
		before = &model.ServerProfile{Deployment: was.Deployment}
	}
	q := rules.Request{Profile: model.ServerProfile{Deployment: t.Deployment}, GivesDeployment: in.Deployment, GivesValues: in.Values}
	if t.Plan() != "" {
		values, err := retyped(&ch.tx.Reader, t.Plan(), t.Values())
		if err != nil {
			return err
		}
		q.Profile.Deployment = &model.Deployment{Plan: t.Plan(), Values: values}
	}
	t.Deployment = rules.Merge(before, q).Deployment
	return checkTemplate(&ch.tx.Reader, t)
}

// savePlan keeps a resource; of a plan it checks all that stands on it, too.
func (ch *change) savePlan(old, next model.Resource) error {
	im := &planImport{tx: ch.tx}
	switch next := next.(type) {
	case *model.BuildPlan:
		steps, err := stepsOf(&ch.tx.Reader, next.BuildPlan)
		if err != nil {
			return err
		}
		if err := next.CheckSteps(next.Name, steps); err != nil {
			return err
		}
	case *model.DeploymentPlan:
		if err := ch.recordedImage(next.Image); err != nil {
			return err
		}
		if was, ok := old.(*model.DeploymentPlan); ok {
			if err := staySecret(was, next); err != nil {
				return err
			}
		}
		if err := im.checkDeployment(next); err != nil {
			return err
		}
	}
	if old == nil {
		return ch.tx.Create(next)
	}
	if err := ch.tx.Save(next); err != nil {
		return err
	}
	switch next.(type) {
	case *model.PlanScript:
		im.scripts = []model.URI{next.Head().URI}
	case *model.BuildPlan:
		im.builds = []model.URI{next.Head().URI}
	}
	if err := im.checkUsers(); err != nil {
		return err
	}
	return im.retype()
}

// staySecret refuses a plan of which a password would become something that is shown,
// as where another build plan has a text of that name. It refuses whatever the value
// is now, and before other checks, whose errors may show it: the answer would tell if
// it was guessed right.
func staySecret(was, next *model.DeploymentPlan) error {
	for _, v := range was.Values {
		shown := func(n model.Value) bool { return n.Name == v.Name && !n.Secret() }
		if v.Secret() && slices.ContainsFunc(next.Values, shown) {
			return rest.Bad("the value of deployment plan %q for %q is a password, which the build plan does not say: it would be shown. Save the plan without that value first", was.Name, v.Name)
		}
	}
	return nil
}

// recordedImage gives an image that was imported otherwise the record that a plan
// is about to refer to: its URI has the ID of the block store.
func (ch *change) recordedImage(u model.URI) error {
	if u == "" {
		return nil
	}
	if has, err := ch.tx.Has(u); err != nil || has {
		return err
	}
	all, err := ch.b.Images(context.Background()) // in memory
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.ID == u.ID() {
			return ch.tx.Create(&model.GoldenImage{Meta: model.Meta{URI: u, Name: i.Name}, Image: i.Name, ImageID: i.ID, Size: i.Size})
		}
	}
	return rest.Bad("goldenImageURI is %s, which does not exist", u)
}

// checkDeployment checks a deployment plan against its build plan.
func (im *planImport) checkDeployment(p *model.DeploymentPlan) error {
	if p.BuildPlan == "" {
		if len(p.Values) > 0 || len(p.Fixed) > 0 {
			return rest.Bad("deployment plan %q has values but no build plan that they are for", p.Name)
		}
		return nil
	}
	res, err := im.tx.Get(p.BuildPlan)
	if err != nil {
		return rest.Bad("deployment plan %q names the build plan %s, which does not exist", p.Name, p.BuildPlan)
	}
	build := res.(*model.BuildPlan)
	if build.Type != "deploy" {
		return rest.Bad("deployment plan %q names the build plan %q, which is for captures", p.Name, build.Name)
	}
	return build.CheckValues(p.Values)
}

// Delete deletes a resource.
func (b restBackend) Delete(ctx context.Context, how rest.How, res model.Resource) (rest.Done, error) {
	u := res.Head().URI
	w := wishOf(how, "delete", res)
	if how.Sent == nil {
		w.request = string(u)
	}
	w.do = func(ch *change) error { return ch.deleteWanted(u, w.how) }
	out, err := b.carryOutTraced(ctx, w, trace{about: u, always: how.Task})
	if err == nil && !how.DryRun {
		err = b.deleteContent(ctx, res)
	}
	return doneOf(u, out), err
}

// deleteWanted deletes a resource that nothing refers to. An image may be there
// without one.
func (ch *change) deleteWanted(u model.URI, how v1.Change) error {
	old, err := ch.existing(u, how.ETag)
	if err != nil || old == nil && u.Kind() == model.GoldenImages {
		return err
	}
	if old == nil {
		return rest.Missing(string(u))
	}
	if p, ok := old.(*model.ServerProfile); ok {
		return ch.removeProfile(p)
	}
	if isDefault(old) {
		return rest.Bad("%s cannot be deleted: servers for which nothing else is named belong there", u)
	}
	if err := ch.deleted(old); err != nil {
		return err
	}
	ch.res = nil // of profiles that it concerned
	return ch.tx.Delete(u, old.Head().ETag)
}

// deleteContent deletes what a resource stood for, once it is gone itself: what a
// kill leaves of that is found at the next start, or still listed.
func (b restBackend) deleteContent(ctx context.Context, res model.Resource) error {
	switch res := res.(type) {
	case *model.GoldenImage:
		return b.removeImage(ctx, res)
	case *model.ArtifactBundle:
		b.d.dropBundle(res.URI)
	}
	return nil
}
