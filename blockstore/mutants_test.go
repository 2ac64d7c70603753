package blockstore

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// crashMutant is a store, or a disk under it, that does something wrong. The
// zero value does not.
type crashMutant struct {
	disk        simMutant
	openGate    bool // seals do not wait for writes
	lateFlushes bool // a flush is committed after the one that follows it
}

// options breaks a store. It is called anew for each one.
func (m crashMutant) options(o *Options) {
	o.openGate = m.openGate
	if m.lateFlushes {
		o.reorder = new(lateFlush).commit
	}
}

// lateFlush holds back every other flush until the next commit is done.
type lateFlush struct {
	mu   sync.Mutex
	held *pebble.Batch
	odd  bool
}

func (l *lateFlush) commit(b *pebble.Batch, commit func(*pebble.Batch) error) error {
	l.mu.Lock()
	held := l.held
	l.held = nil
	if isFlush(b) {
		l.odd = !l.odd
		if held == nil && l.odd {
			l.held = b
			l.mu.Unlock()
			return nil
		}
	}
	l.mu.Unlock()
	if err := commit(b); err != nil || held == nil {
		return err
	}
	return commit(held)
}

// isFlush tells that a batch is the commit of a volume's writes.
func isFlush(b *pebble.Batch) bool {
	r := b.Reader()
	for {
		_, key, _, ok, err := r.Next()
		if !ok || err != nil {
			return false
		}
		if len(key) > 0 && key[0] == prefixFlushed {
			return true
		}
	}
}

// TestMutants shows that the crash test finds what it is there to find: each
// of these stores breaks a promise, and is caught.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds for each mutant; runs without -short")
	}
	const within = 1000 // seeds
	for name, m := range map[string]struct {
		mode crashMode
		crashMutant
	}{
		"data sync dropped":       {crashPower, crashMutant{disk: mutantDataSyncLies}},
		"directory sync dropped":  {crashPower, crashMutant{disk: mutantDirSyncLies}},
		"metadata sync dropped":   {crashPower, crashMutant{disk: mutantLogSyncLies}},
		"commit before data sync": {crashPower, crashMutant{disk: mutantDataSyncLate}},
		"late punch":              {crashKill, crashMutant{disk: mutantLatePunch}},
		"no ring replay":          {crashKill, crashMutant{disk: mutantNoMappings}},
		"flipped bit":             {crashKill, crashMutant{disk: mutantFlippedBit}},
		"writes out of step":      {crashKill, crashMutant{disk: mutantOutOfStep}},
		"no gate at seal":         {crashKill, crashMutant{openGate: true}},
		"flushes out of order":    {crashKill, crashMutant{lateFlushes: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= within; seed++ {
				if err := runCrash(seed, m.mode, m.crashMutant); err != nil {
					t.Logf("caught by seed %d: %.200s", seed, err.Error())
					return
				}
			}
			require.Failf(t, "not caught", "%s survived %d seeds", name, within)
		})
	}
}
