package oneview

import (
	"encoding/json"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func operations(c *rest.Call) (ops []operation, err error) {
	b, err := c.Body()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &ops); err != nil {
		return nil, rest.Bad(`the body is no patch, such as [{"op": "replace", "path": "/powerState", "value": "On"}]: %v`, err)
	}
	for _, op := range ops {
		if op.Op != "replace" {
			return nil, rest.Bad("op is %.64q: a patch here can only replace", op.Op)
		}
	}
	return ops, nil
}

// keepField changes a field that is only kept.
func keepField(m *model.Meta, key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	extra := map[string]json.RawMessage{key: b}
	for k, v := range m.Extra {
		if k != key {
			extra[k] = v
		}
	}
	m.Extra = extra
	return nil
}
