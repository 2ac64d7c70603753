package daemon

import (
	"context"
	"net/http"
	"time"

	"goldstream/api/rest"
)

// socketGate lets everybody in: on the API's socket its mode has decided who may
// come. Clients that insist on a session get one that says nothing.
type socketGate struct{}

// socketSession is the token of every session.
const (
	socketSession = "socket"
	socketIdle    = 24 * time.Hour
)

func (socketGate) Login(context.Context, rest.Credentials) (string, error) { return socketSession, nil }
func (socketGate) Admit(*http.Request, string) (string, error)             { return "api", nil }
func (socketGate) Logout(context.Context, string) error                    { return nil }
func (socketGate) SetIdle(context.Context, string, time.Duration) error    { return nil }

func (socketGate) Idle(_ context.Context, token string) (time.Duration, error) {
	if token != socketSession {
		return 0, rest.ErrSession
	}
	return socketIdle, nil
}
