package model

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// PowerState is what was last said about a server's power.
type PowerState string

// Power states; a server of which nothing was said is PowerUnknown or "".
const (
	PowerOn      PowerState = "On"
	PowerOff     PowerState = "Off"
	PowerUnknown PowerState = "Unknown"
)

// ServerHardware is a physical server.
type ServerHardware struct {
	Meta
	Type      URI        `json:"serverHardwareTypeUri"`
	Enclosure URI        `json:"locationUri,omitempty"` // none: the default one
	Bay       int        `json:"position,omitempty"`    // 1 and up; 0: in none
	UUID      string     `json:"uuid,omitempty"`
	Serial    string     `json:"serialNumber,omitempty"`
	MACs      []string   `json:"macs,omitempty"`
	Power     PowerState `json:"powerState,omitempty"`
}

// Kind is ServerHardwares.
func (*ServerHardware) Kind() Kind { return ServerHardwares }

// Validate checks MAC addresses, to which it gives one form, bay and power
// state too.
func (h *ServerHardware) Validate() error {
	if err := h.validate(h.Kind()); err != nil {
		return err
	}
	for i, mac := range h.MACs {
		hw, err := net.ParseMAC(mac)
		if err != nil || len(hw) != 6 {
			return invalidf("%q of server %q is no MAC address: write it like 52:54:00:12:34:56", mac, h.Name)
		}
		if slices.Contains(h.MACs[:i], hw.String()) {
			return invalidf("server %q has MAC address %s twice", h.Name, hw)
		}
		h.MACs[i] = hw.String()
	}
	switch h.Power {
	case "", PowerOn, PowerOff, PowerUnknown:
	default:
		return invalidf("%q of server %q is no power state: use On, Off or Unknown", h.Power, h.Name)
	}
	switch {
	case h.Type == "":
		return invalidf("server %q has no hardware type", h.Name)
	case h.Bay < 0 || h.Bay > 0 && h.Enclosure == "":
		return invalidf("server %q is in bay %d of no enclosure: name the enclosure", h.Name, h.Bay)
	}
	return checkRefs(h.Name, h.References())
}

// References are the type and the enclosure.
func (h *ServerHardware) References() []Reference {
	return refs(Reference{"serverHardwareTypeUri", h.Type, HardwareTypes}, Reference{"locationUri", h.InEnclosure(), Enclosures})
}

// InEnclosure is the enclosure that the server stands in.
func (h *ServerHardware) InEnclosure() URI {
	if h.Enclosure == "" {
		return DefaultURI(Enclosures)
	}
	return h.Enclosure
}

// Claims are the bay, the MAC addresses and the UUID.
func (h *ServerHardware) Claims() []Claim {
	var list []Claim
	if h.Bay > 0 {
		list = append(list, Claim{fmt.Sprintf("bay:%s:%d", h.Enclosure, h.Bay), fmt.Sprintf("bay %d of %s", h.Bay, h.Enclosure)})
	}
	for _, mac := range h.MACs {
		list = append(list, Claim{"mac:" + mac, "MAC address " + mac})
	}
	if h.UUID != "" {
		list = append(list, Claim{"uuid:" + strings.ToLower(h.UUID), "UUID " + h.UUID})
	}
	return list
}

// Secrets are none.
func (*ServerHardware) Secrets() map[string]*string { return nil }

// HardwareType is a model class of servers.
type HardwareType struct {
	Meta
	bare
	Model  string `json:"model,omitempty"`
	Family string `json:"family,omitempty"`
}

// Kind is HardwareTypes.
func (*HardwareType) Kind() Kind { return HardwareTypes }

// Validate checks the name.
func (t *HardwareType) Validate() error { return t.validate(t.Kind()) }

// References are none.
func (*HardwareType) References() []Reference { return nil }
