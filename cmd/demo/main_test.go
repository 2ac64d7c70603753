package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEnded: nobody is told that all is cleaned up when it is not.
func TestEnded(t *testing.T) {
	t.Parallel()
	left, failure := errors.New("a namespace is left"), errors.New("no boot")
	for _, c := range []struct {
		interrupted bool
		err, left   error
		code        int
		has, hasNot string
	}{
		{false, nil, nil, 0, "", "\n"},
		{false, failure, nil, 1, "demo failed: no boot", "clean"},
		{false, nil, left, 1, "not everything is cleaned up: a namespace is left", "nil"},
		{false, failure, left, 1, "demo failed: no boot\nnot everything is cleaned up: a namespace is left", "; everything"},
		{true, context.Canceled, nil, 130, "interrupted; everything is cleaned up", "failed"},
		{true, context.Canceled, left, 130, "interrupted\nnot everything is cleaned up: a namespace is left", "; everything"},
	} {
		var said bytes.Buffer
		require.Equal(t, c.code, ended(&said, config{logs: "logs"}, c.interrupted, c.err, c.left))
		require.Contains(t, said.String(), c.has)
		require.NotContains(t, said.String(), c.hasNot)
	}
}

// TestNetworkGoes with all that runs in it.
func TestNetworkGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made as root")
	}
	name := fmt.Sprintf("%s%d-test", netPrefix, os.Getpid())
	_, err := output(t.Context(), "ip", "netns", "add", name)
	require.NoError(t, err)
	defer exec.Command("ip", "netns", "del", name).Run()
	left := in(t.Context(), name, "sh", "-c", "echo; exec sleep 1000")
	said, err := left.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, left.Start())
	_, err = said.Read(make([]byte, 1)) // it is inside
	require.NoError(t, err)
	require.NoError(t, removeNetwork(t.Context(), name))
	require.ErrorContains(t, left.Wait(), "killed")
	require.NoFileExists(t, "/run/netns/"+name)
	require.NoError(t, removeNetwork(t.Context(), name), "nothing to do")
}
