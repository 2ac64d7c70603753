package nbd

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

// holding returns an account that holds n bytes, so that it has no claim to
// another small request.
func holding(t *testing.T, b *byteBudget, n int64) *account {
	t.Helper()
	a := newAccount(b, 1<<40)
	require.True(t, a.try(n))
	return a
}

// waiting acquires n bytes in another goroutine, once a waits for them.
func waiting(ctx context.Context, t *testing.T, a *account, n int64) chan error {
	t.Helper()
	got := make(chan error, 1)
	go func() { got <- a.acquire(ctx, n) }()
	require.Eventually(t, func() bool {
		a.budget.mu.Lock()
		defer a.budget.mu.Unlock()
		return a.want == n
	}, 10*time.Second, time.Millisecond)
	return got
}

// fill has a hold max bytes by small requests.
func fill(t *testing.T, b *byteBudget) *account {
	t.Helper()
	a := newAccount(b, 1<<40)
	for range b.max / smallRequest {
		require.True(t, a.try(smallRequest))
	}
	require.False(t, a.try(1))
	return a
}

func TestBudgetServesInOrder(t *testing.T) {
	b := &byteBudget{max: 128 * mib}
	all := fill(t, b)
	first := newAccount(b, 1<<40)
	require.True(t, first.try(1), "the first of a connection passes")
	second := holding(t, b, 1)
	ctx, cancel := context.WithCancel(t.Context())
	gone := waiting(ctx, t, first, 4096)
	got := waiting(t.Context(), t, second, 4097)
	require.False(t, holding(t, b, 1).try(1), "a newcomer stands behind them")
	cancel()
	require.Error(t, <-gone)
	all.release(smallRequest)
	require.NoError(t, <-got)
}

// Bytes of one connection that are let go serve its own waiter, and a limit
// that one connection reached keeps no other waiting.
func TestBudgetLimitOfOneConnection(t *testing.T) {
	b := &byteBudget{max: 128 * mib}
	a := newAccount(b, mib)
	require.True(t, a.try(32*mib), "one request passes whatever its size")
	got := waiting(t.Context(), t, a, 8*mib)
	require.True(t, newAccount(b, mib).try(mib))
	a.release(32 * mib)
	require.NoError(t, <-got)
	got = waiting(t.Context(), t, a, 4096)
	a.release(8 * mib)
	require.NoError(t, <-got)
}

// However much others hold, a connection that holds nothing gets a small
// request, at once or as soon as its own replies are taken.
func TestBudgetAlwaysHasSomethingSmall(t *testing.T) {
	b := &byteBudget{max: 128 * mib}
	fill(t, b)
	large := waiting(t.Context(), t, newAccount(b, 1<<40), 32*mib)
	for range 100 {
		a := newAccount(b, 1<<40)
		require.True(t, a.try(smallRequest))
		got := waiting(t.Context(), t, a, smallRequest)
		a.release(smallRequest)
		require.NoError(t, <-got)
	}
	require.Empty(t, large)
}

// While a large request waits, small ones have the spare eighth, and only it.
func TestBudgetLargeIsNotStarved(t *testing.T) {
	b := &byteBudget{max: 128 * mib}
	older := holding(t, b, 1)
	for range 400 {
		require.True(t, older.try(smallRequest))
	}
	large := waiting(t.Context(), t, newAccount(b, 1<<40), 32*mib)
	newer := holding(t, b, 1)
	n := int64(0)
	for newer.try(smallRequest) {
		n += smallRequest
	}
	require.InDelta(t, 16*mib, n, smallRequest)
	small := waiting(t.Context(), t, newer, smallRequest)
	newer.release(smallRequest)
	require.NoError(t, <-small, "they go on with it")
	require.Empty(t, large)
	for range 400 {
		older.release(smallRequest)
	}
	require.NoError(t, <-large)
	require.True(t, newer.try(smallRequest), "nobody waits")
}

// A small request does not stand behind a large one.
func TestBudgetSmallIsNotStarved(t *testing.T) {
	b := &byteBudget{max: 128 * mib}
	all := holding(t, b, 100*mib)
	waiting(t.Context(), t, newAccount(b, 1<<40), 32*mib)
	waiting(t.Context(), t, newAccount(b, 1<<40), 32*mib)
	require.True(t, all.try(4096))
}
