package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

// tokenCommands are those of the noun export: by which names servers of the
// network reach volumes.
func tokenCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "create", args: "VOLUME", usage: "make a token by which a volume is opened from the network; it is told this once",
			examples: []string{
				"goldstream export create web-1 --allow 10.1.2.3",
				"goldstream export create web-1 --allow 10.1.2.0/24 --allow fd00:1::/64 --read-only",
			},
			flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "allow", Usage: "`CIDR` of clients that may use it; may be repeated (default: all)"},
				&cli.BoolFlag{Name: "read-only", Usage: "open the volume for reading only"},
			},
			action: createToken, complete: names{volumeNames},
		},
		{
			name: "list", usage: "list the exports, the oldest first, without their tokens",
			examples: []string{"goldstream export list", "goldstream export list --json"},
			action:   listTokens,
		},
		{
			name: "revoke", args: "ID", usage: "take a token back and cut off who came in by it",
			examples: []string{"goldstream export revoke 3f9a1c72e05b"},
			action:   revokeToken, complete: names{tokenIDs},
		},
	})
}

func tokenIDs(c *call) []string {
	return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]v1.TokenInfo, error) {
		return client.Tokens(ctx)
	}, func(t v1.TokenInfo) string { return t.ID })
}

func createToken(c *call) error {
	req := v1.TokenRequest{Allow: c.StringSlice("allow"), ReadOnly: c.Bool("read-only")}
	return c.with(false, func(client *v1.Client) error {
		t, err := client.CreateToken(c.ctx, c.arg(0), req)
		if err != nil {
			return err
		}
		return c.print(t, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", t.Token)
			c.note(fmt.Sprintf("export %s of volume %s: servers open nbd://THIS-HOST:PORT/TOKEN (nbds:// with TLS); the token is not shown again", t.ID, t.Volume))
		})
	})
}

func listTokens(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.Tokens(c.ctx)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tVOLUME\tMODE\tALLOWED FROM\tCREATED")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Volume, tokenMode(t), allowed(t), localTime(t.Created))
			}
		})
	})
}

func tokenMode(t v1.TokenInfo) string {
	switch {
	case t.Idle:
		return "volume deleted"
	case t.ReadOnly:
		return "read-only"
	}
	return "read-write"
}

func allowed(t v1.TokenInfo) string {
	if len(t.Allow) == 0 {
		return "anywhere"
	}
	return strings.Join(t.Allow, " ")
}

func revokeToken(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.RevokeToken(c.ctx, c.arg(0)); err != nil {
			return err
		}
		return c.printDeleted("export", c.arg(0))
	})
}
