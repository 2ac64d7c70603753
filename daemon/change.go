package daemon

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
)

// A change is a request that the rules have a say in. It is tried first in an
// update that is given up, which is the dry run and shows what it comes to. Then
// it is done: the resources as the request wants them and, in the same commit,
// the task that does to volumes what the rules said. Until that has swapped
// volumes the profile names its old one, is Applying and owes the rows.
type change struct {
	b    *backend
	tx   *store.Tx
	key  []byte // of digests
	task string // "" in a trial
	// subject is what a task is of: no two work on it at once. It goes by URI, for a
	// resource has a name and a URI, and may get another name.
	subject string
	// tasks is the engine: who asks for it in an update waits for the end of the
	// daemon, which waits for the update.
	tasks *task.Engine[*store.Tx]
	// newVolume and newProfile are chosen once, for trials to come to the same.
	newVolume, newProfile model.URI

	// What it comes to.

	res       model.Resource // afterwards; nil: it is gone
	cases     []rules.Case
	decisions []rules.Decision
	effects   []v1.Effect
	work      work
	uses      []rules.Use // of the volumes of cases
	running   string      // the task that does the same already
}

// operation makes a change in an update.
type operation func(*change) error

// errOther ends an update of a change that comes to something else than its trial.
var errOther = errors.New("something was changed meanwhile")

// changeTries bounds how often a change is tried that others get ahead of.
const changeTries = 20

// wish is a change as it is asked for.
type wish struct {
	how     v1.Change
	name    string // for people: "change profile web-1"
	request any    // what a request key stands for
	do      operation
}

// trace says which task a change leaves behind.
type trace struct {
	about  model.URI // what it is about, where that is not what the change comes to
	always bool      // also if the change is done at once
}

// carryOut tries a change, and then makes it.
func (b *backend) carryOut(ctx context.Context, w wish) (v1.Outcome, error) {
	return b.carryOutTraced(ctx, w, trace{})
}

func (b *backend) carryOutTraced(ctx context.Context, w wish, t trace) (v1.Outcome, error) {
	s, tasks, err := b.d.life(ctx)
	if err != nil {
		return v1.Outcome{}, err
	}
	digest, err := requestDigest(s.Key(), w)
	if err != nil {
		return v1.Outcome{}, err
	}
	if i, known, err := tasks.Known(w.how.RequestID, digest); known || err != nil {
		return v1.Outcome{Effects: []v1.Effect{}, Task: &i}, err
	}
	base := change{b: b, key: s.Key(), tasks: tasks, newVolume: model.NewURI(model.OSVolumes), newProfile: model.NewURI(model.ServerProfiles)}
	cause := store.Cause{Who: whoOf(ctx), Why: w.name}
	for range changeTries {
		trial := base
		var out v1.Outcome
		err := s.Update(ctx, cause, func(tx *store.Tx) error {
			trial.tx = tx
			if err := w.do(&trial); err != nil {
				return err
			}
			if out, err = trial.outcome(w.how.DryRun); err != nil {
				return err
			}
			return errDry
		})
		if !errors.Is(err, errDry) {
			return v1.Outcome{}, err
		}
		if trial.running != "" {
			return b.already(tasks, out, trial.running)
		}
		if w.how.DryRun {
			return out, nil
		}
		if err := trial.ask(w.how.Confirmed); err != nil {
			return v1.Outcome{}, err
		}
		done := base
		again := func(tx *store.Tx, id string) error {
			done = base
			done.tx, done.task = tx, id
			if err := w.do(&done); err != nil {
				return err
			}
			if !trial.same(&done) {
				return errOther
			}
			return nil
		}
		if len(trial.work.Moves) == 0 && w.how.RequestID == "" && !t.always {
			err = s.Update(ctx, cause, func(tx *store.Tx) error { return again(tx, "") })
		} else {
			var i task.Info
			i, err = tasks.SubmitWith(ctx, task.Request{
				Kind: changeKindName, Name: trial.title(w.name), Owner: whoOf(ctx), Subject: cmp.Or(trial.subject, string(trial.about(t))), About: string(trial.about(t)), Key: w.how.RequestID, Digest: digest, Input: trial.work,
			}, again)
			out.Task = &i
			b.d.opts.failpoint("submitted")
		}
		if errors.Is(err, errOther) {
			continue
		}
		if err != nil {
			return v1.Outcome{}, err
		}
		return out, s.View(ctx, func(r *store.Reader) error { return done.retell(r, &out) })
	}
	return v1.Outcome{}, &v1.Error{Code: v1.CodeInUse, Message: w.name + ": others changed what it depends on, again and again; nothing was done", Advice: "Try again."}
}

// about is what the task of a change is about.
func (ch *change) about(t trace) model.URI {
	if ch.res != nil {
		return ch.res.Head().URI
	}
	return t.about
}

