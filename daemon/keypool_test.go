package daemon

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKeyPool asks for more keys at once than are ready: no two are the same, and
// none comes from elsewhere. Small keys are as good here, and quick.
func TestKeyPool(t *testing.T) {
	var mu sync.Mutex
	made := map[*rsa.PrivateKey]bool{}
	p := newKeyPool(3, func() (*rsa.PrivateKey, error) {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		mu.Lock()
		defer mu.Unlock()
		made[key] = true
		return key, err
	})
	given := make([]*rsa.PrivateKey, 12)
	var all sync.WaitGroup
	for i := range given {
		all.Go(func() { given[i], _ = p.key(t.Context()) })
	}
	all.Wait()
	p.close()
	p.close()
	seen := map[string]bool{}
	for _, key := range given {
		require.True(t, made[key])
		seen[key.N.String()] = true
	}
	require.Len(t, seen, len(given))

	failing := newKeyPool(1, func() (*rsa.PrivateKey, error) { return nil, errors.New("no chance here") })
	failing.done.Wait()
	_, err := failing.key(t.Context())
	require.ErrorContains(t, err, "no chance here")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = failing.key(gone)
	require.ErrorIs(t, err, context.Canceled)
	failing.close()

	var none *keyPool
	key, err := none.key(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3072, key.N.BitLen())
	none.close()
}
