package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/lifecycle/task"
	"goldstream/personalize/attribute"
)

func profileFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		confirmFlag(),
		&cli.BoolFlag{Name: "no-wait", Usage: "print the task and return; needs a running daemon"})
}

func confirmFlag() cli.Flag {
	return &cli.BoolFlag{Name: "confirm-loss", Usage: "go on although a volume is lost of a server that may be running"}
}

func profileSettings() []cli.Flag {
	return describable(profileFlags(append(templateSettings(),
		&cli.StringFlag{Name: "hardware", Usage: "`NAME` of the server it is assigned to"},
		&cli.StringFlag{Name: "template", Usage: "`NAME` of the template that it is made from"},
	)...)...)
}

// templateSettings are what profiles and their templates have alike.
func templateSettings() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "type", Usage: "`NAME` of the hardware type it is for (else that of its first server)"},
		&cli.StringFlag{Name: "group", Usage: "`NAME` of the enclosure group"},
		&cli.StringFlag{Name: "firmware", Usage: "`TEXT`: the firmware baseline"},
		&cli.StringFlag{Name: "plan", Usage: "`NAME` of the deployment plan of its OS volume"},
		&cli.StringSliceFlag{Name: "set", Usage: "`ATTRIBUTE=VALUE`; may be repeated"},
		&cli.StringSliceFlag{Name: "set-file", Usage: "`ATTRIBUTE=FILE` whose first line is the value, which no list of processes then shows; may be repeated"},
	}
}

func profileCommands() []*cli.Command {
	known := names{resourceNames(v1.ProfileCollection)}
	return commands([]verb{
		{
			name: "create", args: "NAME", usage: "make a server profile, and its OS volume where it is on a server",
			examples: []string{
				"goldstream profile create web-1 --plan debian-12 --hardware bay-3 --set HostName=web-1",
				"goldstream profile create web-2 --plan debian-12 --type SY480",
				"goldstream profile create web-3 --template web --hardware bay-4",
			},
			flags: profileSettings(), action: createProfile,
		},
		{
			name: "list", usage: "list the server profiles",
			examples: []string{"goldstream profile list"},
			action:   listProfiles,
		},
		{
			name: "show", args: "NAME", usage: "show one server profile",
			examples: []string{"goldstream profile show web-1"}, complete: known,
			action: func(c *call) error {
				var p v1.Profile
				return showResource(c, &p, func(w io.Writer) { showProfile(w, &p) })
			},
		},
		{
			name: "edit", args: "NAME", usage: "change a server profile; --dry-run says what happens to its volume, and why",
			examples: []string{"goldstream profile edit web-1 --plan debian-13 --dry-run", "goldstream profile edit web-1 --set HostName=www"},
			flags:    append(profileSettings(), renameFlag(), &cli.BoolFlag{Name: "no-plan", Usage: "take the deployment plan away, and the volume with it"}),
			action:   editProfile, complete: known,
		},
		{
			name: "assign", args: "NAME HARDWARE", usage: "assign a profile to a server",
			examples: []string{"goldstream profile assign web-1 bay-4 --dry-run", "goldstream profile assign web-1 bay-4"},
			flags:    resourceFlags(profileFlags()...), complete: names{resourceNames(v1.ProfileCollection), resourceNames(v1.HardwareCollection)},
			action: func(c *call) error {
				var p v1.Profile
				return c.editProfile(&p, func() error { p.Hardware = c.arg(1); return nil })
			},
		},
		{
			name: "unassign", args: "NAME", usage: "take a profile off its server; its volume is kept",
			examples: []string{"goldstream profile unassign web-1"},
			flags:    resourceFlags(profileFlags()...), complete: known,
			action: func(c *call) error {
				var p v1.Profile
				return c.editProfile(&p, func() error { p.Hardware = ""; return nil })
			},
		},
		{
			name: "redeploy", args: "NAME", usage: "make the OS volume of a profile anew, from its plan as it is now",
			examples: []string{"goldstream profile redeploy web-1"},
			flags:    resourceFlags(profileFlags()...), complete: known, action: redeployProfile,
		},
		{
			name: "comply", args: "NAME", usage: "make a profile what its template says by now: type, group, firmware and plan; its values stay, unless the plan is another",
			examples: []string{"goldstream profile comply web-1 --dry-run", "goldstream profile comply web-1"},
			flags:    resourceFlags(profileFlags()...), complete: known, action: complyProfile,
		},
		{
			name: "check", usage: "see whether profiles and the volumes that there are agree; nothing is changed",
			examples: []string{"goldstream profile check"},
			action:   checkProfiles,
		},
		{
			name: "delete", args: "NAME", usage: "delete a profile, and its volume, which can be restored for a while",
			examples: []string{"goldstream profile delete web-1"},
			flags:    resourceFlags(profileFlags()...), complete: known,
			action: func(c *call) error {
				return c.with(false, func(client *v1.Client) error {
					out, err := client.DeleteResource(c.ctx, v1.ProfileCollection, c.arg(0), c.how())
					if err != nil {
						return err
					}
					return c.finish(client, out, nil)
				})
			},
		},
	})
}

