package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

// resourceFlags are on every verb that changes a resource.
func resourceFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.BoolFlag{Name: "dry-run", Usage: "check the request and show what would happen, and to which volume; change nothing"},
		&cli.StringFlag{Name: "if-match", Usage: "`ETAG` of the state to change, as show prints it; refuse where it is another by now"},
		requestIDFlag(),
	)
}

// describable is on every verb that makes or edits a resource.
func describable(more ...cli.Flag) []cli.Flag {
	return resourceFlags(append(more, &cli.StringFlag{Name: "description", Usage: "`TEXT` for people"})...)
}

// how reads the flags of resourceFlags.
func (c *call) how() v1.Change {
	return v1.Change{ETag: c.String("if-match"), RequestID: c.String("request-id"), DryRun: c.Bool("dry-run"), Confirmed: c.Bool("confirm-loss")}
}

// resourceNames are the names in a collection, for completions.
func resourceNames(of v1.Collection) func(*call) []string {
	return func(c *call) []string {
		return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]v1.ResourceHead, error) {
			return v1.ListResources[v1.ResourceHead](ctx, client, of)
		}, func(h v1.ResourceHead) string { return h.Name })
	}
}

// addResource makes r under the name of the first argument.
func addResource(c *call, r v1.Resource, show func(io.Writer)) error {
	r.Head().Name, r.Head().Description = c.arg(0), c.String("description")
	return c.with(true, func(client *v1.Client) error {
		out, err := client.CreateResource(c.ctx, r, c.how())
		if err != nil {
			return err
		}
		return c.printOutcome(client, out, show)
	})
}

// editResource reads the resource of the first argument into r, changes it by
// the flags that are set, and saves it, unless somebody else did meanwhile.
func editResource(c *call, r v1.Resource, edit func() error, show func(io.Writer)) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.Resource(c.ctx, c.arg(0), r); err != nil {
			return err
		}
		if c.IsSet("description") {
			r.Head().Description = c.String("description")
		}
		if c.IsSet("rename") {
			r.Head().Name = c.String("rename")
		}
		if err := edit(); err != nil {
			return err
		}
		out, err := client.ReplaceResource(c.ctx, c.arg(0), r, c.how())
		if err != nil {
			return err
		}
		return c.printOutcome(client, out, show)
	})
}

func deleteResource(of v1.Collection, what string) func(*call) error {
	return func(c *call) error {
		return c.with(false, func(client *v1.Client) error {
			out, err := client.DeleteResource(c.ctx, of, c.arg(0), c.how())
			if err != nil {
				return err
			}
			return c.printOutcome(client, out, func(w io.Writer) {
				word := "deleted"
				if out.DryRun {
					word = "would delete"
				}
				fmt.Fprintf(w, "%s %s %s\n", word, what, c.arg(0))
			})
		})
	}
}

// printOutcome waits for the task of a change, if it takes one, and prints what
// became of it.
func (c *call) printOutcome(client *v1.Client, out v1.Outcome, show func(io.Writer)) error {
	if out.Task != nil && !out.DryRun {
		t, err := c.follow(c.ctx, client, *out.Task, false)
		if err != nil {
			return err
		}
		if err := taskError(t); err != nil {
			return err
		}
		t.Log = nil
		out.Task = &t
	}
	return c.print(out, func(w io.Writer) {
		showEffects(w, out)
		show(w)
	})
}

// showResource prints the resource of the first argument.
func showResource(c *call, r v1.Resource, show func(io.Writer)) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.Resource(c.ctx, c.arg(0), r); err != nil {
			return err
		}
		return c.print(r, show)
	})
}

// listResources prints a collection as a table.
func listResources[T any](c *call, of v1.Collection, head string, row func(T) []string) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := v1.ListResources[T](c.ctx, client, of)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, strings.ReplaceAll(head, " | ", "\t"))
			for _, r := range list {
				cells := row(r)
				for i := range cells {
					cells[i] = orDash(cells[i])
				}
				fmt.Fprintln(w, strings.Join(cells, "\t"))
			}
		})
	})
}

// headFields are the fields that all resources have.
func headFields(h v1.ResourceHead, more ...[2]string) [][2]string {
	list := append([][2]string{{"name", h.Name}, {"description", h.Description}}, more...)
	if h.ETag == "" { // of a dry run
		return list
	}
	return append(list, [2]string{"uri", h.URI}, [2]string{"etag", h.ETag}, [2]string{"modified", localTime(h.Modified)})
}

func numberOrNone(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
