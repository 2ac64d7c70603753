package step

import "context"

// NoCloud is a seed that cloud-init finds on the disk itself.
type NoCloud struct {
	MetaData string `json:"metaData" yaml:"metaData"`
	UserData string `json:"userData" yaml:"userData"`
	Network  string `json:"networkConfig,omitempty" yaml:"networkConfig,omitempty"`
}

const seedDir = "/var/lib/cloud/seed/nocloud/"

// plan writes the files as secrets: user data often has passwords.
func (n *NoCloud) plan(ctx context.Context, tree Files, x *expander) (ops []Op, err error) {
	for _, f := range []struct{ name, text string }{{"meta-data", n.MetaData}, {"user-data", n.UserData}, {"network-config", n.Network}} {
		if f.name == "network-config" && f.text == "" {
			continue
		}
		text, err := x.text(f.text)
		if err != nil {
			return nil, err
		}
		more, err := want{path: seedDir + f.name, data: []byte(text), mode: 0o600, enforce: true}.plan(ctx, tree)
		if err != nil {
			return nil, err
		}
		ops = append(ops, more...)
	}
	return ops, nil
}