func createProfile(c *call) error {
	p := v1.Profile{ResourceHead: v1.ResourceHead{Name: c.arg(0), Description: c.String("description")}}
	if err := c.setProfile(&p); err != nil {
		return err
	}
	return c.with(true, func(client *v1.Client) error {
		out, err := client.CreateResource(c.ctx, &p, c.how())
		if err != nil {
			return err
		}
		return c.finish(client, out, &p)
	})
}

func editProfile(c *call) error {
	var p v1.Profile
	return c.editProfile(&p, func() error {
		if c.IsSet("description") {
			p.Description = c.String("description")
		}
		if c.IsSet("rename") {
			p.Name = c.String("rename")
		}
		if c.Bool("no-plan") {
			if c.IsSet("plan") || c.IsSet("set") || c.IsSet("set-file") {
				return usagef("profile edit: --no-plan goes without --plan, --set and --set-file")
			}
			none := ""
			p.Deployment = &v1.ProfileDeployment{Plan: &none}
			return nil
		}
		return c.setProfile(&p)
	})
}

// editProfile reads the profile of the first argument, changes and saves it.
func (c *call) editProfile(p *v1.Profile, edit func() error) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.Resource(c.ctx, c.arg(0), p); err != nil {
			return err
		}
		if c.String("request-id") != "" {
			p.ETag = "" // the first time it had another
		}
		if err := edit(); err != nil {
			return err
		}
		out, err := client.ReplaceResource(c.ctx, c.arg(0), p, c.how())
		if err != nil {
			return err
		}
		return c.finish(client, out, p)
	})
}

func redeployProfile(c *call) error { return c.changeProfile((*v1.Client).Redeploy) }
func complyProfile(c *call) error   { return c.changeProfile((*v1.Client).Comply) }

func (c *call) changeProfile(change func(*v1.Client, context.Context, string, *v1.Profile, v1.Change) (v1.Outcome, error)) error {
	return c.with(false, func(client *v1.Client) error {
		var p v1.Profile
		out, err := change(client, c.ctx, c.arg(0), &p, c.how())
		if err != nil {
			return err
		}
		return c.finish(client, out, &p)
	})
}

// setProfile changes what flags name.
func (c *call) setProfile(p *v1.Profile) (err error) {
	for flag, to := range map[string]*string{"template": &p.Template, "hardware": &p.Hardware, "type": &p.Type, "group": &p.Group, "firmware": &p.Firmware} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	p.Deployment, err = c.setDeployment(p.Deployment, c.IsSet("template"))
	return err
}

// setDeployment changes what flags name. Values of a plan that stays are added to
// those that there are; a template may name the plan.
func (c *call) setDeployment(d *v1.ProfileDeployment, template bool) (*v1.ProfileDeployment, error) {
	values, err := settings(c.StringSlice("set"), c.StringSlice("set-file"))
	if err != nil {
		return nil, err
	}
	if plan := c.String("plan"); c.IsSet("plan") && (d == nil || d.Plan == nil || *d.Plan != plan) {
		d = &v1.ProfileDeployment{Plan: &plan}
	}
	if len(values) == 0 {
		return d, nil
	}
	if d == nil && !template {
		return nil, usagef("%s: values are for a deployment plan: name it with --plan", commandName(c.Context))
	}
	if d == nil {
		d = &v1.ProfileDeployment{}
	}
	if d.Values == nil {
		d.Values = &[]attribute.Value{}
	}
	for _, v := range values {
		setValue(d.Values, v)
	}
	return d, nil
}

