package rest

import (
	"errors"
	"net/http"
	"time"
)

// login opens a session. Clients send more than is needed: whether they have
// read a message, for one.
func login(c *Call) error {
	f, err := c.Fields()
	if err != nil {
		return err
	}
	cr := Credentials{f.Text("userName"), f.Text("password"), f.Text("authLoginDomain")}
	if err := f.Err(); err != nil {
		return err
	}
	token, err := c.Gate.Login(c.Request, cr)
	if err != nil {
		return err
	}
	return c.Answer(http.StatusOK, Object{"sessionID": token, "partnerData": Object{}})
}

func logout(c *Call) error {
	if err := c.Gate.Logout(c.Context(), c.token()); err != nil {
		return err
	}
	c.W.WriteHeader(http.StatusNoContent)
	return nil
}

// token is that of the session that is spoken of: not that of whoever asks, for
// some clients.
func (c *Call) token() string {
	if t := c.Header.Get("Session-Id"); t != "" {
		return t
	}
	return c.Header.Get("Auth")
}

// idle answers 404 where the session is gone: the one sign by which clients know
// that they have to log in again.
func idle(c *Call) error {
	d, err := c.Gate.Idle(c.Context(), c.token())
	if err != nil {
		return gone(err)
	}
	return c.Answer(http.StatusOK, Object{"idleTimeout": d.Milliseconds()})
}

func setIdle(c *Call) error {
	f, err := c.Fields()
	if err != nil {
		return err
	}
	ms := f.Int("idleTimeout")
	if err := f.Err(); err != nil {
		return err
	}
	if ms < 1 || ms > maxIdle.Milliseconds() {
		return Bad("an idle timeout of %d ms: use 1 to %d", ms, maxIdle.Milliseconds())
	}
	if err := c.Gate.SetIdle(c.Context(), c.token(), time.Duration(ms)*time.Millisecond); err != nil {
		return gone(err)
	}
	return c.Answer(http.StatusOK, Object{"idleTimeout": ms})
}

const maxIdle = 24 * time.Hour

func gone(err error) error {
	if !errors.Is(err, ErrSession) {
		return err
	}
	p := problem(err)
	p.Status = http.StatusNotFound
	return p
}
