package v1

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// TokenBackend is the part of a Backend that knows by which tokens volumes are
// opened on listeners that others than this host reach.
type TokenBackend interface {
	CreateToken(ctx context.Context, volume string, req TokenRequest) (CreatedToken, error)
	Tokens(ctx context.Context) ([]TokenInfo, error)
	// RevokeToken forgets a token and cuts off the clients that came in by it.
	RevokeToken(ctx context.Context, id string) error
}

// TokenRequest asks for a token of a volume.
type TokenRequest struct {
	// Allow are the addresses that may use it, such as 10.1.2.0/24; none: all.
	Allow    []string `json:"allow,omitempty"`
	ReadOnly bool     `json:"readOnly,omitempty"`
}

// TokenInfo is what is known of a token: all but itself.
type TokenInfo struct {
	ID       string    `json:"id"`
	Volume   string    `json:"volume"`
	ReadOnly bool      `json:"readOnly"`
	Allow    []string  `json:"allow"`
	Created  time.Time `json:"created"`
	// Idle says that the volume is deleted and the token opens nothing, unless
	// the volume is restored.
	Idle bool `json:"idle,omitempty"`
}

// CreatedToken answers a TokenRequest. The token is told this once.
type CreatedToken struct {
	Token string `json:"token"`
	TokenInfo
}

// TokenList answers GET /v1/exports.
type TokenList struct {
	Exports []TokenInfo `json:"exports"`
}

func (s *server) routeTokens(mux *router) {
	mux.HandleFunc("POST /v1/volumes/{name}/exports", s.answer(s.createToken))
	mux.HandleFunc("GET /v1/exports", s.answer(s.listTokens))
	mux.HandleFunc("DELETE /v1/exports/{id}", s.answer(s.revokeToken))
}

func (s *server) createToken(w http.ResponseWriter, r *http.Request) (any, error) {
	var body TokenRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.CreateToken(r.Context(), r.PathValue("name"), body)
}

func (s *server) listTokens(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.backend.Tokens(r.Context())
	return TokenList{Exports: orEmpty(list)}, err
}

func (s *server) revokeToken(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.RevokeToken(r.Context(), r.PathValue("id"))
}

// CreateToken makes a token by which a volume is opened.
func (c *Client) CreateToken(ctx context.Context, volume string, req TokenRequest) (t CreatedToken, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/exports"), req, &t)
	return t, err
}

// Tokens lists the tokens, the oldest first.
func (c *Client) Tokens(ctx context.Context) ([]TokenInfo, error) {
	var l TokenList
	err := c.call(ctx, http.MethodGet, "/v1/exports", nil, &l)
	return l.Exports, err
}

// RevokeToken forgets a token and cuts off the clients that came in by it.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/exports/"+url.PathEscape(id), nil, nil)
}