// setValue leaves the type to the plan: what is called a password here would be
// masked on its way.
func setValue(values *[]attribute.Value, v attribute.Value) {
	for i, old := range *values {
		if old.Name == v.Name {
			(*values)[i] = v
			return
		}
	}
	*values = append(*values, v)
}

// finish waits for the task of a change and prints what became of it; p is nil
// where the profile was to go.
func (c *call) finish(client *v1.Client, out v1.Outcome, p *v1.Profile) error {
	if out.Task != nil && !out.DryRun && !c.Bool("no-wait") {
		t, err := c.follow(c.ctx, client, *out.Task, false)
		if err != nil {
			return err
		}
		if err := taskError(t); err != nil {
			return err
		}
		t.Log = nil
		out.Task = &t
		if p != nil {
			name := p.Name
			*p = v1.Profile{}
			if name == "" {
				name = c.arg(0)
			}
			if err := client.Resource(c.ctx, name, p); err != nil {
				return err
			}
			out.Resource = p
		}
	}
	return c.print(out, func(w io.Writer) {
		showEffects(w, out)
		switch {
		case out.Task != nil && !out.Task.State.Finished():
			fmt.Fprintf(w, "task\t%s\n", out.Task.ID)
		case p == nil && !out.DryRun && (out.Task == nil || out.Task.State == task.Completed):
			fmt.Fprintf(w, "deleted\t%s\n", c.arg(0))
		case p != nil:
			showProfile(w, p)
		}
	})
}

// showEffects says what happens, or would, to which volume and why.
func showEffects(w io.Writer, out v1.Outcome) {
	if out.DryRun {
		fmt.Fprintln(w, "nothing was changed")
	}
	for _, e := range out.Effects {
		volume := orDash(e.Volume)
		if e.Bytes > 0 {
			volume += " (" + humanSize(e.Bytes) + ")"
		}
		fmt.Fprintf(w, "profile %s: %s volume %s, row %s: %s\n", e.Profile, e.Action, volume, strings.Join(e.Rows, ", "), strings.Join(e.Reasons, "; "))
	}
}

func listProfiles(c *call) error {
	return listResources(c, v1.ProfileCollection, "NAME | STATE | HARDWARE | TYPE | PLAN | VOLUME | HOME | OUTDATED | TEMPLATE", func(p v1.Profile) []string {
		outdated, template := "", p.Template
		if len(p.Outdated) > 0 {
			outdated = "yes"
		}
		if len(p.Differs) > 0 {
			template += " (differs)"
		}
		return []string{p.Name, p.State, p.Hardware, p.Type, planOfProfile(&p), p.Volume, p.Home, outdated, template}
	})
}

func planOfProfile(p *v1.Profile) string { return planNamed(p.Deployment) }

func planNamed(d *v1.ProfileDeployment) string {
	if d == nil || d.Plan == nil {
		return ""
	}
	return *d.Plan
}

func showProfile(w io.Writer, p *v1.Profile) {
	closed := ""
	if p.ExportClosed {
		closed = "closed"
	}
	fields(w, headFields(p.ResourceHead, [][2]string{
		{"state", p.State}, {"template", p.Template}, {"differs", strings.Join(p.Differs, "; ")}, {"hardware", p.Hardware}, {"type", p.Type}, {"group", p.Group}, {"firmware", p.Firmware},
		{"plan", planOfProfile(p)}, {"volume", p.Volume}, {"home", p.Home}, {"export", closed},
		{"task", p.Task}, {"owed", strings.Join(p.Owed, ", ")}, {"outdated", strings.Join(p.Outdated, "; ")},
	}...))
	showValues(w, p.Deployment)
}

func showValues(w io.Writer, d *v1.ProfileDeployment) {
	if d == nil || d.Values == nil {
		return
	}
	for _, v := range *d.Values {
		fmt.Fprintf(w, "value\t%s\n", v)
	}
}

func checkProfiles(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		report, err := client.CheckProfiles(c.ctx)
		if err != nil {
			return err
		}
		err = c.print(report, func(w io.Writer) {
			for _, f := range report.Found {
				fmt.Fprintln(w, f)
			}
			fmt.Fprintf(w, "%d places where profiles and volumes do not agree\n", len(report.Found))
		})
		if err == nil && len(report.Found) > 0 {
			err = &v1.Error{Code: v1.CodeDamaged, Message: fmt.Sprintf("profiles and volumes do not agree in %d places", len(report.Found))}
		}
		return err
	})
}
