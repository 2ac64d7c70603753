package daemon

import (
	"context"
	"path/filepath"
	"sync"

	"goldstream/access"
)

// accounts are who may use the API over the network, read when first needed: disks
// are served even where they are damaged.
type accounts struct {
	mu   sync.Mutex
	open *access.Accounts
}

// Accounts returns the users, sessions and API tokens.
func (d *Daemon) Accounts() (*access.Accounts, error) {
	if err := d.changeable(); err != nil {
		return nil, err
	}
	d.accounts.mu.Lock()
	defer d.accounts.mu.Unlock()
	if d.accounts.open == nil {
		a, err := access.Open(filepath.Join(d.dir, "access"), access.Options{})
		if err != nil {
			return nil, err
		}
		d.accounts.open = a
	}
	return d.accounts.open, nil
}

// Accounts returns the users, sessions and API tokens.
func (b *backend) Accounts(context.Context) (*access.Accounts, error) { return b.d.Accounts() }

// whoOf is who makes the request of ctx, as the audit trail and tasks name it.
func whoOf(ctx context.Context) string {
	if who, ok := access.From(ctx); ok {
		return who.Name
	}
	return "goldstream"
}
