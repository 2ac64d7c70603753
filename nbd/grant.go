package nbd

import (
	"context"
	"crypto/tls"
	"io/fs"
	"net"
)

// ListenerOptions say how clients of one listener connect and what they may
// open. The zero value: in plain text, every export by its name.
type ListenerOptions struct {
	// TLS is what encrypted connections are made with; its GetConfigForClient
	// may renew certificates. Nil: STARTTLS is refused.
	TLS *tls.Config
	// RequireTLS refuses everything before STARTTLS.
	RequireTLS bool
	// Grants, if set, decides what a name opens, and LIST is empty: names are
	// secrets then.
	Grants Grants
}

// Grants finds what the name that a client gives lets it open. It is called
// from many goroutines at once, and again once the export is open: then
// Server.Disconnect of a grant that was taken back before finds every user.
//
// All that shall look alike to clients (no such name, not from this address)
// is the error fs.ErrNotExist.
type Grants interface {
	Resolve(ctx context.Context, name string, client net.Addr) (Grant, error)
}

// Grant is the right to open one export.
type Grant struct {
	ID       string // names it for Disconnect; no secret
	Export   string // name for Exports.Open
	ReadOnly bool
}

// grant decides what name opens on this connection.
func (c *conn) grantFor(ctx context.Context, name string) (Grant, error) {
	if c.from.o.Grants == nil {
		return Grant{Export: name}, nil
	}
	return c.from.o.Grants.Resolve(ctx, name, c.sock.RemoteAddr())
}

// confirmGrant looks again, now that Disconnect finds the connection and the
// device is open.
func (c *conn) confirmGrant(ctx context.Context, name string, had Grant) error {
	g, err := c.grantFor(ctx, name)
	if err == nil && g != had {
		return fs.ErrNotExist
	}
	return err
}

func (s *Server) setGrant(c *conn, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.grant = id
}

// Disconnect cuts every connection that opened its export by the grant, as
// Fence does. The caller must see to it that Grants no longer gives it.
func (s *Server) Disconnect(ctx context.Context, grantID string) error {
	return endAll(ctx, s.holders(grantID))
}

func (s *Server) holders(grantID string) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var holders []*conn
	for c := range s.mu.conns {
		if c.grant == grantID && grantID != "" {
			holders = append(holders, c)
		}
	}
	return holders
}
