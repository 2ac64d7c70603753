package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/access"
	"goldstream/api/v1"
)

func userCommands() []*cli.Command {
	oneTime := &cli.BoolFlag{Name: "one-time", Usage: "make a password for one login and print it, instead of asking for one"}
	known := names{userNames}
	return commands([]verb{
		{
			name: "create", args: "NAME", usage: "make a user; the password is asked for, or read from standard input",
			examples: []string{"goldstream user create operator --role server --one-time"},
			flags:    []cli.Flag{roleFlag(), oneTime}, action: createUser,
		},
		{
			name: "list", usage: "list the users",
			examples: []string{"goldstream user list"}, action: listUsers,
		},
		{
			name: "role", args: "NAME ROLE", usage: "give a user another role: infrastructure, server, software or read-only",
			examples: []string{"goldstream user role operator software"}, complete: append(known, roleNames),
			action: func(c *call) error {
				return c.changeUser(v1.UserRequest{Role: access.Role(c.arg(1))}, "")
			},
		},
		{
			name: "password", args: "NAME", usage: "give a user another password; the user's sessions end",
			examples: []string{"goldstream user password administrator --one-time"},
			flags:    []cli.Flag{oneTime}, complete: known,
			action: func(c *call) error {
				password, made, err := c.newPassword()
				if err != nil {
					return err
				}
				return c.changeUser(v1.UserRequest{Password: password, OneTime: made != ""}, made)
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete a user with its sessions and API tokens",
			examples: []string{"goldstream user delete operator"}, complete: known,
			action: func(c *call) error {
				return c.with(false, func(client *v1.Client) error {
					if err := client.DeleteUser(c.ctx, c.arg(0)); err != nil {
						return err
					}
					return c.printDeleted("user", c.arg(0))
				})
			},
		},
	})
}

func roleFlag() cli.Flag {
	return &cli.StringFlag{Name: "role", Usage: "`ROLE`: infrastructure, server, software or read-only", Value: string(access.ReadOnly)}
}

func roleNames(*call) (list []string) {
	for _, r := range access.Roles() {
		list = append(list, string(r))
	}
	return list
}

func userNames(c *call) []string {
	return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]access.User, error) {
		return client.Users(ctx)
	}, func(u access.User) string { return u.Name })
}

// newPassword asks for a password or, with --one-time, makes one, which it returns
// twice.
func (c *call) newPassword() (password, made string, err error) {
	if c.Bool("one-time") {
		made = strings.ToLower(rand.Text()) // 130 bits
		return made, made, nil
	}
	password, err = c.passwords().fresh()
	return password, "", err
}

// userMade is a user, with the password that was made for it.
type userMade struct {
	access.User
	Password string `json:"password,omitempty"`
}

func (c *call) printUser(u access.User, made string) error {
	return c.print(userMade{u, made}, func(w io.Writer) {
		list := [][2]string{{"user", u.Name}, {"role", string(u.Role)}}
		if made != "" {
			list = append(list, [2]string{"one-time password", made})
		}
		fields(w, list)
	})
}

func createUser(c *call) error {
	password, made, err := c.newPassword()
	if err != nil {
		return err
	}
	req := v1.UserRequest{Name: c.arg(0), Role: access.Role(c.String("role")), Password: password, OneTime: made != ""}
	return c.with(false, func(client *v1.Client) error {
		u, err := client.CreateUser(c.ctx, req)
		if err != nil {
			return err
		}
		return c.printUser(u, made)
	})
}

func (c *call) changeUser(req v1.UserRequest, made string) error {
	return c.with(false, func(client *v1.Client) error {
		u, err := client.ChangeUser(c.ctx, c.arg(0), req)
		if err != nil {
			return err
		}
		return c.printUser(u, made)
	})
}

func listUsers(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.Users(c.ctx)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tROLE\tPASSWORD\tCREATED")
			for _, u := range list {
				state := "of " + localTime(u.Changed)
				if u.OneTime {
					state = "for one login"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, u.Role, state, localTime(u.Created))
			}
		})
	})
}
