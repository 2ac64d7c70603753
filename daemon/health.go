package daemon

import (
	"context"

	"goldstream/api/v1"
)

// Ready says which parts of the daemon work.
func (b *backend) Ready(ctx context.Context) []v1.Part {
	return []v1.Part{b.processPart(), b.storePart(ctx), b.lifecyclePart()}
}

func (b *backend) processPart() v1.Part {
	if b.d.draining.Load() || b.stopping.Err() != nil {
		return v1.Part{Name: "process", Why: "it is being stopped"}
	}
	return v1.Part{Name: "process", Ready: true}
}

func (b *backend) storePart(ctx context.Context) v1.Part {
	p := v1.Part{Name: "store"}
	switch st, err := b.Stats(ctx); {
	case err != nil:
		p.Why = err.Error()
	case st.Failed:
		p.Why = "the store takes no more changes: restart the daemon, and see its log"
	default:
		p.Ready = true
	}
	return p
}

// lifecyclePart is that of profiles, plans and tasks. They are opened at the start;
// without them disks are served all the same. Nobody may have them opened by asking,
// and none waits for who opens or closes them: this is how it went last.
func (b *backend) lifecyclePart() v1.Part {
	p := v1.Part{Name: "lifecycle"}
	switch known := b.d.lifecycle.known.Load(); {
	case known == nil:
		p.Why = "the store of profiles, plans and tasks is not open yet"
	case known.err != nil:
		p.Why = known.err.Error()
	default:
		p.Ready = true
	}
	return p
}

// Requests counts the requests of all servers of the API.
func (b *backend) Requests() *v1.Requests { return &b.d.requests }
