package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func enclosureCommands() []*cli.Command {
	known := names{resourceNames(v1.EnclosureCollection)}
	text := func(e *v1.Enclosure) func(io.Writer) {
		return func(w io.Writer) {
			fields(w, headFields(e.ResourceHead, [2]string{"serial", e.Serial}, [2]string{"logical enclosure", e.LogicalEnclosure}))
		}
	}
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add an enclosure; 'logical-enclosure' puts it to use",
			examples: []string{"goldstream enclosure add frame-1"},
			flags:    describable(&cli.StringFlag{Name: "serial", Usage: "serial `NUMBER`"}),
			action: func(c *call) error {
				e := v1.Enclosure{Serial: c.String("serial")}
				return addResource(c, &e, text(&e))
			},
		},
		{
			name: "list", usage: "list the enclosures",
			examples: []string{"goldstream enclosure list"},
			action: func(c *call) error {
				return listResources(c, v1.EnclosureCollection, "NAME | LOGICAL ENCLOSURE | SERIAL | DESCRIPTION", func(e v1.Enclosure) []string {
					return []string{e.Name, e.LogicalEnclosure, e.Serial, e.Description}
				})
			},
		},
		{
			name: "show", args: "NAME", usage: "show one enclosure",
			examples: []string{"goldstream enclosure show frame-1"}, complete: known,
			action: func(c *call) error {
				var e v1.Enclosure
				return showResource(c, &e, text(&e))
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete an enclosure without servers that is in no logical enclosure",
			examples: []string{"goldstream enclosure delete frame-1"},
			flags:    resourceFlags(), action: deleteResource(v1.EnclosureCollection, "enclosure"), complete: known,
		},
	})
}

func groupCommands() []*cli.Command {
	known := names{resourceNames(v1.GroupCollection)}
	flags := slices.Clip(describable(&cli.BoolFlag{Name: "no-deployment", Usage: "servers in it get no OS volumes; --no-deployment=false takes it back"}))
	text := func(g *v1.EnclosureGroup) func(io.Writer) {
		return func(w io.Writer) {
			fields(w, headFields(g.ResourceHead, [2]string{"OS deployment", deploymentWord(*g)}))
		}
	}
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add an enclosure group",
			examples: []string{"goldstream enclosure-group add production"}, flags: flags,
			action: func(c *call) error {
				g := v1.EnclosureGroup{NoDeployment: c.Bool("no-deployment")}
				return addResource(c, &g, text(&g))
			},
		},
		{
			name: "edit", args: "NAME", usage: "change an enclosure group",
			examples: []string{"goldstream enclosure-group edit production --no-deployment"},
			flags:    append(flags, renameFlag()), complete: known,
			action: func(c *call) error {
				var g v1.EnclosureGroup
				return editResource(c, &g, func() error {
					if c.IsSet("no-deployment") {
						g.NoDeployment = c.Bool("no-deployment")
					}
					return nil
				}, text(&g))
			},
		},
		{
			name: "list", usage: "list the enclosure groups",
			examples: []string{"goldstream enclosure-group list"},
			action: func(c *call) error {
				return listResources(c, v1.GroupCollection, "NAME | OS DEPLOYMENT | DESCRIPTION", func(g v1.EnclosureGroup) []string {
					return []string{g.Name, deploymentWord(g), g.Description}
				})
			},
		},
		{
			name: "show", args: "NAME", usage: "show one enclosure group",
			examples: []string{"goldstream enclosure-group show production"}, complete: known,
			action: func(c *call) error {
				var g v1.EnclosureGroup
				return showResource(c, &g, text(&g))
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete an enclosure group that nothing refers to",
			examples: []string{"goldstream enclosure-group delete production"},
			flags:    resourceFlags(), action: deleteResource(v1.GroupCollection, "enclosure group"), complete: known,
		},
	})
}

func deploymentWord(g v1.EnclosureGroup) string {
	if g.NoDeployment {
		return "off"
	}
	return "on"
}

func logicalCommands() []*cli.Command {
	known := names{resourceNames(v1.LogicalCollection)}
	flags := slices.Clip(describable(
		&cli.StringFlag{Name: "group", Usage: "`NAME` of the enclosure group (of a new one: default)"},
		&cli.StringSliceFlag{Name: "enclosure", Usage: "`NAME` of an enclosure in it; may be repeated; an edit lists all"},
		&cli.BoolFlag{Name: "no-enclosures", Usage: "there is no enclosure in it"},
	))
	set := func(c *call, l *v1.LogicalEnclosure) error {
		if c.IsSet("group") {
			l.Group = c.String("group")
		}
		if c.IsSet("enclosure") && c.Bool("no-enclosures") {
			return usagef("logical-enclosure: give --enclosure or --no-enclosures, not both")
		}
		if c.IsSet("enclosure") || c.Bool("no-enclosures") {
			l.Enclosures = c.StringSlice("enclosure")
		}
		return nil
	}
	text := func(l *v1.LogicalEnclosure) func(io.Writer) {
		return func(w io.Writer) {
			fields(w, headFields(l.ResourceHead, [2]string{"group", l.Group}))
			for _, e := range l.Enclosures {
				fmt.Fprintf(w, "enclosure\t%s\n", e)
			}
		}
	}
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add a logical enclosure: the home of the OS volumes of servers in it",
			examples: []string{"goldstream logical-enclosure add le-1 --group production --enclosure frame-1 --enclosure frame-2"}, flags: flags,
			action: func(c *call) error {
				var l v1.LogicalEnclosure
				if err := set(c, &l); err != nil {
					return err
				}
				return addResource(c, &l, text(&l))
			},
		},
		{
			name: "edit", args: "NAME", usage: "move a logical enclosure to another group, or change its enclosures",
			examples: []string{"goldstream logical-enclosure edit le-1 --group staging"},
			flags:    append(flags, renameFlag()), complete: known,
			action: func(c *call) error {
				var l v1.LogicalEnclosure
				return editResource(c, &l, func() error { return set(c, &l) }, text(&l))
			},
		},
		{
			name: "list", usage: "list the logical enclosures",
			examples: []string{"goldstream logical-enclosure list"},
			action: func(c *call) error {
				return listResources(c, v1.LogicalCollection, "NAME | GROUP | ENCLOSURES | DESCRIPTION", func(l v1.LogicalEnclosure) []string {
					return []string{l.Name, l.Group, strings.Join(l.Enclosures, ", "), l.Description}
				})
			},
		},
		{
			name: "show", args: "NAME", usage: "show one logical enclosure",
			examples: []string{"goldstream logical-enclosure show le-1"}, complete: known,
			action: func(c *call) error {
				var l v1.LogicalEnclosure
				return showResource(c, &l, text(&l))
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete a logical enclosure to which no profile is assigned",
			examples: []string{"goldstream logical-enclosure delete le-1 --dry-run"},
			flags:    resourceFlags(confirmFlag()), action: deleteResource(v1.LogicalCollection, "logical enclosure"), complete: known,
		},
	})
}
