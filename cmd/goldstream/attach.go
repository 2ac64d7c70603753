package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"goldstream/attach"
)

// attachFlags are read by package attach, which checks them too.
func attachFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "`ADDR`ess of the NBD server, host, host:port or unix:PATH"},
		&cli.StringFlag{Name: "export", Usage: "`NAME` of the export"},
		&cli.StringFlag{Name: "export-file", Usage: "`FILE` that has the name of the export, where that is a secret"},
		&cli.StringFlag{Name: "connections", Usage: "`NUMBER` of sockets that share the load", DefaultText: "4"},
		&cli.StringFlag{Name: "timeout", Usage: "`TIME` after which a connection is dead that owes an answer", DefaultText: "10s"},
		&cli.StringFlag{Name: "dead", Usage: "`TIME` that requests wait for the server to come back before they fail", DefaultText: "24h"},
		&cli.StringFlag{Name: "read-ahead", Usage: "read-ahead of the device in `KIB`", DefaultText: "1024"},
		&cli.StringFlag{Name: "max-request", Usage: "longest request in `KIB`", DefaultText: "1024"},
		&cli.BoolFlag{Name: "foreground", Usage: "stay, instead of leaving a process in the background that reconnects"},
	}
}

func attachCommand() *cli.Command {
	return verb{
		name: "attach", args: "DEVICE", usage: "make an export a block device of this machine, and keep it attached",
		examples: []string{"goldstream attach /dev/nbd0 --server 192.0.2.10 --export web-1"},
		flags:    attachFlags(),
		action: func(c *call) error {
			var args []string
			for _, f := range attachFlags() {
				name := f.Names()[0]
				switch _, isSwitch := f.(*cli.BoolFlag); {
				case isSwitch && c.Bool(name):
					args = append(args, "--"+name)
				case !isSwitch && c.IsSet(name):
					args = append(args, "--"+name+"="+c.String(name))
				}
			}
			return attachError(attach.Main(c.ctx, []string{"attach"}, append(args, c.arg(0)), c.out, c.err))
		},
	}.command()
}

func detachCommand() *cli.Command {
	return verb{
		name: "detach", args: "DEVICE", usage: "end what attach began",
		examples: []string{"goldstream detach /dev/nbd0"},
		action:   func(c *call) error { return attachError(attach.Detach(c.arg(0))) },
	}.command()
}

func attachError(err error) error {
	if errors.Is(err, attach.ErrUsage) {
		return usagef("%v", err)
	}
	return err
}
