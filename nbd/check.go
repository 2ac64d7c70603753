package nbd

// check says why a request reaches no device; nil if it may. A WRITE's
// payload is read whatever comes out. proto: Request types, Command flags.
func (c *conn) check(r request) *wireError {
	if r.kind > cmdBlockStatus || r.kind == cmdDisc {
		return refuseUnknown
	}
	if r.flags&^(allowedFlags[r.kind]|cmdFlagFUA) != 0 {
		return refuseFlags
	}
	if r.flags&cmdFlagDF != 0 && !c.structured {
		return refuseFlags
	}
	if c.readOnly && modifies(r.kind) {
		return refuseReadOnly
	}
	if r.kind != cmdFlush && !c.inside(r) {
		return beyond(r.kind)
	}
	return c.checkKind(r)
}

// allowedFlags are those besides FUA, which belongs to every command.
var allowedFlags = [...]uint16{
	cmdRead:        cmdFlagDF,
	cmdWriteZeroes: cmdFlagNoHole | cmdFlagFastZero,
	cmdBlockStatus: cmdFlagReqOne,
}

// checkKind has the rules of single commands.
func (c *conn) checkKind(r request) *wireError {
	switch r.kind {
	case cmdRead, cmdWrite:
		if r.length > maxPayload {
			return refuseTooLong
		}
	case cmdWriteZeroes:
		const both = cmdFlagNoHole | cmdFlagFastZero
		switch {
		case r.length == 0:
			return nil // done, and fast
		case r.flags&both == both:
			return refuseFastNoHole
		case r.flags&cmdFlagFastZero != 0 && !holdsBlock(r):
			return refuseFastPart
		}
	case cmdBlockStatus:
		if c.contexts == 0 {
			return refuseNoContext
		}
		if r.length == 0 {
			return refuseEmpty
		}
	}
	return nil
}

// holdsBlock reports whether there is a whole block in the range. Only whole
// blocks are zeroed in the map; parts of one are written. That the range is
// within the export was checked.
func holdsBlock(r request) bool {
	first := (r.offset + preferredBlock - 1) &^ (preferredBlock - 1)
	return first+preferredBlock <= r.offset+uint64(r.length)
}

func modifies(kind uint16) bool {
	return kind == cmdWrite || kind == cmdTrim || kind == cmdWriteZeroes
}

// inside reports whether the range is within the export. No sum is formed
// that could overflow.
func (c *conn) inside(r request) bool {
	size := uint64(c.size)
	return r.offset <= size && uint64(r.length) <= size-r.offset
}

func beyond(kind uint16) *wireError {
	if kind == cmdWrite || kind == cmdWriteZeroes {
		return refuseBeyondFull
	}
	return refuseBeyond
}
