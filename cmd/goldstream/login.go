package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"goldstream/access"
	"goldstream/api/v1"
)

func loginCommand() *cli.Command {
	return verb{
		name: "login", usage: "begin a session at a server; its token goes to --token-file or to standard output",
		examples: []string{
			"goldstream login --server https://10.0.0.1:8443 --ca ca-cert.pem --token-file ~/.goldstream-token",
			"goldstream login --server https://10.0.0.1:8443 --user operator --change-password",
		},
		flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Usage: "`NAME` of the user", Value: access.Administrator},
			&cli.BoolFlag{Name: "change-password", Usage: "ask for a new password too"},
		},
		action: login,
	}.command()
}

func logoutCommand() *cli.Command {
	return verb{
		name: "logout", usage: "end the session of the token",
		examples: []string{"goldstream logout --server https://10.0.0.1:8443 --token-file ~/.goldstream-token"},
		action: func(c *call) error {
			return c.with(false, func(client *v1.Client) error {
				if err := client.Logout(c.ctx); err != nil {
					return err
				}
				return c.printDeleted("session", "own")
			})
		},
	}.command()
}

func whoamiCommand() *cli.Command {
	return verb{
		name: "whoami", usage: "show as whom the daemon sees this command",
		examples: []string{"goldstream whoami"},
		action: func(c *call) error {
			return c.with(false, func(client *v1.Client) error {
				me, err := client.Whoami(c.ctx)
				if err != nil {
					return err
				}
				return c.print(me, func(w io.Writer) {
					fields(w, [][2]string{{"user", me.User}, {"role", string(me.Role)}})
				})
			})
		},
	}.command()
}

func login(c *call) error {
	if c.String("server") == "" {
		return usagef("login: --server is missing; on the daemon's own host no login is needed")
	}
	conn, err := c.serverWith("")
	if err != nil {
		return err
	}
	ask := c.passwords()
	req := v1.LoginRequest{User: c.String("user")}
	if req.Password, err = ask.one("Password of " + req.User); err != nil {
		return errors.Join(err, conn.close())
	}
	if c.Bool("change-password") {
		if req.NewPassword, err = ask.fresh(); err != nil {
			return errors.Join(err, conn.close())
		}
	}
	l, err := conn.Login(c.ctx, req)
	if errors.Is(err, access.ErrOneTime) && req.NewPassword == "" {
		c.note("this password is for one login: choose another")
		if req.NewPassword, err = ask.fresh(); err == nil {
			l, err = conn.Login(c.ctx, req)
		}
	}
	if err = errors.Join(err, conn.close()); err != nil {
		return err
	}
	return c.keepLogin(l)
}

// keepLogin writes the token where others do not see it.
func (c *call) keepLogin(l v1.Login) error {
	path := c.String("token-file")
	if path == "" {
		return c.print(l, func(w io.Writer) { fmt.Fprintln(w, l.Token) })
	}
	if err := writeSecret(path, l.Token+"\n"); err != nil {
		return fmt.Errorf("the file of the token: %w", err)
	}
	return c.print(l.Whoami, func(w io.Writer) {
		fmt.Fprintf(w, "logged in as %s with the role %s; the token is in %s\n", l.User, l.Role, path)
	})
}

// writeSecret puts a file in place that only its owner may read.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".goldstream-token-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// passwords asks for passwords on a terminal, without showing them, or reads each as
// one line.
type passwords struct {
	c     *call
	lines *bufio.Reader
}

func (c *call) passwords() *passwords {
	return &passwords{c, bufio.NewReader(io.LimitReader(c.in, 64<<10))}
}

func (p *passwords) one(prompt string) (string, error) {
	if f, ok := p.c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(p.c.streams.err, prompt+": ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.c.streams.err)
		return string(b), err
	}
	line, err := p.lines.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usagef("%s is missing: type it, or pipe it in as a line", strings.ToLower(prompt[:1])+prompt[1:])
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}

// fresh asks for a new password, on a terminal twice.
func (p *passwords) fresh() (string, error) {
	first, err := p.one("New password")
	if err != nil {
		return "", err
	}
	if f, ok := p.c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		second, err := p.one("The same again")
		if err == nil && first != second {
			err = usagef("the two differ")
		}
		return first, err
	}
	return first, nil
}
