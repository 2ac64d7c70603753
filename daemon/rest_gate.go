package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"goldstream/access"
	"goldstream/api/rest"
	"goldstream/api/v1"
	"goldstream/lifecycle/model"
)

// socketGate lets everybody in: on the API's socket its mode has decided who may
// come. Clients that insist on a session get one that says nothing.
type socketGate struct{}

// socketSession is the token of every session.
const (
	socketSession = "socket"
	socketIdle    = 24 * time.Hour
)

func (socketGate) Login(*http.Request, rest.Credentials) (string, error) { return socketSession, nil }
func (socketGate) Logout(context.Context, string) error                  { return nil }
func (socketGate) SetIdle(context.Context, string, time.Duration) error  { return nil }

func (socketGate) Admit(r *http.Request, _ string) (context.Context, string, error) {
	who := v1.LocalIdentity(r.Context())
	return access.With(r.Context(), who), who.Name, nil
}

func (socketGate) Idle(_ context.Context, token string) (time.Duration, error) {
	if token != socketSession {
		return 0, rest.ErrSession
	}
	return socketIdle, nil
}

// netGate is that of the network: users with roles, their sessions, and API tokens.
// The directory that clients name has no part in it.
type netGate struct{ accounts *access.Accounts }

func (g netGate) Login(r *http.Request, c rest.Credentials) (string, error) {
	var from netip.Addr
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from = a.Addr()
	}
	secret, _, err := g.accounts.Login(r.Context(), c.User, c.Password, "", from)
	return secret, err
}

func (g netGate) Admit(r *http.Request, token string) (context.Context, string, error) {
	if kind, secret, _ := strings.Cut(r.Header.Get("Authorization"), " "); token == "" && strings.EqualFold(kind, "Bearer") {
		token = secret
	}
	who, err := g.accounts.Authenticate(token)
	if err != nil {
		return nil, "", noSession(err)
	}
	if right := restRight(r.Method, r.URL.Path); !who.May(right) {
		return nil, who.Name, rest.ErrForbidden
	}
	return access.With(r.Context(), who), who.Name, nil
}

func (g netGate) Logout(_ context.Context, token string) error {
	return noSession(g.accounts.Logout(token))
}

func (g netGate) Idle(_ context.Context, token string) (time.Duration, error) {
	s, err := g.accounts.Session(token)
	return s.IdleTimeout, noSession(err)
}

func (g netGate) SetIdle(_ context.Context, token string, d time.Duration) error {
	return noSession(g.accounts.SetIdleTimeout(token, d))
}

func noSession(err error) error {
	if errors.Is(err, access.ErrUnknown) {
		return rest.ErrSession
	}
	return err
}

// restRight is what a request needs: as in api/v1, files of images and bundles are
// for those who may change them.
func restRight(method, path string) access.Right {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(path, "/rest/"), "/")
	software := slices.Contains([]model.Kind{model.PlanScripts, model.BuildPlans, model.DeploymentPlans, model.GoldenImages, model.ArtifactBundles}, model.Kind(kind))
	switch {
	case software && strings.HasPrefix(rest, "download/"):
		return access.ChangeSoftware
	case method == http.MethodGet || method == http.MethodHead:
		return access.Read
	case kind == "tasks":
		return access.Operate
	case software:
		return access.ChangeSoftware
	}
	return access.ChangeServers
}
