// Package access knows who may use the API over the network: users with
// passwords and roles, the sessions that they begin by logging in, and API tokens
// for machines.
//
// # Words
//
// A [Role] is what a user is there for; a [Right] is what one request needs.
// [Role.May] is the whole table between the two. An [Identity] is who makes a
// request, and travels in its context ([With], [From]).
//
// A secret is a session's or an API token's: 160 random bits, told once, kept as
// SHA-256 only. Passwords are kept as argon2id. Sessions are in memory: a restart
// ends them. Users and API tokens are in one file that is replaced as a whole, see
// record.go.
//
// # First start
//
// [Accounts.Bootstrap] makes the user administrator with a one-time password.
// That one opens nothing but its own change: [Accounts.Login] wants a new password
// with it.
//
// # What guessing meets
//
// Failed logins are counted for each address and for each user, in throttle.go. An
// unknown user costs as much time as a wrong password. No more than two passwords
// are worked on at once, since each takes 19 MiB.
//
// # For those who serve another API
//
// A handler on the same listener that has another way to carry the secret (the
// header auth, say) calls [Accounts.Login] for name and password,
// [Accounts.Authenticate] for each request, checks [Role.May] and puts the identity
// into the context with [With].
package access
