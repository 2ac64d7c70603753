package blockstore

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

// names tells that an offset is in one of the ranges.
func (f *FailureInfo) names(off int64) bool {
	for _, r := range f.Ranges {
		if off >= r.Offset && off < r.Offset+r.Length {
			return true
		}
	}
	return false
}
