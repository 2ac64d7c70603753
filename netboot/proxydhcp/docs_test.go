package proxydhcp

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLinesForOtherServers has the lines of docs/netboot.md read by the servers that they
// are for. Those of dhcpd and Kea are not among the packages of the tests, as installing
// them starts them: where they are there, they are asked.
func TestLinesForOtherServers(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/netboot.md")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		heading, before, after string
		check                  []string
	}{
		"dnsmasq": {"dnsmasq that gives addresses:", "port=0\ndhcp-range=10.1.2.100,10.1.2.200\n", "", []string{"dnsmasq", "--test", "--conf-file=FILE"}},
		"dhcpd":   {"ISC dhcpd:", "", "subnet 10.1.2.0 netmask 255.255.255.0 { range 10.1.2.100 10.1.2.200; }\n", []string{"dhcpd", "-t", "-cf", "FILE"}},
		"kea":     {"Kea, in `Dhcp4`:", `{"Dhcp4": {"valid-lifetime": 3600, "lease-database": {"type": "memfile"}, "interfaces-config": {"interfaces": []},` + "\n", "}}\n", []string{"kea-dhcp4", "-t", "FILE"}},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := exec.LookPath(test.check[0])
			if err != nil {
				program, err = exec.LookPath("/usr/sbin/" + test.check[0])
			}
			if err != nil {
				t.Skip(test.check[0] + " is not installed")
			}
			file := filepath.Join(t.TempDir(), "conf")
			require.NoError(t, os.WriteFile(file, []byte(test.before+block(t, string(page), test.heading)+test.after), 0o600))
			args := append([]string{}, test.check[1:]...)
			args[len(args)-1] = strings.Replace(args[len(args)-1], "FILE", file, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}

// block is the indented text below a line.
func block(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n"+heading+"\n\n")
	require.True(t, ok, heading)
	var b strings.Builder
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "    ") {
			break
		}
		b.WriteString(line)
	}
	require.NotEmpty(t, b.String())
	return b.String()
}
