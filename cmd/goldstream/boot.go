package main

import "github.com/urfave/cli/v2"

// bootCommands are those of the noun boot: how servers start from the network.
func bootCommands() []*cli.Command {
	return commands([]verb{
		{
			name: "files", args: "NAME DIR", usage: "copy the kernel, initrd and NBD modules of an image or volume into a new directory, with what its boot loader says of them",
			examples: []string{"goldstream boot files web-1 /tmp/web-1-boot"},
			flags:    sandboxFlags(), action: extractBoot, complete: names{diskNames},
		},
	})
}
