package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func hardwareFlags() []cli.Flag {
	return describable(
		&cli.StringFlag{Name: "type", Usage: "`NAME` of the hardware type (of a new server: default)"},
		&cli.StringFlag{Name: "enclosure", Usage: "`NAME` of the enclosure (of a new server: default)"},
		&cli.IntFlag{Name: "bay", Usage: "`NUMBER` of its bay in the enclosure, 1 and up"},
		&cli.StringSliceFlag{Name: "mac", Usage: "`ADDRESS` of a network card; may be repeated"},
		&cli.StringFlag{Name: "uuid", Usage: "`UUID` that its firmware tells"},
		&cli.StringFlag{Name: "serial", Usage: "serial `NUMBER`"},
		&cli.StringFlag{Name: "power", Usage: "`STATE` of its power as you know it: On, Off or Unknown"},
	)
}

func hardwareCommands() []*cli.Command {
	known := names{resourceNames(v1.HardwareCollection)}
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add a server",
			examples: []string{
				"goldstream hardware add rack1-4 --mac 52:54:00:12:34:56",
				"goldstream hardware add bay-3 --type SY480 --enclosure frame-1 --bay 3",
			},
			flags: hardwareFlags(), action: addHardware,
		},
		{
			name: "edit", args: "NAME", usage: "change a server, or replace it in its bay",
			examples: []string{"goldstream hardware edit bay-3 --serial CZ3452", "goldstream hardware edit bay-3 --power Off"},
			flags:    append(hardwareFlags(), renameFlag()), action: editHardware, complete: known,
		},
		{
			name: "list", usage: "list the servers",
			examples: []string{"goldstream hardware list"}, action: listHardware,
		},
		{
			name: "show", args: "NAME", usage: "show one server",
			examples: []string{"goldstream hardware show bay-3"}, complete: known,
			action: func(c *call) error {
				var h v1.Hardware
				return showResource(c, &h, func(w io.Writer) { fields(w, hardwareText(&h)) })
			},
		},
		{
			name: "delete", args: "NAME", usage: "remove a server from the inventory",
			examples: []string{"goldstream hardware delete bay-3"},
			flags:    resourceFlags(), action: deleteResource(v1.HardwareCollection, "server"), complete: known,
		},
	})
}

func renameFlag() cli.Flag { return &cli.StringFlag{Name: "rename", Usage: "new `NAME`"} }

func addHardware(c *call) error {
	var h v1.Hardware
	c.setHardware(&h)
	return addResource(c, &h, func(w io.Writer) { fields(w, hardwareText(&h)) })
}

func editHardware(c *call) error {
	var h v1.Hardware
	return editResource(c, &h, func() error { c.setHardware(&h); return nil }, func(w io.Writer) { fields(w, hardwareText(&h)) })
}

// setHardware changes what flags name.
func (c *call) setHardware(h *v1.Hardware) {
	for flag, to := range map[string]*string{"type": &h.Type, "enclosure": &h.Enclosure, "uuid": &h.UUID, "serial": &h.Serial, "power": &h.Power} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	if c.IsSet("bay") {
		h.Bay = c.Int("bay")
	}
	if c.IsSet("mac") {
		h.MACs = c.StringSlice("mac")
	}
}

func listHardware(c *call) error {
	return listResources(c, v1.HardwareCollection, "NAME | TYPE | LOGICAL ENCLOSURE | ENCLOSURE | BAY | POWER | PROFILE | MAC",
		func(h v1.Hardware) []string {
			return []string{h.Name, h.Type, h.LogicalEnclosure, h.Enclosure, numberOrNone(h.Bay), h.Power, h.Profile, strings.Join(h.MACs, " ")}
		})
}

func hardwareText(h *v1.Hardware) [][2]string {
	return headFields(h.ResourceHead, [][2]string{
		{"type", h.Type}, {"enclosure", h.Enclosure}, {"bay", numberOrNone(h.Bay)}, {"logical enclosure", h.LogicalEnclosure},
		{"uuid", h.UUID}, {"serial", h.Serial}, {"mac", strings.Join(h.MACs, " ")}, {"power", h.Power}, {"profile", h.Profile},
	}...)
}

func typeCommands() []*cli.Command {
	known := names{resourceNames(v1.TypeCollection)}
	text := func(t *v1.HardwareType) func(io.Writer) {
		return func(w io.Writer) {
			fields(w, headFields(t.ResourceHead, [2]string{"model", t.Model}, [2]string{"family", t.Family}))
		}
	}
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add a hardware type",
			examples: []string{"goldstream hardware-type add SY480 --model 'Synergy 480 Gen10'"},
			flags: describable(&cli.StringFlag{Name: "model", Usage: "`NAME` of the model"},
				&cli.StringFlag{Name: "family", Usage: "`NAME` of the family"}),
			action: func(c *call) error {
				t := v1.HardwareType{Model: c.String("model"), Family: c.String("family")}
				return addResource(c, &t, text(&t))
			},
		},
		{
			name: "list", usage: "list the hardware types",
			examples: []string{"goldstream hardware-type list"},
			action: func(c *call) error {
				return listResources(c, v1.TypeCollection, "NAME | MODEL | FAMILY | DESCRIPTION", func(t v1.HardwareType) []string {
					return []string{t.Name, t.Model, t.Family, t.Description}
				})
			},
		},
		{
			name: "show", args: "NAME", usage: "show one hardware type",
			examples: []string{"goldstream hardware-type show SY480"}, complete: known,
			action: func(c *call) error {
				var t v1.HardwareType
				return showResource(c, &t, text(&t))
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete a hardware type that no server and no profile names",
			examples: []string{"goldstream hardware-type delete SY480"},
			flags:    resourceFlags(), action: deleteResource(v1.TypeCollection, "hardware type"), complete: known,
		},
	})
}
