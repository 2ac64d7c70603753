package daemon

import (
	"context"

	"goldstream/lifecycle/store"
)

// Audit returns entries of the audit trail.
func (b *backend) Audit(ctx context.Context, behind uint64, limit int) ([]store.Entry, error) {
	s, _, err := b.d.life(ctx)
	if err != nil {
		return nil, err
	}
	return s.Audit(ctx, behind, limit)
}
