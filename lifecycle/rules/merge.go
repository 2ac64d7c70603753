package rules

import (
	"strings"

	"goldstream/lifecycle/model"
)

// Request is a profile as a client sends it.
type Request struct {
	Profile model.ServerProfile
	// GivesDeployment says that osDeploymentSettings was there with at least
	// one key, GivesValues that osCustomAttributes was.
	GivesDeployment, GivesValues bool
}

// Merge returns what a profile becomes by a request. What clients send back of
// what they were shown changes nothing: a missing or empty osDeploymentSettings,
// a masked, empty or missing password, state and volume. before is nil for a new profile.
func Merge(before *model.ServerProfile, r Request) model.ServerProfile {
	after := r.Profile
	after.Volume, after.State, after.Task, after.Owed = "", "", "", nil
	if before == nil {
		if !r.GivesDeployment || after.Plan() == "" {
			after.Deployment = nil
			return after
		}
		after.Deployment = &model.Deployment{Plan: after.Plan(), Values: unmasked(after.Values(), nil)}
		return after
	}
	after.Meta.URI, after.Created = before.URI, before.Created
	after.Volume, after.State, after.Task, after.Owed = before.Volume, before.State, before.Task, before.Owed
	if after.Type == "" {
		after.Type = before.Type
	}
	switch {
	case !r.GivesDeployment:
		after.Deployment = before.Deployment
	case after.Plan() == "":
		after.Deployment = nil
	case before.Plan() != after.Plan():
		after.Deployment = &model.Deployment{Plan: after.Plan(), Values: unmasked(after.Values(), nil)}
	case !r.GivesValues:
		after.Deployment = before.Deployment
	default:
		after.Deployment = &model.Deployment{Plan: after.Plan(), Values: unmasked(after.Values(), before.Values())}
	}
	return after
}

// unmasked puts back the passwords that a client could not send.
func unmasked(sent, before []model.Value) []model.Value {
	old := map[string]model.Value{}
	for _, v := range before {
		if v.Secret() {
			old[v.Name] = v
		}
	}
	var list []model.Value
	for _, v := range sent {
		known, secret := old[v.Name]
		delete(old, v.Name)
		switch {
		case secret && v.Withheld():
			v = known
		case secret:
			v.Type = model.Password // who forgets the type does not make it public
		case v.Secret() && v.Withheld():
			continue // of a password that was never told
		}
		list = append(list, v)
	}
	for _, v := range before { // in their order
		if _, missing := old[v.Name]; missing && v.Secret() {
			list = append(list, v)
		}
	}
	return list
}

// normal is a value in the one form in which it is compared.
func normal(text string) string {
	switch lower := strings.ToLower(text); lower {
	case "true", "false":
		return lower
	}
	return text
}
