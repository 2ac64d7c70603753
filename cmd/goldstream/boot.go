package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

// bootCommands are those of the noun boot: how servers start from the network.
func bootCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "assign", args: "VOLUME", usage: "have a server boot from a volume, by its MAC addresses, UUID or serial number",
			examples: []string{
				"goldstream boot assign web-1 --mac 52:54:00:12:34:56 --allow 10.1.2.0/24",
				"goldstream boot assign web-1 --serial CZ12345678 --options 'console=ttyS1,115200'",
			},
			flags: append([]cli.Flag{
				&cli.StringSliceFlag{Name: "mac", Usage: "`MAC` address of a NIC of the server; may be repeated"},
				&cli.StringFlag{Name: "uuid", Usage: "`UUID` of the server, as its firmware tells it"},
				&cli.StringFlag{Name: "serial", Usage: "serial `NUMBER` of the server"},
				&cli.StringFlag{Name: "options", Usage: "`OPTIONS` of the kernel, behind those of the volume's boot loader"},
				&cli.StringSliceFlag{Name: "allow", Usage: "`CIDR` from which the server may ask and open the volume; may be repeated (default: all)"},
			}, sandboxFlags()...),
			action: assignBoot, complete: names{volumeNames},
		},
		{
			name: "list", usage: "list the servers that boot from volumes, and those that asked and have none",
			examples: []string{"goldstream boot list"},
			action:   listBoot,
		},
		{
			name: "status", args: "VOLUME", usage: "tell how far the server of a volume got when it last booted, with times",
			examples: []string{"goldstream boot status web-1"},
			action:   bootStatus, complete: names{volumeNames},
		},
		{
			name: "next", args: "VOLUME MODE", usage: "say how the server of a volume boots the next time: volume, rescue or local",
			examples: []string{"goldstream boot next web-1 rescue", "goldstream boot next web-1 local"},
			action:   nextBoot, complete: names{volumeNames, words("volume", "rescue", "local")},
		},
		{
			name: "refresh", args: "VOLUME", usage: "read the boot files out of a volume again, after its system got another kernel",
			examples: []string{"goldstream boot refresh web-1"},
			flags:    sandboxFlags(), action: refreshBoot, complete: names{volumeNames},
		},
		{
			name: "unassign", args: "VOLUME", usage: "take a volume away from its server, and cut it off",
			examples: []string{"goldstream boot unassign web-1"},
			action:   unassignBoot, complete: names{volumeNames},
		},
		{
			name: "files", args: "NAME DIR", usage: "copy the kernel, initrd and NBD modules of an image or volume into a new directory, with what its boot loader says of them",
			examples: []string{"goldstream boot files web-1 /tmp/web-1-boot"},
			flags:    sandboxFlags(), action: extractBoot, complete: names{diskNames},
		},
	})
}

// words completes fixed words.
func words(list ...string) func(*call) []string { return func(*call) []string { return list } }

func assignBoot(c *call) error {
	req := v1.BootRequest{MACs: c.StringSlice("mac"), UUID: c.String("uuid"), Serial: c.String("serial"), Options: c.String("options"), Allow: c.StringSlice("allow")}
	if len(req.MACs) == 0 && req.UUID == "" && req.Serial == "" {
		return usagef("boot assign: say which server: --mac, --uuid or --serial")
	}
	return c.with(false, func(client *v1.Client) error {
		s, err := client.AssignBoot(c.ctx, c.arg(0), req)
		if err != nil {
			return err
		}
		return c.print(s, func(w io.Writer) { showBootServer(w, s) })
	})
}

func refreshBoot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		s, err := client.RefreshBoot(c.ctx, c.arg(0), "")
		if err != nil {
			return err
		}
		return c.print(s, func(w io.Writer) { showBootServer(w, s) })
	})
}

