package daemon

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// askMount begins a mount of the volume web for writing by hand.
func (a *api) askMount(t *testing.T) (*net.UnixConn, *bufio.Reader) {
	t.Helper()
	conn, err := a.http.Transport.(*http.Transport).DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	const body = `{"write":["web"],"uid":0,"gid":0}`
	_, err = fmt.Fprintf(conn, "POST /v1/mounts HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: goldstream-mount\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	return conn.(*net.UnixConn), r
}

// TestMountRefusals: whoever asks for a mount and does not go through with it
// leaves nothing behind.
func TestMountRefusals(t *testing.T) {
	a := newAPI(t)
	_, err := a.CreateVolume(t.Context(), v1.CreateRequest{Name: "web", Size: 1 << 20})
	require.NoError(t, err)
	for name, body := range map[string]string{"no upgrade": `{"uid":0,"gid":0}`, "unknown field": `{"root":true}`} {
		status, answer := a.send(t, "POST", "/v1/mounts", v1.TypeJSON, body)
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", name, answer)
	}
	for name, send := range map[string]func(*net.UnixConn){
		"nothing": func(c *net.UnixConn) { c.CloseWrite() },
		"no device": func(c *net.UnixConn) {
			_, err := c.Write([]byte{0})
			require.NoError(t, err)
		},
		"another file": func(c *net.UnixConn) {
			f, err := os.Create(filepath.Join(a.dir, "file"))
			require.NoError(t, err)
			defer f.Close()
			_, _, err = c.WriteMsgUnix([]byte{0}, unix.UnixRights(int(f.Fd())), nil)
			require.NoError(t, err)
		},
		"a device that is not mounted": func(c *net.UnixConn) {
			fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				_, _ = c.Write([]byte{0}) // as good as no device
				return
			}
			defer unix.Close(fd)
			_, _, err = c.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
			require.NoError(t, err)
		},
	} {
		conn, r := a.askMount(t)
		send(conn)
		line, err := r.ReadString('\n')
		require.NoError(t, err, name)
		require.Contains(t, line, `"error"`, name)
		conn.Close()
	}
	// Gone before it sent anything, and nobody else is kept off.
	conn, _ := a.askMount(t)
	conn.Close()
	require.Eventually(t, func() bool { return !a.d.exports.isBarred("web") }, time.Minute, 10*time.Millisecond)
	v, err := a.Volume(t.Context(), "web")
	require.NoError(t, err)
	require.Zero(t, v.Open)
	require.NoError(t, a.DeleteVolume(t.Context(), "web"))
}

// TestStopDoesNotWaitForDevices: a client that was let mount and sends nothing is
// told of the stop.
func TestStopDoesNotWaitForDevices(t *testing.T) {
	a := newAPI(t)
	_, err := a.CreateVolume(t.Context(), v1.CreateRequest{Name: "web", Size: 1 << 20})
	require.NoError(t, err)
	_, r := a.askMount(t)
	require.NoError(t, a.api.drain(t.Context()))
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, v1.ErrStopping.Error())
	require.False(t, a.d.exports.isBarred("web"))
}

// TestStuckMountKeepsOthersOff: its calls may still write.
func TestStuckMountKeepsOthersOff(t *testing.T) {
	a := newAPI(t)
	_, err := a.CreateVolume(t.Context(), v1.CreateRequest{Name: "web", Size: 1 << 20})
	require.NoError(t, err)
	b := &backend{Store: a.d.store, d: a.d}
	made, err := b.Mount(t.Context(), v1.MountRequest{Write: []string{"web"}})
	require.NoError(t, err)
	m := made.(*mount)
	m.stuck = true
	require.NoError(t, m.Close())
	_, err = a.d.exports.Open(t.Context(), "web")
	require.ErrorIs(t, err, blockstore.ErrInUse)
	require.NoError(t, m.writable["web"].WriteAt(t.Context(), make([]byte, 512), 0, false))
	m.stuck = false
	require.NoError(t, m.Close())
	d, err := a.d.exports.Open(t.Context(), "web")
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

// TestViews are made, shared and given up, also by many at once.
func TestViews(t *testing.T) {
	a := newAPI(t)
	ctx := t.Context()
	_, err := a.CreateVolume(ctx, v1.CreateRequest{Name: "web", Size: 1 << 20})
	require.NoError(t, err)
	snapshots := func() int {
		list, err := a.d.store.Snapshots(ctx, "web")
		require.NoError(t, err)
		return len(list)
	}
	ends := make(chan error)
	for range 16 {
		go func() {
			ends <- func() error {
				for range 20 {
					d, err := a.d.views.open(ctx, "web")
					if err != nil {
						return err
					}
					if n, err := a.d.store.Snapshots(ctx, "web"); err != nil || len(n) != 1 {
						return fmt.Errorf("%d snapshots: %w", len(n), err)
					}
					if err := d.Close(); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range 16 {
		require.NoError(t, <-ends)
	}
	require.Zero(t, snapshots())
	require.Empty(t, a.d.views.mu.byID)

	// The volume goes while it is seen, and another one takes its name.
	d, err := a.d.views.open(ctx, "web")
	require.NoError(t, err)
	require.NoError(t, a.DeleteVolume(ctx, "web"))
	_, err = a.CreateVolume(ctx, v1.CreateRequest{Name: "web", Size: 2 << 20})
	require.NoError(t, err)
	require.NoError(t, d.ReadAt(ctx, make([]byte, 512), 0))
	d2, err := a.d.views.open(ctx, "web")
	require.NoError(t, err)
	require.EqualValues(t, 2<<20, d2.Size())
	require.NoError(t, d.Close())
	require.Equal(t, 1, snapshots())
	require.NoError(t, d2.Close())
	require.Zero(t, snapshots())

	// It is retired while it is seen, and comes back under another name. Of what is
	// left of it while it is retired nothing stays either.
	for name, back := range map[string]string{"web": "", "web2": "web3"} {
		_, err = a.CreateVolume(ctx, v1.CreateRequest{Name: "web2", Size: 1 << 20})
		require.NoError(t, err)
		d, err = a.d.views.open(ctx, name)
		require.NoError(t, err)
		require.NoError(t, a.d.store.RetireVolume(ctx, name, time.Hour, ""))
		if back != "" {
			_, err = a.d.store.RestoreVolume(ctx, name, back, "")
			require.NoError(t, err)
		}
		require.NoError(t, d.Close())
		if back == "" {
			_, err = a.d.store.RestoreVolume(ctx, name, "", "")
			require.NoError(t, err)
			back = name
		}
		list, err := a.d.store.Snapshots(ctx, back)
		require.NoError(t, err)
		require.Empty(t, list)
		if name == "web" {
			require.NoError(t, a.DeleteVolume(ctx, "web2"))
		}
	}

	// What a kill left goes at the next start, and nothing else.
	for name, owner := range map[string]string{viewPrefix + "0123456789ab": viewOwner, "mine": viewOwner, viewPrefix + "x": "me"} {
		_, err := a.d.store.CreateSnapshot(ctx, "web", blockstore.SnapshotRequest{Name: name, Owner: owner})
		require.NoError(t, err)
	}
	require.NoError(t, a.d.store.RetireVolume(ctx, "web", time.Hour, ""))
	require.NoError(t, a.d.views.forget(ctx))
	_, err = a.d.store.RestoreVolume(ctx, "web", "", "")
	require.NoError(t, err)
	require.Equal(t, 2, snapshots())
}
