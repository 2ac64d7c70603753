package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"goldstream/api/v1"
)

// Causes that a Gate has.
var (
	ErrLogin     = errors.New("the user name or the password is wrong")
	ErrSession   = errors.New("there is no such session, or it has ended: log in again")
	ErrForbidden = errors.New("the session may not do this")
)

// Problem is an error as clients read it.
type Problem struct {
	Status  int
	Code    string
	Message string
	Actions []string // recommended
}

func (p *Problem) Error() string { return p.Message }

// Bad is the error of a request that makes no sense.
func Bad(format string, args ...any) error {
	return &Problem{http.StatusBadRequest, "INVALID_REQUEST", fmt.Sprintf(format, args...), nil}
}

// Missing is the error of what does not exist.
func Missing(what string) error {
	return &Problem{http.StatusNotFound, "RESOURCE_NOT_FOUND", "there is no " + what, []string{"Check the URI; a list of the collection shows what there is."}}
}

// Conflict is the error of what cannot be done in the present state.
func Conflict(action, format string, args ...any) error {
	return &Problem{http.StatusConflict, "CONFLICT", fmt.Sprintf(format, args...), []string{action}}
}

// problem is any error as clients read it.
func problem(err error) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrLogin):
		return &Problem{http.StatusUnauthorized, "AUTHENTICATION_FAILED", err.Error(), []string{"Check user name, password and directory."}}
	case errors.Is(err, ErrSession):
		return &Problem{http.StatusUnauthorized, "AUTHORIZATION", err.Error(), []string{"POST /rest/login-sessions opens a session; its sessionID goes into the header auth."}}
	case errors.Is(err, ErrForbidden):
		return &Problem{http.StatusForbidden, "FORBIDDEN", err.Error(), []string{"Ask an administrator for a role that may."}}
	}
	e := v1.ErrorOf(err)
	p = &Problem{e.Status(), strings.ToUpper(string(e.Code)), e.Message, nil}
	if p.Status < 400 || p.Status == 499 { // no status of the standard
		p.Status = http.StatusServiceUnavailable
	}
	if e.Advice != "" {
		p.Actions = []string{e.Advice}
	}
	return p
}

// object is the body of an error. Some clients print message and details only,
// some the actions too.
func (p *Problem) object() Object {
	actions := p.Actions
	if actions == nil {
		actions = []string{}
	}
	return Object{
		"errorCode": p.Code, "message": p.Message, "details": "", "recommendedActions": actions,
		"errorSource": nil, "nestedErrors": []any{}, "data": Object{},
	}
}
