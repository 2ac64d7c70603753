package model

// Network is a network that connections of profiles name. It only describes:
// switches are somebody else's.
type Network struct {
	Meta
	bare
	VLAN int `json:"vlanId,omitempty"` // 1 to 4094; 0 is untagged
}

// Kind is Networks.
func (*Network) Kind() Kind { return Networks }

// Validate checks the VLAN too.
func (n *Network) Validate() error {
	if n.VLAN < 0 || n.VLAN > 4094 {
		return invalidf("%d of network %q is no VLAN: use 1 to 4094, or 0 for none", n.VLAN, n.Name)
	}
	return n.validate(n.Kind())
}

// References are none.
func (*Network) References() []Reference { return nil }