func nextBoot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		s, err := client.NextBoot(c.ctx, c.arg(0), c.arg(1))
		if err != nil {
			return err
		}
		return c.print(s, func(w io.Writer) { showBootServer(w, s) })
	})
}

func unassignBoot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.UnassignBoot(c.ctx, c.arg(0)); err != nil {
			return err
		}
		return c.printDeleted("boot of volume", c.arg(0))
	})
}

func listBoot(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		l, err := client.Boot(c.ctx)
		if err != nil {
			return err
		}
		return c.print(l, func(w io.Writer) {
			fmt.Fprintln(w, "VOLUME\tSERVER\tKERNEL\tNEXT BOOT\tLAST SEEN")
			for _, s := range l.Servers {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Volume, serverName(s), orDash(s.Kernel), nextMode(s), lastStage(s))
			}
			for _, u := range l.Unknown {
				fmt.Fprintf(w, "-\t%s, asks from %s\t-\tnothing\t%s\n", u.Identity, u.From, localTime(u.Last))
			}
		})
	})
}

func serverName(s v1.BootServer) string {
	parts := append([]string{}, s.MACs...)
	for _, p := range []string{s.UUID, s.Serial} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, " ")
}

func nextMode(s v1.BootServer) string {
	switch {
	case s.Deleted:
		return "nothing: the volume is deleted"
	case s.Next != "":
		return s.Next
	case s.Changed:
		return "volume, with boot files of before it was written"
	}
	return "volume"
}

func lastStage(s v1.BootServer) string {
	b := s.Last
	switch {
	case s.Asked != nil && s.Stuck != "":
		return "stuck after dhcp " + localTime(*s.Asked)
	case s.Asked != nil:
		return "dhcp " + localTime(*s.Asked)
	}
	if b == nil || len(b.Stages) == 0 {
		return "-"
	}
	last := b.Stages[len(b.Stages)-1]
	if b.Problem != "" {
		return "failed " + localTime(last.Time)
	}
	if s.Stuck != "" {
		return "stuck after " + last.Name + " " + localTime(last.Time)
	}
	return last.Name + " " + localTime(last.Time)
}

func bootStatus(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		l, err := client.Boot(c.ctx)
		if err != nil {
			return err
		}
		for _, s := range l.Servers {
			if s.Volume == c.arg(0) {
				return c.print(s, func(w io.Writer) { showBootServer(w, s) })
			}
		}
		return &v1.Error{Code: v1.CodeNotFound, Message: fmt.Sprintf("no server boots from volume %q", c.arg(0)), Advice: "Assign one with 'goldstream boot assign'."}
	})
}

func showBootServer(w io.Writer, s v1.BootServer) {
	fmt.Fprintf(w, "volume\t%s\nserver\t%s\nkernel\t%s\noptions\t%s\nnext boot\t%s\n", s.Volume, serverName(s), orDash(s.Kernel), orDash(s.Options), nextMode(s))
	if s.Asked != nil {
		fmt.Fprintf(w, "asks\t%s, by DHCP, and has not come for its script yet\n", localTime(*s.Asked))
	}
	defer func() {
		if s.Stuck != "" {
			fmt.Fprintf(w, "stuck\t%s\n", s.Stuck)
		}
	}()
	if s.Last == nil {
		fmt.Fprintln(w, "last boot\tnone since goldstream was started")
		return
	}
	fmt.Fprintf(w, "last boot\tfrom %s, %s\n", s.Last.From, s.Last.Claim)
	for i, stage := range s.Last.Stages {
		if i == 0 {
			fmt.Fprintf(w, "  %s\t%s\n", stage.Name, localTime(stage.Time))
			continue
		}
		fmt.Fprintf(w, "  %s\t+%s\n", stage.Name, stage.Time.Sub(s.Last.Stages[0].Time).Round(100*time.Millisecond))
	}
	if s.Last.Problem != "" {
		fmt.Fprintf(w, "problem\t%s\n", s.Last.Problem)
	}
}
