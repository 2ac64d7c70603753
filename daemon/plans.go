package daemon

import (
	"context"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// planKinds pairs the kinds of documents with those of resources.
func planKinds() map[personalize.Kind]model.Kind {
	return map[personalize.Kind]model.Kind{
		personalize.KindScript:     model.PlanScripts,
		personalize.KindBuild:      model.BuildPlans,
		personalize.KindDeployment: model.DeploymentPlans,
	}
}

func collection(kind personalize.Kind) (model.Kind, error) {
	k, ok := planKinds()[kind]
	if !ok {
		return "", attribute.Invalid("%.64q is no kind of plan: use %s, %s or %s", string(kind), personalize.KindScript, personalize.KindBuild, personalize.KindDeployment)
	}
	return k, nil
}

// Plans lists the plans of all kinds.
func (b *backend) Plans(ctx context.Context) (list []v1.PlanInfo, err error) {
	err = b.view(ctx, func(r *store.Reader) error {
		for _, kind := range []personalize.Kind{personalize.KindScript, personalize.KindBuild, personalize.KindDeployment} {
			err := r.Each(planKinds()[kind], func(res model.Resource) error {
				p, err := describePlan(r, kind, res)
				list = append(list, p.PlanInfo)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// Plan returns one plan.
func (b *backend) Plan(ctx context.Context, kind personalize.Kind, name string) (p v1.Plan, err error) {
	k, err := collection(kind)
	if err != nil {
		return p, err
	}
	err = b.view(ctx, func(r *store.Reader) error {
		res, err := r.ByName(k, name)
		if err != nil {
			return err
		}
		p, err = describePlan(r, kind, res)
		return err
	})
	return p, err
}

// DeletePlan deletes a plan that nothing refers to.
func (b *backend) DeletePlan(ctx context.Context, kind personalize.Kind, name string) error {
	k, err := collection(kind)
	if err != nil {
		return err
	}
	s, _, err := b.d.life(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, store.Cause{Who: whoOf(ctx), Why: "plan delete"}, func(tx *store.Tx) error {
		res, err := tx.ByName(k, name)
		if err != nil {
			return err
		}
		return tx.Delete(res.Head().URI, res.Head().ETag)
	})
}

func (b *backend) view(ctx context.Context, fn func(*store.Reader) error) error {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return err
	}
	return s.View(ctx, fn)
}

func describePlan(r *store.Reader, kind personalize.Kind, res model.Resource) (v1.Plan, error) {
	h := res.Head()
	p := v1.Plan{PlanInfo: v1.PlanInfo{Kind: kind, Name: h.Name, URI: string(h.URI), ETag: h.ETag, Description: h.Description, Modified: h.Modified}}
	var err error
	switch res := res.(type) {
	case *model.PlanScript:
		p.Type, p.Script = res.Type, res.Content
	case *model.BuildPlan:
		p.Type, p.Attributes = res.Type, res.Attributes
		for _, s := range res.Steps {
			p.Native = append(p.Native, s.Native)
			if s.Native != nil {
				p.Steps = append(p.Steps, s.Native.Title())
				continue
			}
			var name string
			if name, err = planName(r, model.URI(s.Script)); err != nil {
				return p, err
			}
			p.Steps = append(p.Steps, name)
		}
	case *model.DeploymentPlan:
		p.Size, p.Values, p.Fixed, p.Hidden = res.Size, res.Values, res.Fixed, res.Hidden
		if p.Image, err = planName(r, res.Image); err == nil {
			p.BuildPlan, err = planName(r, res.BuildPlan)
		}
	}
	return p, err
}

// planName is the name of a resource; "" has none.
func planName(r *store.Reader, uri model.URI) (string, error) {
	if uri == "" {
		return "", nil
	}
	res, err := r.Get(uri)
	if err != nil {
		return "", err
	}
	return res.Head().Name, nil
}
