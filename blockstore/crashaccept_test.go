package blockstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// acceptLoss accepts the loss of a volume that is open and has failed, as its
// operator would, and opens it again. It reports whether it is to be compared.
func (r *crashRun) acceptLoss(v *crashVolume) bool {
	r.disk.pause(true)
	info, err := r.s.Volume(ctx, v.name)
	r.disk.pause(false)
	if err != nil || info.Failure == nil || !info.Failure.Accepted.IsZero() {
		return true
	}
	r.say("accept loss of %s", v.name)
	r.check(v.disk.Close(), "close %s, which failed", v.name)
	v.disk = nil
	if _, err := r.s.AcceptLoss(ctx, v.name, ""); !r.check(err, "accept loss of %s", v.name) {
		return false
	}
	d, err := r.s.OpenVolume(ctx, v.name)
	if !r.check(err, "open %s, whose loss is accepted", v.name) {
		return false
	}
	v.disk = d
	return true
}

// newlyAccepted returns a failure whose loss was accepted since it was asked last:
// what is lost has to be named in it. One that stands yet is none. A power loss may
// undo its record, and then the one before it is there again, which is not new.
func (v *crashVolume) newlyAccepted(f *FailureInfo) *FailureInfo {
	if f == nil || f.Accepted.IsZero() || f.Accepted.Equal(v.accepted) {
		return nil
	}
	v.accepted = f.Accepted
	return f
}

// TestAcceptedLossesCountOnce: a failure that nobody accepted, and whose record did
// not outlive a power loss, makes the one before it no news. Seed
// 1795988969844040617 of the mode of faults met that once in many runs, where the
// volume failed between the read of a comparison and its look for failures.
func TestAcceptedLossesCountOnce(t *testing.T) {
	at := time.Now()
	v, accepted := new(crashVolume), &FailureInfo{Accepted: at}
	require.Nil(t, v.newlyAccepted(nil))
	require.Equal(t, accepted, v.newlyAccepted(accepted))
	require.Nil(t, v.newlyAccepted(&FailureInfo{Accepted: at.Round(0)}), "as it is read back")
	require.Nil(t, v.newlyAccepted(&FailureInfo{}), "it stands")
	require.Nil(t, v.newlyAccepted(accepted), "the power loss undid that")
	require.NotNil(t, v.newlyAccepted(&FailureInfo{Accepted: at.Add(1)}))
}

// names tells that an offset is in one of the ranges.
func (f *FailureInfo) names(off int64) bool {
	for _, r := range f.Ranges {
		if off >= r.Offset && off < r.Offset+r.Length {
			return true
		}
	}
	return false
}
