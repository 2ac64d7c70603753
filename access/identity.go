package access

import "context"

// Identity is who makes a request.
type Identity struct {
	// Name is the user's or, on the Unix socket, what the kernel says of it.
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Token is the ID of the API token that it came in by, if it was one.
	Token string `json:"token,omitempty"`
	// Local says that it came in by the Unix socket.
	Local bool `json:"local,omitempty"`
}

// May tells whether the request may do what needs the right.
func (i Identity) May(right Right) bool {
	return i.Local && i.Role == Infrastructure || i.Role.May(right)
}

type identityKey struct{}

// With returns a context of a request that i makes.
func With(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// From returns who makes the request of ctx.
func From(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(identityKey{}).(Identity)
	return i, ok
}
