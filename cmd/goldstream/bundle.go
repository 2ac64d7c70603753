package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/lifecycle/task"
)

func bundleCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "import", args: "FILE", usage: "make the plans and golden images of an artifact bundle, all or none, and keep the bundle; FILE may be one that is kept",
			examples: []string{
				"goldstream bundle import site-linux.zip",
				"goldstream bundle import site-linux.zip --dry-run",
				"goldstream bundle import site-linux.zip --on-conflict overwrite",
			},
			flags: []cli.Flag{
				&cli.StringFlag{Name: "name", Usage: "`NAME` under which the bundle is kept (default: the one it has itself)"},
				&cli.StringFlag{Name: "on-conflict", Usage: "`WHAT` is done where something else has a name: fail, overwrite, keep or rename", Value: string(v1.ConflictFail)},
				&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"},
				requestIDFlag(),
			},
			action: importBundle, complete: names{bundleNames},
		},
		{
			name: "create", args: "NAME", usage: "make an artifact bundle of plans and images that are here; what they refer to comes with them",
			examples: []string{
				"goldstream bundle create site-linux --deployment site-web",
				"goldstream bundle create scripts --script site-mount --script site-host --description 'for RHEL 8'",
			},
			flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "script", Usage: "`NAME` of a plan script; may be repeated"},
				&cli.StringSliceFlag{Name: "build", Usage: "`NAME` of a build plan; may be repeated"},
				&cli.StringSliceFlag{Name: "deployment", Usage: "`NAME` of a deployment plan; may be repeated"},
				&cli.StringSliceFlag{Name: "image", Usage: "`NAME` of a golden image; may be repeated"},
				&cli.StringFlag{Name: "description", Usage: "`TEXT` that stands in it"},
				&cli.BoolFlag{Name: "protected", Usage: "mark the bundle and all in it as not to be changed"},
				requestIDFlag(),
			},
			action: createBundle,
		},
		{
			name: "export", args: "NAME DEST", usage: "write the file of a bundle that is kept",
			examples: []string{"goldstream bundle export site-linux site-linux.zip"},
			action:   exportBundle, complete: names{bundleNames},
		},
		{
			name: "inspect", args: "BUNDLE", usage: "show what is in a bundle that is kept, or check and show a file without a daemon",
			examples: []string{"goldstream bundle inspect site-linux.zip", "goldstream bundle inspect site-linux --json"},
			action:   inspectBundle, complete: names{bundleNames},
		},
		{
			name: "list", usage: "list the bundles that are kept",
			examples: []string{"goldstream bundle list"},
			action:   listBundles,
		},
		{
			name: "delete", args: "NAME", usage: "delete a bundle; what was imported from it stays",
			examples: []string{"goldstream bundle delete site-linux"},
			action:   deleteBundle, complete: names{bundleNames},
		},
	})
}

func bundleNames(c *call) []string {
	return daemonNames(c, (*v1.Client).Bundles, func(b v1.BundleInfo) string { return b.Name })
}

func importBundle(c *call) error {
	on := v1.Conflict(c.String("on-conflict"))
	if !slices.Contains(v1.Conflicts(), on) {
		return usagef("bundle import: --on-conflict %q: there are fail, overwrite, keep and rename", string(on))
	}
	f, err := openBundleFile(c.arg(0))
	if err != nil {
		return err
	}
	if f != nil {
		defer f.Close()
	}
	return c.with(true, func(client *v1.Client) error { return c.importBundle(client, f, on) })
}

// openBundleFile opens the file, or returns nil for what can only be the name of a
// bundle that is kept.
func openBundleFile(arg string) (*os.File, error) {
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) && !strings.Contains(arg, "/") && !strings.HasSuffix(arg, ".zip") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || fi.IsDir() {
		f.Close()
		return nil, errors.Join(err, usagef("%s is a directory; name the bundle in it", arg))
	}
	return f, nil
}

