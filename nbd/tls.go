package nbd

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// Encryption; proto: TLS support. A listener without TLS is NOTLS, with it
// SELECTIVETLS, and with RequireTLS FORCEDTLS. The mode does not change while
// a connection lives.
//
// The upgrade has one hazard: what came in plain text must not count as said
// on the encrypted connection. So state that options made is forgotten, and
// bytes that follow STARTTLS before our ACK end the connection: whoever sits
// between the two may have put them there.

// startTLS handles STARTTLS from the option's data to the end of the TLS
// handshake. With an error the connection is to be closed.
func (c *conn) startTLS(data []byte) error {
	out := optionReply{option: optStartTLS}
	if refusal := c.refuseTLS(data); refusal != nil {
		out.add(refusal.kind, []byte(refusal.msg))
		_, err := c.nc.Write(out.p)
		return err
	}
	if n := c.in.buffered(); n > 0 {
		return fmt.Errorf("%d bytes of plain text follow STARTTLS", n)
	}
	out.ack()
	if _, err := c.nc.Write(out.p); err != nil {
		return err
	}
	return c.encrypt()
}

func (c *conn) refuseTLS(data []byte) *optionError {
	switch {
	case c.from.o.TLS == nil:
		return &optionError{repErrUnsup, "this listener has no TLS"}
	case c.encrypted:
		return &optionError{repErrInvalid, "the connection is encrypted already"}
	case len(data) != 0:
		return &optionError{repErrInvalid, "STARTTLS takes no data"}
	case !c.fixed:
		return &optionError{repErrInvalid, "STARTTLS needs the client flag FIXED_NEWSTYLE"}
	}
	return nil
}

// encrypt makes the connection a TLS one on which nothing was said yet. The
// handshake's deadline is on the socket and holds for this too.
func (c *conn) encrypt() error {
	c.closeDevice()
	c.forgetContexts()
	c.structured = false
	t := tls.Server(c.sock, c.from.o.TLS)
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.nc, c.encrypted = t, true
	c.in.forget()
	c.in.release()
	c.in.init(t)
	return nil
}

// errTLSDue ends what cannot be refused in another way.
var errTLSDue = errors.New("the listener requires TLS, and the client did not start it")

var tlsRequired = &optionError{repErrTLSReqd, "this server requires TLS: start it with STARTTLS (nbds:// in URIs)"}

// tlsDue reports whether an option has to wait for STARTTLS.
func (c *conn) tlsDue(option uint32) bool {
	return c.from.o.RequireTLS && !c.encrypted && option != optStartTLS && option != optAbort
}

// closeWrite tells the peer that no more comes: first in TLS, then in TCP.
// Without TLS the bool is false where the connection has no halves.
func (c *conn) closeWrite() bool {
	if t, ok := c.nc.(*tls.Conn); ok {
		_ = t.CloseWrite()
	}
	half, ok := c.sock.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}
