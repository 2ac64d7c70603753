package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/access"
	"goldstream/api/v1"
)

// apiTokenCommands are those of the noun token; those of volumes are exports.
func apiTokenCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "create", args: "NAME", usage: "make an API token; it is told this once",
			examples: []string{
				"goldstream token create prometheus --role read-only",
				"goldstream token create ci --role server --lifetime 720h",
			},
			flags: []cli.Flag{
				roleFlag(),
				&cli.DurationFlag{Name: "lifetime", Usage: "`TIME` after which it ends, such as 720h (default: when it is revoked)"},
			},
			action: createAPIToken,
		},
		{
			name: "list", usage: "list the API tokens, the oldest first, without their secrets",
			examples: []string{"goldstream token list"}, action: listAPITokens,
		},
		{
			name: "revoke", args: "ID", usage: "take an API token back",
			examples: []string{"goldstream token revoke 3f9a1c72e05b"}, complete: names{apiTokenIDs},
			action: func(c *call) error {
				return c.with(false, func(client *v1.Client) error {
					if err := client.RevokeAPIToken(c.ctx, c.arg(0)); err != nil {
						return err
					}
					return c.printDeleted("token", c.arg(0))
				})
			},
		},
	})
}

func apiTokenIDs(c *call) []string {
	return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]v1.APIToken, error) {
		return client.APITokens(ctx)
	}, func(t v1.APIToken) string { return t.ID })
}

func createAPIToken(c *call) error {
	lifetime := c.Duration("lifetime")
	if lifetime < 0 || lifetime > 0 && lifetime < time.Second {
		return usagef("--lifetime %s: give a second or more, or leave it away", lifetime)
	}
	req := v1.APITokenRequest{Name: c.arg(0), Role: access.Role(c.String("role")), Lifetime: int64(lifetime / time.Second)}
	return c.with(false, func(client *v1.Client) error {
		t, err := client.CreateAPIToken(c.ctx, req)
		if err != nil {
			return err
		}
		return c.print(t, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", t.Token)
			c.note(fmt.Sprintf("API token %s with the role %s; it is not shown again", t.ID, t.Role))
		})
	})
}

func listAPITokens(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.APITokens(c.ctx)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tNAME\tROLE\tOWNER\tCREATED\tENDS")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Role, orDash(t.Owner), localTime(t.Created), tokenEnd(t))
			}
		})
	})
}

func tokenEnd(t v1.APIToken) string {
	switch {
	case t.Expires.IsZero():
		return "when revoked"
	case t.Expired:
		return "ended"
	}
	return localTime(t.Expires)
}
