package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const defaultData = "/var/lib/goldstream"

func newApp(s streams) *cli.App {
	app := &cli.App{
		Name:                      "goldstream",
		Usage:                     "golden OS images, cloned into OS volumes and served over NBD",
		Version:                   programVersion(),
		HideVersion:               true, // version is a command
		Reader:                    s.in,
		Writer:                    s.out,
		ErrWriter:                 s.err,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true, // an address may hold a comma
		CustomAppHelpTemplate:     cli.AppHelpTemplate + exitTable,
		Flags:                     commonFlags(),
		Action:                    needCommand,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // run does it
	}
	app.Commands = []*cli.Command{
		serveCommand(),
		noun("image", "golden images", imageCommands()),
		noun("volume", "OS volumes, cloned from golden images", volumeCommands()),
		noun("snapshot", "snapshots of volumes", snapshotCommands()),
		noun("plan", "plan scripts, build plans and deployment plans", planCommands()),
		noun("bundle", "artifact bundles: files of plans and golden images", bundleCommands()),
		noun("task", "work that takes time", taskCommands()),
		deployCommand(),
		captureCommand(),
		noun("profile", "server profiles: which server has which OS volume", profileCommands()),
		noun("template", "what server profiles are made from", templateCommands()),
		noun("event", "who changed what, and why", eventCommands()),
		noun("hardware", "physical servers", hardwareCommands()),
		noun("hardware-type", "model classes of servers", typeCommands()),
		noun("enclosure", "chassis with bays", enclosureCommands()),
		noun("enclosure-group", "templates of enclosures", groupCommands()),
		noun("logical-enclosure", "groups of enclosures: the homes of OS volumes", logicalCommands()),
		noun("store", "the store as a whole: its metadata, and what to do when it is damaged", storeCommands()),
		loginCommand(),
		logoutCommand(),
		whoamiCommand(),
		noun("user", "who may use the API over the network", userCommands()),
		noun("token", "API tokens: how machines use the API over the network", apiTokenCommands()),
		noun("export", "by which tokens servers of the network open volumes", tokenCommands()),
		inspectCommand(),
		noun("boot", "how servers boot from the network", bootCommands()),
		noun("sandbox", "where untrusted disks are opened", sandboxCommands()),
		noun("scrub", "reading all images and snapshots, and comparing them with their checksums", scrubCommands()),
		checkCommand(),
		spaceCommand(),
		statsCommand(),
		statusCommand(),
		connectionsCommand(),
		attachCommand(),
		detachCommand(),
		mountCommand(),
		unmountCommand(),
		doctorCommand(),
		versionCommand(),
		completionCommand(),
	}
	app.BashComplete = func(c *cli.Context) { completeCommands(c, app.Commands) }
	return app
}

// commonFlags are on every command.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "data", Usage: "`DIR` that holds the data", Value: defaultData,
			EnvVars: []string{"GOLDSTREAM_DATA"},
		},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
		&cli.StringFlag{
			Name: "server", Usage: "`URL` of a daemon on another host, https://HOST:PORT, in place of one on --data",
			EnvVars: []string{"GOLDSTREAM_SERVER"},
		},
		&cli.StringFlag{
			Name: "ca", Usage: "`FILE` with the certificate of the authority that the server's is of (default: what this host trusts)",
			EnvVars: []string{"GOLDSTREAM_CA"},
		},
		&cli.StringFlag{
			Name: "token-file", Usage: "`FILE` that holds the token for the server, from 'login' or 'token create' (default: GOLDSTREAM_TOKEN)",
			EnvVars: []string{"GOLDSTREAM_TOKEN_FILE"},
		},
	}
}

// besides are the common flags of a verb; one of its own hides that of the same
// name.
func besides(own []cli.Flag) (list []cli.Flag) {
	for _, f := range commonFlags() {
		if !slices.ContainsFunc(own, func(o cli.Flag) bool { return o.Names()[0] == f.Names()[0] }) {
			list = append(list, f)
		}
	}
	return list
}

