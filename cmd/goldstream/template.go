package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
)

func templateCommands() []*cli.Command {
	known := names{resourceNames(v1.TemplateCollection)}
	text := func(t *v1.Template) func(io.Writer) { return func(w io.Writer) { showTemplate(w, t) } }
	return commands([]verb{
		{
			name: "add", args: "NAME", usage: "add a template that server profiles are made from; what it leaves open, each profile says for itself",
			examples: []string{
				"goldstream template add web --plan debian-12 --type SY480 --set Domain=example.com",
				"goldstream profile create web-3 --template web --hardware bay-4 --set HostName=web-3",
			},
			flags: describable(templateSettings()...),
			action: func(c *call) (err error) {
				var t v1.Template
				if err := c.setTemplate(&t); err != nil {
					return err
				}
				return addResource(c, &t, text(&t))
			},
		},
		{
			name: "edit", args: "NAME", usage: "change a template; profiles stay as they are, and show in what they differ from it",
			examples: []string{"goldstream template edit web --plan debian-13", "goldstream profile comply web-3"},
			flags:    describable(append(templateSettings(), renameFlag(), &cli.BoolFlag{Name: "no-plan", Usage: "take the deployment plan away"})...), complete: known,
			action: func(c *call) error {
				var t v1.Template
				return editResource(c, &t, func() error { return c.setTemplate(&t) }, text(&t))
			},
		},
		{
			name: "list", usage: "list the templates",
			examples: []string{"goldstream template list"},
			action: func(c *call) error {
				return listResources(c, v1.TemplateCollection, "NAME | TYPE | GROUP | FIRMWARE | PLAN | PROFILES | DESCRIPTION", func(t v1.Template) []string {
					return []string{t.Name, t.Type, t.Group, t.Firmware, planNamed(t.Deployment), fmt.Sprint(t.Profiles), t.Description}
				})
			},
		},
		{
			name: "show", args: "NAME", usage: "show one template",
			examples: []string{"goldstream template show web"}, complete: known,
			action: func(c *call) error {
				var t v1.Template
				return showResource(c, &t, text(&t))
			},
		},
		{
			name: "delete", args: "NAME", usage: "delete a template that no profile names",
			examples: []string{"goldstream template delete web"},
			flags:    resourceFlags(), action: deleteResource(v1.TemplateCollection, "template"), complete: known,
		},
	})
}

// setTemplate changes what flags name.
func (c *call) setTemplate(t *v1.Template) (err error) {
	for flag, to := range map[string]*string{"type": &t.Type, "group": &t.Group, "firmware": &t.Firmware} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	if c.Bool("no-plan") {
		if c.IsSet("plan") || c.IsSet("set") || c.IsSet("set-file") {
			return usagef("template edit: --no-plan goes without --plan, --set and --set-file")
		}
		none := ""
		t.Deployment = &v1.ProfileDeployment{Plan: &none}
		return nil
	}
	t.Deployment, err = c.setDeployment(t.Deployment, false)
	return err
}

func showTemplate(w io.Writer, t *v1.Template) {
	fields(w, headFields(t.ResourceHead, [][2]string{
		{"type", t.Type}, {"group", t.Group}, {"firmware", t.Firmware}, {"plan", planNamed(t.Deployment)}, {"profiles", fmt.Sprint(t.Profiles)},
	}...))
	showValues(w, t.Deployment)
}
