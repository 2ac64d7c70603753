package oneview

import (
	"encoding/json"

	"goldstream/api/rest"
)

// connectionsKey is the list of connections, which older clients have in the
// profile itself and newer ones in connectionSettings.
const (
	connectionsKey = "connections"
	settingsKey    = "connectionSettings"
)

// takeConnections completes connections by what clients rely on to be there: an ID,
// and whether they boot. The rest is as it was sent.
func takeConnections(f *rest.Fields, kept map[string]json.RawMessage) {
	if list := f.Objects(connectionsKey); list != nil {
		kept[connectionsKey] = completed(list)
	}
	if !f.Has(settingsKey) {
		return
	}
	s := f.Object(settingsKey)
	list := s.Objects(connectionsKey)
	more := rest.Object{}
	if list != nil {
		more[connectionsKey] = completed(list)
	}
	kept[settingsKey] = rest.KeepObject(s, more)
}

func completed(list []*rest.Fields) json.RawMessage {
	used := map[int64]bool{}
	for _, c := range list {
		used[c.PeekInt("id")] = true
	}
	var all []rest.Object
	next := int64(1)
	for _, c := range list {
		o := rest.Object{"boot": rest.Object{"priority": "NotBootable"}, "functionType": "Ethernet", "portId": "Auto", "requestedMbps": "2500", "networkUri": nil}
		for key, value := range c.Extra() {
			o[key] = value
		}
		if c.PeekInt("id") == 0 {
			for used[next] {
				next++
			}
			used[next] = true
			o["id"] = next
		}
		all = append(all, o)
	}
	b, err := json.Marshal(rest.List(all))
	if err != nil { // what was read as JSON can be written
		return nil
	}
	return b
}