func noun(name, usage string, verbs []*cli.Command) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Subcommands: verbs,
		Flags: commonFlags(), Action: needCommand, OnUsageError: onUsageError,
		BashComplete: func(c *cli.Context) { completeCommands(c, verbs) },
	}
}

// verb describes one command.
type verb struct {
	name, args, usage string
	examples          []string
	flags             []cli.Flag
	action            func(*call) error
	complete          names // for its arguments; may be nil
	reads             bool  // it changes nothing, and takes --read-only
}

func (v verb) command() *cli.Command {
	args := strings.Fields(v.args)
	if v.reads {
		v.flags = append(v.flags, readOnlyFlag())
	}
	return &cli.Command{
		Name:         v.name,
		Usage:        v.usage,
		ArgsUsage:    v.args,
		Description:  v.description(),
		Flags:        append(v.flags, besides(v.flags)...),
		OnUsageError: onUsageError,
		BashComplete: v.completer(),
		// Else the library takes the names h and help for its own command.
		HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := checkArgs(c, args); err != nil {
				return err
			}
			return runCall(c, func(call *call) error {
				call.readOnly = v.reads && c.Bool("read-only")
				return v.action(call)
			})
		},
	}
}

func readOnlyFlag() cli.Flag {
	return &cli.BoolFlag{Name: "read-only", Usage: "read the data itself, without a daemon, also where it is damaged or on a full or read-only disk; nothing in it is changed"}
}

func (v verb) description() string {
	head := "Example:"
	if len(v.examples) > 1 {
		head = "Examples:"
	}
	return head + "\n  " + strings.Join(v.examples, "\n  ")
}

// checkArgs wants one argument for each name, or several for a last one that
// ends in …
func checkArgs(c *cli.Context, names []string) error {
	got := c.Args().Slice()
	if n := len(names); n > 0 && strings.HasSuffix(names[n-1], "…") {
		for len(names) < len(got) {
			names = append(names[:len(names):len(names)], names[n-1])
		}
	}
	if len(got) > len(names) {
		return usagef("%s: unexpected argument %q", commandName(c), got[len(names)])
	}
	if len(got) < len(names) {
		return usagef("%s: %s is missing", commandName(c), names[len(got)])
	}
	for i, a := range got {
		if a == "" {
			return usagef("%s: %s is empty", commandName(c), names[i])
		}
	}
	return nil
}

func needCommand(c *cli.Context) error {
	if word := c.Args().First(); word != "" {
		return usagef("there is no command %q", strings.TrimSpace(commandName(c)+" "+word))
	}
	if c.Bool("json") {
		return usagef("say which command")
	}
	w := c.App.Writer
	c.App.Writer = c.App.ErrWriter
	defer func(w io.Writer) { c.App.Writer = w }(w)
	if err := showHelp(c); err != nil {
		return err
	}
	return usagef("say which command")
}

func showHelp(c *cli.Context) error {
	if len(c.Lineage()) > 2 { // the root context is one of them
		return cli.ShowSubcommandHelp(c)
	}
	return cli.ShowAppHelp(c)
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	if flag, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: "); ok {
		if flag == "-version" {
			return usagef("there is no flag --version: 'goldstream version' prints it")
		}
		return usagef("%sthere is no flag %s", prefix(c), flag)
	}
	return usagef("%s%v", prefix(c), err)
}

// prefix names the command in a message, if there is one.
func prefix(c *cli.Context) string {
	if name := commandName(c); name != "" {
		return name + ": "
	}
	return ""
}

// commandName is noun and verb, without the program.
func commandName(c *cli.Context) string {
	return strings.TrimPrefix(strings.TrimPrefix(c.Command.HelpName, c.App.Name), " ")
}

func versionCommand() *cli.Command {
	return verb{
		name: "version", usage: "print the version of this program",
		examples: []string{"goldstream version"},
		action:   printVersion,
	}.command()
}

func printVersion(c *call) error {
	v := versionOf()
	return c.print(v, func(w io.Writer) {
		fmt.Fprintf(w, "goldstream %s (%s)\n", v.Version, v.Go)
	})
}
