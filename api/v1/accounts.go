package v1

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"goldstream/access"
)

// AccountBackend is the part of a Backend that knows who may use the API over the
// network.
type AccountBackend interface {
	Accounts(ctx context.Context) (*access.Accounts, error)
}

// LoginRequest begins a session. A one-time password needs a new one with it.
type LoginRequest struct {
	User        string `json:"user"`
	Password    string `json:"password"`
	NewPassword string `json:"newPassword,omitempty"`
}

// Login answers a LoginRequest. The token is told this once.
type Login struct {
	Token string `json:"token"`
	Whoami
}

// Whoami answers GET /v1/sessions/own.
type Whoami struct {
	User  string      `json:"user"`
	Role  access.Role `json:"role"`
	Local bool        `json:"local,omitempty"` // over the Unix socket
	// IdleSeconds is how long the session lasts that nobody uses; 0: it is none.
	IdleSeconds int64 `json:"idleSeconds,omitempty"`
}

// UserRequest makes or changes a user. In a change, what is left away stays.
type UserRequest struct {
	Name     string      `json:"name,omitempty"` // of a new one
	Role     access.Role `json:"role,omitempty"`
	Password string      `json:"password,omitempty"`
	// OneTime wants another password at the next login.
	OneTime bool `json:"oneTime,omitempty"`
}

// UserList answers GET /v1/users.
type UserList struct {
	Users []access.User `json:"users"`
}

// APITokenRequest asks for an API token.
type APITokenRequest struct {
	Name string      `json:"name"`
	Role access.Role `json:"role"`
	// Lifetime in seconds; 0: until it is revoked.
	Lifetime int64 `json:"lifetime,omitempty"`
}

// APIToken is what is known of an API token: all but itself.
type APIToken = access.Token

// CreatedAPIToken answers an APITokenRequest. The token is told this once.
type CreatedAPIToken struct {
	Token string `json:"token"`
	APIToken
}

// APITokenList answers GET /v1/api-tokens.
type APITokenList struct {
	Tokens []APIToken `json:"tokens"`
}

func (s *server) routeAccounts(mux *router) {
	mux.HandleFunc("POST /v1/sessions", s.answer(s.login))
	mux.HandleFunc("GET /v1/sessions/own", s.answer(s.whoami))
	mux.HandleFunc("DELETE /v1/sessions/own", s.answer(s.logout))
	mux.HandleFunc("GET /v1/users", s.answer(s.listUsers))
	mux.HandleFunc("POST /v1/users", s.answer(s.createUser))
	mux.HandleFunc("PUT /v1/users/{name}", s.answer(s.changeUser))
	mux.HandleFunc("DELETE /v1/users/{name}", s.answer(s.deleteUser))
	mux.HandleFunc("GET /v1/api-tokens", s.answer(s.listAPITokens))
	mux.HandleFunc("POST /v1/api-tokens", s.answer(s.createAPIToken))
	mux.HandleFunc("DELETE /v1/api-tokens/{id}", s.answer(s.revokeAPIToken))
}

func (s *server) login(w http.ResponseWriter, r *http.Request) (any, error) {
	var body LoginRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	secret, session, err := accounts.Login(r.Context(), body.User, body.Password, body.NewPassword, PeerAddress(r))
	if err != nil {
		return nil, err
	}
	w.Header().Set("Cache-Control", "no-store")
	return Login{secret, whoamiOf(session)}, nil
}

// PeerAddress is where a request comes from; the zero Addr on a Unix socket.
func PeerAddress(r *http.Request) netip.Addr {
	p, _ := netip.ParseAddrPort(r.RemoteAddr)
	return p.Addr().Unmap()
}

func whoamiOf(s access.Session) Whoami {
	return Whoami{User: s.User, Role: s.Role, IdleSeconds: int64(s.IdleTimeout / time.Second)}
}

func (s *server) whoami(_ http.ResponseWriter, r *http.Request) (any, error) {
	who, _ := access.From(r.Context())
	me := Whoami{User: who.Name, Role: who.Role, Local: who.Local}
	if who.Local || who.Token != "" {
		return me, nil
	}
	accounts, secret, err := s.session(r)
	if err != nil {
		return nil, err
	}
	session, err := accounts.Session(secret)
	return whoamiOf(session), err
}

// session returns the secret of the session that makes a request.
func (s *server) session(r *http.Request) (*access.Accounts, string, error) {
	if who, _ := access.From(r.Context()); who.Local || who.Token != "" {
		return nil, "", invalid("this request belongs to no session")
	}
	secret, err := bearer(r)
	if err != nil {
		return nil, "", err
	}
	accounts, err := s.backend.Accounts(r.Context())
	return accounts, secret, err
}

func (s *server) logout(_ http.ResponseWriter, r *http.Request) (any, error) {
	accounts, secret, err := s.session(r)
	if err != nil {
		return nil, err
	}
	return nil, accounts.Logout(secret)
}

func (s *server) listUsers(_ http.ResponseWriter, r *http.Request) (any, error) {
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	return UserList{accounts.Users()}, nil
}

func (s *server) createUser(w http.ResponseWriter, r *http.Request) (any, error) {
	var body UserRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	return accounts.CreateUser(r.Context(), body.Name, body.Role, body.Password, body.OneTime)
}

func (s *server) changeUser(w http.ResponseWriter, r *http.Request) (any, error) {
	var body UserRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	switch {
	case body.Name != "" && body.Name != name:
		return nil, invalid(fmt.Sprintf("a user keeps the name %s: make another one", name))
	case body.Role == "" && body.Password == "":
		return nil, invalid("nothing is to be changed: give role or password")
	case body.OneTime && body.Password == "":
		return nil, invalid("oneTime is of a new password: give that too")
	}
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	return accounts.ChangeUser(r.Context(), name, body.Role, body.Password, body.OneTime)
}

func (s *server) deleteUser(_ http.ResponseWriter, r *http.Request) (any, error) {
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	return nil, accounts.DeleteUser(r.PathValue("name"))
}

func (s *server) listAPITokens(_ http.ResponseWriter, r *http.Request) (any, error) {
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	who, _ := access.From(r.Context())
	return APITokenList{accounts.Tokens(who)}, nil
}

// maxLifetime keeps seconds within a time.Duration.
const maxLifetime = 100 * 365 * 24 * 60 * 60

func (s *server) createAPIToken(w http.ResponseWriter, r *http.Request) (any, error) {
	var body APITokenRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	if body.Lifetime < 0 || body.Lifetime > maxLifetime {
		return nil, invalid(fmt.Sprintf("a lifetime of %d seconds: give up to a hundred years, or 0 for a token that lasts until it is revoked", body.Lifetime))
	}
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	who, _ := access.From(r.Context())
	secret, t, err := accounts.CreateToken(who, body.Name, body.Role, time.Duration(body.Lifetime)*time.Second)
	w.Header().Set("Cache-Control", "no-store")
	return CreatedAPIToken{secret, t}, err
}

func (s *server) revokeAPIToken(_ http.ResponseWriter, r *http.Request) (any, error) {
	accounts, err := s.backend.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	who, _ := access.From(r.Context())
	return nil, accounts.RevokeToken(who, r.PathValue("id"))
}
