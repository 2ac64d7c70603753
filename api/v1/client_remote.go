package v1

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"goldstream/access"
)

// Remote says how a daemon is reached over the network.
type Remote struct {
	URL   string // https://HOST:PORT; http on loopback alone
	Token string // of a session or an API token; "" before a login
	CA    []byte // certificates in PEM that are trusted; none: the system's
}

// NewRemoteClient returns a client of a daemon of the network.
func NewRemoteClient(r Remote) (*Client, error) {
	base, err := remoteBase(r.URL)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(r.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(r.CA) {
			return nil, invalid("the file of the authority holds no certificate in PEM: copy tls/ca-cert.pem out of the daemon's data directory")
		}
	}
	return &Client{base: base, token: r.Token, http: &http.Client{
		// A token goes to the daemon that was named and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: 10 * time.Second,
			DisableCompression:  true,
			WriteBufferSize:     256 << 10,
			ReadBufferSize:      256 << 10,
		},
	}}, nil
}

// remoteBase checks the URL of a daemon.
func remoteBase(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", invalid(fmt.Sprintf("%.200q is no URL of a daemon: write https://HOST:PORT", text))
	}
	switch ip := net.ParseIP(u.Hostname()); {
	case u.Scheme == "https":
	case u.Scheme == "http" && (ip != nil && ip.IsLoopback() || u.Hostname() == "localhost"):
	case u.Scheme == "http":
		return "", invalid(fmt.Sprintf("%s: a token could be read on the way: write https://%s", text, u.Host))
	default:
		return "", invalid(fmt.Sprintf("%.200q is no URL of a daemon: write https://HOST:PORT", text))
	}
	return u.Scheme + "://" + u.Host, nil
}

// certificateError says what to do about a daemon that is not trusted.
func certificateError(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return &Error{Code: CodeFailed, Message: "the daemon's certificate is of an authority that is not trusted: " + unknown.Error(),
			Advice: "Name the authority's certificate with --ca FILE: a copy of tls/ca-cert.pem in the daemon's data directory."}
	case errors.As(err, &host):
		return &Error{Code: CodeFailed, Message: "the daemon's certificate is of another host: " + host.Error(),
			Advice: "Use a name or address that the certificate has, or give the daemon a certificate of your own: docs/security.md."}
	}
	return nil
}

// Login begins a session.
func (c *Client) Login(ctx context.Context, req LoginRequest) (l Login, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/sessions", req, &l)
	return l, err
}

// Whoami says who the daemon takes this client for.
func (c *Client) Whoami(ctx context.Context) (w Whoami, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/sessions/own", nil, &w)
	return w, err
}

// Logout ends the session.
func (c *Client) Logout(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/sessions/own", nil, nil)
}

// Users lists the users.
func (c *Client) Users(ctx context.Context) ([]access.User, error) {
	var l UserList
	err := c.call(ctx, http.MethodGet, "/v1/users", nil, &l)
	return l.Users, err
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, req UserRequest) (u access.User, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/users", req, &u)
	return u, err
}

// ChangeUser gives a user another role or password.
func (c *Client) ChangeUser(ctx context.Context, name string, req UserRequest) (u access.User, err error) {
	err = c.call(ctx, http.MethodPut, "/v1/users/"+url.PathEscape(name), req, &u)
	return u, err
}

// DeleteUser deletes a user with its sessions and API tokens.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/users/"+url.PathEscape(name), nil, nil)
}

// APITokens lists API tokens.
func (c *Client) APITokens(ctx context.Context) ([]APIToken, error) {
	var l APITokenList
	err := c.call(ctx, http.MethodGet, "/v1/api-tokens", nil, &l)
	return l.Tokens, err
}

// CreateAPIToken makes an API token.
func (c *Client) CreateAPIToken(ctx context.Context, req APITokenRequest) (t CreatedAPIToken, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/api-tokens", req, &t)
	return t, err
}

// RevokeAPIToken forgets an API token.
func (c *Client) RevokeAPIToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/api-tokens/"+url.PathEscape(id), nil, nil)
}
