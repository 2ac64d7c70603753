package nbd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// optionError is the answer to an option that cannot be done. The handshake
// goes on after it, except for EXPORT_NAME, which has no error reply.
type optionError struct {
	kind uint32 // a repErr…
	msg  string
}

// Error says what the client is told.
func (e *optionError) Error() string { return e.msg }

func invalid(msg string) error { return &optionError{repErrInvalid, msg} }

// Refusal is the error of an Exports that does not let a client on, and tells
// it why.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// open makes the named export the connection's. Options name it several times
// over (INFO, SET_META_CONTEXT, GO): the device stays open in between, so
// that all of them, and transmission, speak of the same disk.
func (c *conn) open(ctx context.Context, name string) error {
	name, err := exportName(name)
	if err != nil {
		return err
	}
	if c.dev != nil && c.asked == name {
		return nil
	}
	c.closeDevice()
	g, err := c.grantFor(ctx, name)
	if err != nil {
		return c.openError(name, g.Export, err)
	}
	// Counted before, so that Fence and Disconnect find who is just opening.
	c.srv.setGrant(c, g.ID)
	c.srv.countUse(c, g.Export, +1)
	dev, err := c.openGranted(ctx, name, g)
	if err != nil {
		c.srv.countUse(c, g.Export, -1)
		c.srv.setGrant(c, "")
		return c.openError(name, g.Export, err)
	}
	c.dev, c.export, c.asked = dev, g.Export, name
	c.size, c.readOnly = dev.Size(), dev.ReadOnly() || g.ReadOnly
	return nil
}

func (c *conn) openGranted(ctx context.Context, name string, g Grant) (Device, error) {
	dev, err := c.srv.exports.Open(ctx, g.Export)
	if err != nil {
		return nil, err
	}
	err = c.confirmGrant(ctx, name, g)
	if err == nil && !dev.ReadOnly() && !g.ReadOnly {
		err = c.srv.awaitLeaving(ctx, c, g.Export)
		if err == nil {
			err = c.srv.mayOpen(g.Export)
		}
	}
	if err == nil {
		err = c.ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return dev, nil
}

// exportName checks a name from the wire and drops a leading slash: boot
// loaders and initramfs scripts take the name from a URI's path.
func exportName(name string) (string, error) {
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		return "", &optionError{repErrUnknown, "there is no default export; name one (LIST shows them)"}
	}
	if !validString(name) {
		return "", invalid("the export name is longer than 4096 bytes, or not UTF-8, or has a zero byte")
	}
	return name, nil
}

// validString reports whether a string may be on the wire; proto: Values.
func validString(s string) bool {
	return len(s) <= maxString && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// description returns the line about the export that is open, "" if there is
// none. Not to know it is no reason to keep the client out.
func (c *conn) description(ctx context.Context) string {
	d, ok := c.srv.exports.(Describer)
	if !ok || c.from.o.Grants != nil {
		return ""
	}
	text, err := d.Describe(ctx, c.export)
	if err != nil {
		c.srv.warn("nbd: cannot describe an export", "export", c.export, "remote", c.remote, "err", err)
		return ""
	}
	if !validString(text) {
		return ""
	}
	return text
}

// openError is what the client is told. The log gets the export's own name: the
// one that was asked for may be a secret.
func (c *conn) openError(name, export string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &optionError{repErrUnknown, fmt.Sprintf("no export named %.200q; LIST shows what there is", name)}
	case errors.Is(err, fs.ErrPermission):
		return &optionError{repErrPolicy, fmt.Sprintf("export %.200q may not be opened by this client", name)}
	}
	if errors.Is(err, errLeftOpening) {
		return err
	}
	if refused := (*Refusal)(nil); errors.As(err, &refused) {
		c.srv.warn("nbd: client refused", "export", export, "remote", c.remote, "reason", refused.Reason)
		return &optionError{repErrPolicy, refused.Reason}
	}
	c.srv.warn("nbd: cannot open export", "export", export, "remote", c.remote, "err", err)
	if errors.Is(err, errStillWriting) {
		return &optionError{repErrUnknown, fmt.Sprintf("export %.200q: %v; try again", name, errStillWriting)}
	}
	return &optionError{repErrUnknown, fmt.Sprintf("export %.200q cannot be opened now; the server's log has the cause", name)}
}

// closeDevice ends the use of the device; once nothing is in flight.
func (c *conn) closeDevice() {
	if c.dev == nil {
		return
	}
	if err := c.dev.Close(); err != nil {
		c.log.Warn("nbd: cannot close export", "export", c.export, "remote", c.remote, "err", err)
	}
	c.dev = nil
	c.srv.countUse(c, c.export, -1)
	c.srv.setGrant(c, "")
}

// transmissionFlags says what the export can do; proto: Transmission flags.
func (c *conn) transmissionFlags() uint16 {
	flags := uint16(flagHasFlags | flagFlush | flagFUA | flagCanMultiConn | flagCache)
	if c.readOnly {
		flags |= flagReadOnly
	} else {
		flags |= flagTrim | flagWriteZeroes | flagFastZero
	}
	if c.structured {
		flags |= flagDF
	}
	return flags
}