// importBundle uploads f, if there is one, and imports it. A bundle that was not
// there before is removed again where nothing came of it.
func (c *call) importBundle(client *v1.Client, f *os.File, on v1.Conflict) (err error) {
	name, added := c.arg(0), false
	if f != nil {
		known, err := client.Bundles(c.ctx)
		if err != nil {
			return err
		}
		info, err := client.AddBundle(c.ctx, c.String("name"), f, remaining(f))
		if err != nil {
			return err
		}
		name = info.URI
		added = !slices.ContainsFunc(known, func(b v1.BundleInfo) bool { return b.URI == info.URI })
		for _, w := range info.Warnings {
			c.note(plain(w))
		}
	}
	dry := c.Bool("dry-run")
	defer func() {
		if added && (dry || err != nil) {
			err = errors.Join(err, client.DeleteBundle(c.ctx, name))
		}
	}()
	if dry {
		changes, err := client.PreviewBundle(c.ctx, name, on)
		if err != nil {
			return err
		}
		return c.printChanges(changes)
	}
	t, err := client.ImportBundle(c.ctx, name, on, c.requestID())
	if err != nil {
		return err
	}
	var changes v1.BundleChanges
	if err := c.taskResult(client, t, &changes); err != nil {
		return err
	}
	return c.printChanges(changes)
}

// taskResult waits for a task and decodes its result.
func (c *call) taskResult(client *v1.Client, t task.Info, out any) error {
	t, err := c.follow(c.ctx, client, t, false)
	if err == nil {
		err = taskError(t)
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(t.Result)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}

func (c *call) printChanges(changes v1.BundleChanges) error {
	return c.print(changes.Artifacts, func(w io.Writer) {
		fmt.Fprintln(w, "KIND\tNAME\tCHANGE\tNAME HERE")
		for _, a := range changes.Artifacts {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Kind, plain(a.Name), a.Change, orDash(plain(a.As)))
		}
		for _, a := range changes.Artifacts {
			if a.Why != "" {
				fmt.Fprintf(w, "%s was %s: %s\n", plain(a.Name), a.Change, a.Why)
			}
		}
	})
}

func createBundle(c *call) error {
	req := v1.BundleRequest{Name: c.arg(0), Description: c.String("description"), ReadOnly: c.Bool("protected")}
	for flag, list := range map[string]*[]v1.BundleItem{"script": &req.Scripts, "build": &req.Builds, "deployment": &req.Deployments, "image": &req.Images} {
		for _, name := range c.StringSlice(flag) {
			*list = append(*list, v1.BundleItem{Name: name, ReadOnly: req.ReadOnly})
		}
	}
	return c.with(false, func(client *v1.Client) error {
		t, err := client.CreateBundle(c.ctx, req, c.requestID())
		if err != nil {
			return err
		}
		var info v1.BundleInfo
		if err := c.taskResult(client, t, &info); err != nil {
			return err
		}
		return c.printBundle(info)
	})
}

func exportBundle(c *call) error {
	name, dest := c.arg(0), c.arg(1)
	return c.with(false, func(client *v1.Client) error {
		if dest == "-" {
			_, err := client.DownloadBundle(c.ctx, name, c.out)
			return err
		}
		if fi, err := os.Stat(dest); err == nil && fi.IsDir() {
			return usagef("bundle export: %s is a directory; name a file in it", dest)
		}
		var size int64
		err := wholeFile(dest, func(f *os.File) (err error) {
			size, err = client.DownloadBundle(c.ctx, name, f)
			return err
		})
		if err != nil {
			return destError(dest, err)
		}
		out := struct {
			Bundle string `json:"bundle"`
			Dest   string `json:"dest"`
			Size   int64  `json:"size"`
		}{name, dest, size}
		return c.print(out, func(w io.Writer) { fmt.Fprintf(w, "exported %s to %s: %s\n", name, dest, humanSize(size)) })
	})
}

func listBundles(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		list, err := client.Bundles(c.ctx)
		if err != nil {
			return err
		}
		return c.print(list, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tARTIFACTS\tSIZE\tCREATED\tDESCRIPTION")
			for _, b := range list {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", plain(b.Name), b.Count, humanSize(b.Size), localTime(b.Created), orDash(shortened(plain(b.Description), 60)))
			}
		})
	})
}

// plain makes text of a file harmless to terminals.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
}

func shortened(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func deleteBundle(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.DeleteBundle(c.ctx, c.arg(0)); err != nil {
			return err
		}
		return c.printDeleted("bundle", c.arg(0))
	})
}
