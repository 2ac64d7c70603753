package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"goldstream/api/v1"
)

// tokenVariable holds a token; there is no flag for it, which all users of this host
// could read in the list of processes.
const tokenVariable = "GOLDSTREAM_TOKEN"

// maxTokenFile is more than a file with a token has.
const maxTokenFile = 4 << 10

// maxCAFile is more than a file with certificates has.
const maxCAFile = 1 << 20

// here refuses what works on this host's data alone, where a server is named.
func (c *call) here() error {
	if c.String("server") == "" {
		return nil
	}
	return usagef("%s works on the daemon's host alone, in its data directory: run it there, without --server and GOLDSTREAM_SERVER", commandName(c.Context))
}

// reachServer returns a connection to the daemon of another host, or nothing where
// none is named.
func (c *call) reachServer() (*connection, error) {
	if c.String("server") == "" {
		return nil, nil
	}
	if c.readOnly {
		return nil, usagef("--read-only reads the data of this host, and --server names another one: leave one of them away")
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, usagef("no token for %s: 'goldstream login' makes one; name its file with --token-file, or set %s", c.String("server"), tokenVariable)
	}
	return c.serverWith(token)
}

// serverWith connects with a token, or with none to log in.
func (c *call) serverWith(token string) (*connection, error) {
	r := v1.Remote{URL: c.String("server"), Token: token}
	if path := c.String("ca"); path != "" {
		p, err := readSmall(path, maxCAFile)
		if err != nil {
			return nil, fmt.Errorf("the certificate of --ca: %w", err)
		}
		r.CA = p
	}
	client, err := v1.NewRemoteClient(r)
	if err != nil {
		return nil, err
	}
	return &connection{Client: client, close: func() error { client.Close(); return nil }}, nil
}

// token reads the token for the server; "" where there is none.
func (c *call) token() (string, error) {
	path := c.String("token-file")
	if path == "" {
		return strings.TrimSpace(os.Getenv(tokenVariable)), nil
	}
	fi, err := os.Stat(path)
	if err == nil && fi.Mode().IsRegular() && fi.Mode()&0o007 != 0 {
		return "", fmt.Errorf("everyone on this host may use the token in %s: run chmod 600 on it, and revoke the token if others were here", path)
	}
	p, err := readSmall(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("the file of the token: %w", err)
	}
	token := strings.TrimSpace(string(p))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the file %s holds no token: one word is expected", path)
	}
	return token, nil
}

// readSmall reads a file that has up to so many bytes.
func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(p)) > most {
		err = errors.New(path + " is too long")
	}
	return p, err
}