// title names a task after what it does by which rule: the audit trail has it.
func (ch *change) title(name string) string {
	if len(ch.work.Moves) == 0 {
		return name
	}
	m := ch.work.Moves[0]
	name += fmt.Sprintf(": %s by row %s", m.Action, m.rows())
	if n := len(ch.work.Moves) - 1; n > 0 {
		name += fmt.Sprintf(", and %d other profiles", n)
	}
	return name
}

// already answers with the task that does what is asked for.
func (b *backend) already(tasks *task.Engine[*store.Tx], out v1.Outcome, id string) (v1.Outcome, error) {
	i, err := tasks.Get(id, 0)
	out.Task = &i
	return out, err
}

// asSent is a request as the client sent it: a key stands for just that.
type asSent []byte

func requestDigest(key []byte, w wish) (string, error) {
	if w.how.RequestID == "" {
		return "", nil
	}
	type secrets interface{ Secrets() map[string]*string }
	b, err := json.Marshal(w.request)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	if sent, ok := w.request.(asSent); ok {
		h.Write(sent)
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	fmt.Fprintf(h, "%q %q %s", w.name, w.how.ETag, b)
	if s, ok := w.request.(secrets); ok {
		b, err = json.Marshal(s.Secrets())
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// same tells whether both come to the same.
func (ch *change) same(o *change) bool {
	a, errA := json.Marshal(ch.work)
	b, errB := json.Marshal(o.work)
	return errA == nil && errB == nil && bytes.Equal(a, b) && ch.running == o.running
}

func (ch *change) outcome(dry bool) (v1.Outcome, error) {
	out := v1.Outcome{Effects: ch.effects, DryRun: dry}
	if out.Effects == nil {
		out.Effects = []v1.Effect{}
	}
	if ch.res == nil {
		return out, nil
	}
	var err error
	out.Resource, err = newTeller(&ch.tx.Reader).tell(ch.res)
	return out, err
}

// retell tells the resource as it stands now.
func (ch *change) retell(r *store.Reader, out *v1.Outcome) (err error) {
	if ch.res == nil {
		return nil
	}
	res, err := r.Get(ch.res.Head().URI)
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err == nil {
		out.Resource, err = newTeller(r).tell(res)
	}
	return err
}

// ask refuses to take volumes away from servers that may run, unless that is
// confirmed.
func (ch *change) ask(confirmed bool) error {
	for i, c := range ch.cases {
		if err := rules.Ask(c, ch.decisions[i], ch.uses[i], confirmed); err != nil {
			return refusal(err)
		}
	}
	return nil
}

var uriForm = regexp.MustCompile(`/rest/[a-z-]+/[A-Za-z0-9][A-Za-z0-9._-]*`)

// named has people read names where the rules say URIs.
func (ch *change) named(reasons []string) []string {
	t := newTeller(&ch.tx.Reader)
	list := make([]string, len(reasons))
	for i, text := range reasons {
		list[i] = uriForm.ReplaceAllStringFunc(text, func(uri string) string {
			if name, err := t.name(model.URI(uri)); err == nil {
				return name
			}
			return uri
		})
	}
	return list
}

// refused is a refusal for people.
func (ch *change) refused(err error) error {
	var no *rules.Refusal
	if errors.As(err, &no) {
		named := *no
		named.Reasons = ch.named(no.Reasons)
		err = &named
	}
	return refusal(err)
}

// refusal makes an error of the API of a refusal of the rules.
func refusal(err error) error {
	var no *rules.Refusal
	if !errors.As(err, &no) {
		return err
	}
	code := v1.CodeInUse
	if no.Status == 400 {
		code = v1.CodeInvalid
	}
	return &v1.Error{Code: code, Message: no.Error(), Advice: "Nothing was changed. '--dry-run' shows what a change comes to."}
}

// useOf is what is known of the server of a volume: whoever has its export open
// may run from it.
func (ch *change) useOf(v *model.OSVolume, hardware model.URI) (rules.Use, error) {
	u := rules.Use{Idle: -1}
	if v != nil && ch.b.d.clientsOf(v.Name) > 0 {
		u.Idle = 0
	}
	if hardware == "" {
		return u, nil
	}
	res, err := ch.tx.Get(hardware)
	if err != nil {
		return u, err
	}
	u.Power = res.(*model.ServerHardware).Power
	return u, nil
}

// guardOwned refuses to do to a volume what only its profile's rules may.
func (b *backend) guardOwned(ctx context.Context, name, what string) error {
	if has, err := b.d.hasLifecycle(); err != nil || !has {
		return err
	}
	return b.view(ctx, func(r *store.Reader) error {
		res, err := r.ByName(model.OSVolumes, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		v := res.(*model.OSVolume)
		if info, err := b.Volume(ctx, name); v.IsRetired() || err == nil && !sameVolume(v.VolumeID, info) {
			return nil
		}
		owner, err := newTeller(r).name(v.Profile)
		if err != nil {
			return err
		}
		return fmt.Errorf("volume %q is that of server profile %q and cannot be %s by itself: change or delete the profile: %w", name, owner, what, blockstore.ErrInUse)
	})
}
