package access

import "slices"

// Role is what a user is there for.
type Role string

// The roles. Each may read everything that is no secret.
const (
	Infrastructure Role = "infrastructure" // everything, users and the store too
	Server         Role = "server"         // servers, profiles, OS volumes
	Software       Role = "software"       // golden images and plans
	ReadOnly       Role = "read-only"
)

// Roles lists them.
func Roles() []Role { return []Role{Infrastructure, Server, Software, ReadOnly} }

// Right is what a request needs.
type Right int

// The rights. The zero value is the strictest that the network can have.
const (
	Administer     Right = iota // users, the store, what may lose data of all
	ChangeServers               // servers, profiles, OS volumes
	ChangeSoftware              // golden images and plans
	Operate                     // what each role but read-only may do: cancel a task, say
	Read                        // what is no secret
	Public                      // nothing: no login either
	Local                       // the Unix socket
)

// May tells whether the role has the right.
func (r Role) May(right Right) bool {
	if !slices.Contains(Roles(), r) {
		return right == Public
	}
	switch right {
	case Public, Read:
		return true
	case Operate:
		return r != ReadOnly
	case ChangeServers:
		return r == Infrastructure || r == Server
	case ChangeSoftware:
		return r == Infrastructure || r == Software
	case Administer:
		return r == Infrastructure
	}
	return false
}

// covers tells whether r may do all that other may.
func (r Role) covers(other Role) bool {
	return r == other || r == Infrastructure || other == ReadOnly && r.May(Read)
}

// Named are the roles that have a right, for messages.
func (right Right) Named() (list []Role) {
	for _, r := range Roles() {
		if r.May(right) {
			list = append(list, r)
		}
	}
	return list
}
