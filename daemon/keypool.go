package daemon

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"sync"
)

// keysAhead is how many RSA keys wait for disks. Each takes a second of a processor
// and 3 KB.
const keysAhead = 16

// keyPool makes RSA keys before they are asked for: a deployment of a second would
// wait half of it. A key is given out once. None is kept anywhere but in memory, and
// none outlives the pool.
type keyPool struct {
	ready chan *rsa.PrivateKey
	stop  context.CancelFunc
	done  sync.WaitGroup
	make  func() (*rsa.PrivateKey, error)
}

func newRSAKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 3072) }

// newKeyPool keeps size keys ready, made one after the other.
func newKeyPool(size int, make_ func() (*rsa.PrivateKey, error)) *keyPool {
	ctx, stop := context.WithCancel(context.Background())
	p := &keyPool{ready: make(chan *rsa.PrivateKey, size), stop: stop, make: make_}
	p.done.Go(func() { p.fill(ctx) })
	return p
}

func (p *keyPool) fill(ctx context.Context) {
	for ctx.Err() == nil {
		key, err := p.make()
		if err != nil {
			return // whoever needs one makes it, and tells what is wrong
		}
		select {
		case p.ready <- key:
		case <-ctx.Done():
		}
	}
}

// key is one that nobody else gets. A nil pool makes it now.
func (p *keyPool) key(ctx context.Context) (*rsa.PrivateKey, error) {
	if p == nil {
		return newRSAKey()
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case key := <-p.ready:
		return key, nil
	default:
		return p.make()
	}
}

// close waits for the key that is being made.
func (p *keyPool) close() {
	if p == nil {
		return
	}
	p.stop()
	p.done.Wait()
}
