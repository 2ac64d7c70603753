package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEpochsOverNBD: who started before a rollback is refused and told why, with
// qemu and libnbd.
func TestEpochsOverNBD(t *testing.T) {
	h := newHouse(t)
	s := h.serve()
	h.must("volume", "create", "web-1", "--size", "1MiB")
	h.must("snapshot", "create", "web-1", "before")
	tool(t, "nbdinfo", s.uri+"/web-1~0")
	refused(t, "nbdinfo", s.uri+"/web-1~1")
	require.Contains(t, refused(t, "qemu-img", "info", s.uri+"/web-1~x"), "is no epoch")
	require.Contains(t, refused(t, "qemu-img", "info", s.uri+"/web-2~0"), "no export named")

	client, err := dialNBD(s.socket, "web-1~0")
	require.NoError(t, err)
	require.Equal(t, exitConflict, h.run("volume", "rollback", "web-1", "before").code)
	h.must("volume", "rollback", "web-1", "before", "--disconnect")
	p := make([]byte, 4096)
	require.ErrorIs(t, client.do(nbdRead, 0, 0, len(p), p), errLost, "it is fenced under that name too")
	client.close()

	message := refused(t, "qemu-img", "info", s.uri+"/web-1~0")
	require.Contains(t, message, "rolled back to snapshot before")
	require.Contains(t, message, "accept-epoch web-1")
	tool(t, "nbdinfo", s.uri+"/web-1~1")
	tool(t, "nbdinfo", s.uri+"/web-1")
	require.Contains(t, h.must("volume", "inspect", "web-1"), "rolled back")
	h.must("volume", "accept-epoch", "web-1")
	tool(t, "nbdinfo", s.uri+"/web-1~0")
	require.Contains(t, h.must("volume", "inspect", "web-1"), "are let on")
	s.stop()
}
