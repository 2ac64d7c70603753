package v1

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A mount is asked for by POST /v1/mounts and lasts as long as its connection. The
// daemon answers 101, after which the client mounts and sends the FUSE device, as
// a descriptor with one byte of data. From then on the daemon sends lines, each a
// MountEvent: ready, and in the end ended or an error. Where the client closes the
// connection, everything on the mount fails.

// upgradeMount is what the connection is upgraded to.
const upgradeMount = "goldstream-mount"

const (
	deviceTimeout = 30 * time.Second // for the client to mount and send the device
	controlSpace  = 64               // bytes of control messages: one descriptor and more than fits
)

// MountRequest asks for a mount of all images and volumes.
type MountRequest struct {
	// Write names volumes whose files can be written. No NBD client may have them
	// open, nor opens them while the mount lasts.
	Write []string `json:"write,omitempty"`
	// UID and GID own the files.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// MountEvent is a line of a mount's connection.
type MountEvent struct {
	Ready bool   `json:"ready,omitempty"`
	Ended bool   `json:"ended,omitempty"` // unmounted, and all is durable
	Error *Error `json:"error,omitempty"`
}

// MountBackend is the part of a Backend that shows disks as files.
type MountBackend interface {
	// Mount takes hold of the volumes that shall be written.
	Mount(ctx context.Context, req MountRequest) (Mount, error)
}

// Mount is a mount that is made ready.
type Mount interface {
	// Serve serves the device that the control message carries until the mount
	// ends, or ctx does; then everything on the mount fails.
	Serve(ctx context.Context, control []byte, ready func()) error
	// Close lets go of the volumes.
	Close() error
}

func (s *server) routeMounts(mux *router) {
	mux.HandleFunc("POST /v1/mounts", func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		err := s.mount(w, r)
		s.record(r, start, err)
	})
}

// mount answers an error itself where it still can.
func (s *server) mount(w http.ResponseWriter, r *http.Request) error {
	m, err := s.prepareMount(w, r)
	if err != nil {
		drain(http.NewResponseController(w), r)
		s.deadline(w)
		writeError(w, err)
		return err
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		err = errors.Join(err, m.Close())
		writeError(w, err)
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines := mountLines{conn}
	err = errors.Join(serveMount(ctx, cancel, conn, m, lines), m.Close())
	if err != nil {
		lines.send(MountEvent{Error: ErrorOf(err)})
		return err
	}
	lines.send(MountEvent{Ended: true})
	return nil
}

func (s *server) prepareMount(w http.ResponseWriter, r *http.Request) (Mount, error) {
	if err := onlyQuery(r); err != nil {
		return nil, err
	}
	if r.Header.Get("Upgrade") != upgradeMount {
		return nil, invalid("a mount needs a connection of its own: send Connection: Upgrade and Upgrade: " + upgradeMount)
	}
	var req MountRequest
	if err := readJSON(w, r, &req); err != nil {
		return nil, err
	}
	return s.backend.Mount(r.Context(), req)
}

func serveMount(ctx context.Context, cancel func(), conn net.Conn, m Mount, lines mountLines) error {
	control, err := receiveControl(ctx, conn)
	if err != nil {
		return err
	}
	// The client sends nothing more: a read returns when it is gone.
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	defer func() {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // ends the watching
		<-watched
	}()
	return m.Serve(ctx, control, func() { lines.send(MountEvent{Ready: true}) })
}

// receiveControl upgrades the connection and takes the message that carries the
// device. It does not wait for that once ctx ends.
func receiveControl(ctx context.Context, conn net.Conn) ([]byte, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, invalid("a mount needs a Unix socket")
	}
	_ = conn.SetDeadline(time.Now().Add(deviceTimeout))
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", upgradeMount); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	oob := make([]byte, controlSpace)
	_, n, _, _, err := unixConn.ReadMsgUnix(make([]byte, 1), oob)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, &Error{Code: CodeCancelled, Message: fmt.Sprintf("no FUSE device came: %v", err)}
	}
	return oob[:n], conn.SetDeadline(time.Time{})
}

// mountLines sends events. A client that is gone is nobody to tell.
type mountLines struct{ conn net.Conn }

func (l mountLines) send(e MountEvent) {
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_ = json.NewEncoder(l.conn).Encode(e)
}

// Mount asks for a mount. Once the daemon is willing, device is called: it mounts
// and returns the FUSE device, which Mount closes. Ready is called when the mount
// can be used. Mount returns when it was unmounted; when ctx ends it leaves, and
// everything on the mount fails.
func (c *Client) Mount(ctx context.Context, req MountRequest, device func() (*os.File, error), ready func()) error {
	if c.dial == nil {
		return &Error{Code: CodeRole, Message: "a mount works on the daemon's host alone, over the socket in its data directory",
			Advice: "Run it there, or export the image or a snapshot to a file."}
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r := bufio.NewReader(conn)
	if err := askMount(ctx, conn, r, req); err != nil {
		return err
	}
	dev, err := device()
	if err != nil {
		return err
	}
	err = sendDevice(conn, dev)
	dev.Close() // the daemon alone shall hold it: the mount ends with it
	if err != nil {
		return transportError(ctx, err)
	}
	return followMount(ctx, r, ready)
}

func askMount(ctx context.Context, conn net.Conn, r *bufio.Reader, req MountRequest) error {
	body, err := jsonBody(req)
	if err != nil {
		return err
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://goldstream/v1/mounts", body)
	if err != nil {
		return err
	}
	hr.Header.Set("Content-Type", TypeJSON)
	hr.Header.Set("Connection", "Upgrade")
	hr.Header.Set("Upgrade", upgradeMount)
	if err := hr.Write(conn); err != nil {
		return transportError(ctx, err)
	}
	resp, err := http.ReadResponse(r, hr)
	if err != nil {
		return transportError(ctx, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return answerError(resp)
	}
	return nil
}

func sendDevice(conn net.Conn, dev *os.File) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("a mount needs a Unix socket")
	}
	_, _, err := unixConn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(dev.Fd())), nil)
	return err
}

func followMount(ctx context.Context, r io.Reader, ready func()) error {
	for d := json.NewDecoder(r); ; {
		var e MountEvent
		if err := d.Decode(&e); err != nil {
			return transportError(ctx, err)
		}
		switch {
		case e.Error != nil:
			return e.Error
		case e.Ended:
			return nil
		case e.Ready:
			ready()
		}
	}
}
