package v1

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"goldstream/access"
)

// Gate says who makes a request.
type Gate interface {
	// Identify returns an access.ErrUnknown where it does not know.
	Identify(r *http.Request) (access.Identity, error)
}

// localGate is that of the Unix socket: whoever may open it may do everything.
type localGate struct{}

func (localGate) Identify(r *http.Request) (access.Identity, error) {
	return LocalIdentity(r.Context()), nil
}

// LocalIdentity is who makes a request on the Unix socket.
func LocalIdentity(ctx context.Context) access.Identity {
	return access.Identity{Name: localName(ctx), Role: access.Infrastructure, Local: true}
}

// localName is what the kernel says of the peer.
func localName(ctx context.Context) string {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		uid = uint32(os.Geteuid()) // a part of this process
	}
	return fmt.Sprintf("uid:%d", uid)
}

// TokenGate is that of the network: requests carry the secret of a session or of an
// API token in the header Authorization: Bearer.
type TokenGate struct{ Accounts *access.Accounts }

// Identify finds whose secret the request carries.
func (g TokenGate) Identify(r *http.Request) (access.Identity, error) {
	secret, err := bearer(r)
	if err != nil {
		return access.Identity{}, err
	}
	return g.Accounts.Authenticate(secret)
}

// maxSecret is longer than any secret.
const maxSecret = 256

func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", unauthenticated("send the token of a session or an API token: Authorization: Bearer TOKEN")
	}
	kind, secret, _ := strings.Cut(values[0], " ")
	if secret = strings.TrimSpace(secret); !strings.EqualFold(kind, "Bearer") || secret == "" || len(secret) > maxSecret {
		return "", unauthenticated("the header Authorization has no token: write Bearer TOKEN")
	}
	return secret, nil
}

func unauthenticated(message string) error {
	return &Error{Code: CodeUnauthenticated, Message: message,
		Advice: "'goldstream login' begins a session; 'goldstream token create' makes an API token."}
}

// router lets requests through to its routes that have the right which the table
// in rights.go gives the route.
type router struct {
	s        *server
	gate     Gate
	mux      *http.ServeMux
	rights   map[string]access.Right
	patterns []string
}

func newRouter(s *server, gate Gate) *router {
	return &router{s: s, gate: gate, mux: http.NewServeMux(), rights: rights()}
}

// HandleFunc adds a route. One that is not in the table needs all rights.
func (m *router) HandleFunc(pattern string, h http.HandlerFunc) {
	right := m.rights[pattern]
	m.patterns = append(m.patterns, pattern)
	m.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := m.gate.Identify(r)
		if right == access.Public {
			if err == nil {
				r = r.WithContext(access.With(r.Context(), who))
			}
			h(w, r)
			return
		}
		if err == nil {
			r = r.WithContext(access.With(r.Context(), who))
			err = allowed(who, right)
		}
		if err != nil {
			m.refuse(w, r, err)
			return
		}
		h(w, r)
	})
}

func (m *router) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// refuse answers without a look at the body, whose sender is not known.
func (m *router) refuse(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Connection", "close")
	m.s.answerOnce(w, r, err)
}

func allowed(who access.Identity, right access.Right) error {
	if who.May(right) {
		return nil
	}
	e := &Error{Code: CodeRole}
	if right == access.Local {
		e.Message = "this works only on the daemon's host, over the socket in its data directory"
		return e
	}
	var names []string
	for _, r := range right.Named() {
		names = append(names, string(r))
	}
	e.Message = fmt.Sprintf("%s has the role %s, and this needs %s", who.Name, who.Role, strings.Join(names, " or "))
	e.Advice = "Ask an infrastructure administrator for another role: 'goldstream user role NAME ROLE'."
	return e
}

// Route is one of the API's routes.
type Route struct {
	Pattern string // METHOD PATH
	Right   access.Right
	Known   bool // it has a row in the table of rights
}

// Routes lists all routes of the API, in the order of their patterns.
func Routes() (list []Route) {
	m := (&server{}).routes(localGate{})
	for _, p := range slices.Sorted(slices.Values(m.patterns)) {
		right, known := m.rights[p]
		list = append(list, Route{p, right, known})
	}
	return list
}
