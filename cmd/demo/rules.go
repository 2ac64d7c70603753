package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// The rules by which OS volumes are kept, deleted or made anew, shown on real
// volumes: in each a server has written something of its own, and the SHA-256 of all
// that its server sees says what became of it.

const (
	rulesImage = "rules-os"
	rulesPlan  = "rules-os"
	rulesSize  = 16 << 20 // bytes of the image
	markSize   = 1 << 20  // that the server writes
)

const rulesPlans = `kind: DeploymentPlan
name: rules-os
image: rules-os
size: 24MiB
`

// What may become of a volume.
const (
	isMade     = "made"
	isKept     = "kept"
	isAnew     = "made anew"
	isDeleted  = "deleted"
	rulesShown = 12 // digits of a digest
)

// ruleRow is a line of the table.
type ruleRow struct{ what, rule, became string }

// outcome is what goldstream's --json prints of a change.
type outcome struct {
	Effects []struct {
		Profile, Volume, Action string
		Rows, Reasons           []string
	}
}

// profile is what it prints of a server profile.
type profile struct {
	Name, State, Volume string
}

// scenario is a change, and what the rules say to it.
type scenario struct {
	what    string
	profile string
	before  [][]string // to bring it about
	do      []string
	row     string // of the table of rules
	became  string
}

// scenarios are those that an operator of blade servers lives with.
func scenarios() []scenario {
	return []scenario{
		{"a server profile is unassigned from its server", "web", nil, []string{"profile", "unassign", "web"}, "1", isKept},
		{"it is assigned to another server, of the same type and logical enclosure", "web", nil, []string{"profile", "assign", "web", "west-2"}, "1", isKept},
		{"its logical enclosure moves to another enclosure group", "web", nil, []string{"logical-enclosure", "edit", "west", "--group", "staging"}, "2", isKept},
		{
			"a profile is unassigned, then its logical enclosure is deleted", "db",
			[][]string{{"profile", "unassign", "db"}}, []string{"logical-enclosure", "delete", "south"}, "3", isDeleted,
		},
		{"a profile is assigned to a server that cannot access the volume, in another logical enclosure", "web", nil, []string{"profile", "assign", "web", "east-1"}, "4", isAnew},
		{"the server hardware type of a profile is changed", "web", nil, []string{"profile", "edit", "web", "--type", "SY660", "--hardware", "east-2"}, "5", isAnew},
	}
}

// rulesSite are the servers of the scenarios and where they stand.
func rulesSite() [][]string {
	return [][]string{
		{"hardware-type", "add", "SY480"}, {"hardware-type", "add", "SY660"},
		{"enclosure-group", "add", "production"}, {"enclosure-group", "add", "staging"},
		{"enclosure", "add", "frame-1"}, {"enclosure", "add", "frame-2"}, {"enclosure", "add", "frame-3"},
		{"logical-enclosure", "add", "west", "--group", "production", "--enclosure", "frame-1"},
		{"logical-enclosure", "add", "east", "--group", "production", "--enclosure", "frame-2"},
		{"logical-enclosure", "add", "south", "--group", "production", "--enclosure", "frame-3"},
		{"hardware", "add", "west-1", "--type", "SY480", "--enclosure", "frame-1", "--bay", "1"},
		{"hardware", "add", "west-2", "--type", "SY480", "--enclosure", "frame-1", "--bay", "2"},
		{"hardware", "add", "east-1", "--type", "SY480", "--enclosure", "frame-2", "--bay", "1"},
		{"hardware", "add", "east-2", "--type", "SY660", "--enclosure", "frame-2", "--bay", "2"},
		{"hardware", "add", "south-1", "--type", "SY480", "--enclosure", "frame-3", "--bay", "1"},
	}
}

// runRules shows them alone, with a daemon of their own.
func (d *demo) runRules(ctx context.Context) error {
	daemon, err := d.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { d.cleaned(daemon.stop()) }()
	return daemon.watch(ctx, d.rules)
}

// rules shows them.
func (d *demo) rules(ctx context.Context) error {
	d.chapter("server profiles: what becomes of an OS volume when servers and enclosures change")
	image := filepath.Join(d.dir, "rules.raw")
	plans := filepath.Join(d.dir, "rules.yaml")
	if err := errors.Join(randomFile(image, rulesSize), os.WriteFile(plans, []byte(rulesPlans), 0o600)); err != nil {
		return err
	}
	for _, args := range append([][]string{{"image", "import", rulesImage, image}, {"plan", "import", plans}}, rulesSite()...) {
		if _, err := d.goldstream(ctx, nil, args...); err != nil {
			return err
		}
	}
	for _, p := range [][2]string{{"web", "west-1"}, {"db", "south-1"}} {
		s := scenario{"a profile of a plan is made for a server", p[0], nil, []string{"profile", "create", p[0], "--plan", rulesPlan, "--hardware", p[1]}, "7", isMade}
		if err := d.scenario(ctx, s); err != nil {
			return err
		}
	}
	for _, s := range scenarios() {
		if err := d.scenario(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	_, err := d.goldstream(ctx, nil, "profile", "check")
	return err
}

// scenario carries one out and looks at what became of the volume.
func (d *demo) scenario(ctx context.Context, s scenario) error {
	for _, args := range s.before {
		if _, err := d.goldstream(ctx, nil, args...); err != nil {
			return err
		}
	}
	var old profile
	var digest string
	var err error
	if s.became != isMade {
		if _, err := d.goldstream(ctx, &old, "profile", "show", s.profile); err != nil {
			return err
		}
		if digest, err = d.seen(ctx, old.Volume); err != nil {
			return err
		}
	}
	var out outcome
	if _, err := d.goldstream(ctx, &out, s.do...); err != nil {
		return err
	}
	rule, err := ruleOf(out, s)
	if err != nil {
		return err
	}
	var now profile
	if _, err := d.goldstream(ctx, &now, "profile", "show", s.profile); err != nil {
		return err
	}
	became, err := d.became(ctx, s, old.Volume, digest, now)
	if err != nil {
		return err
	}
	d.say("  %s: %s", s.what, became)
	d.ruleRows = append(d.ruleRows, ruleRow{s.what, rule, became})
	return nil
}

// ruleOf is what goldstream says it did to the profile's volume, and why.
func ruleOf(out outcome, s scenario) (string, error) {
	for _, e := range out.Effects {
		if e.Profile != s.profile {
			continue
		}
		for i, row := range e.Rows {
			if row == s.row {
				return fmt.Sprintf("row %s: %s", row, e.Reasons[i]), nil
			}
		}
	}
	return "", fmt.Errorf("no rule of row %s is named: %+v", s.row, out.Effects)
}

// became checks what became of the volume, by its content.
func (d *demo) became(ctx context.Context, s scenario, old, digest string, now profile) (string, error) {
	switch s.became {
	case isMade:
		return d.fresh(ctx, now)
	case isKept:
		after, err := d.seen(ctx, now.Volume)
		if err == nil && (now.Volume != old || after != digest) {
			err = fmt.Errorf("volume %s (%s) became %s (%s)", old, digest, now.Volume, after)
		}
		return fmt.Sprintf("%s: kept, %s…", old, digest[:rulesShown]), err
	case isDeleted:
		if now.Volume != "" || now.State != "PendingAssignment" {
			return "", fmt.Errorf("the profile has volume %q and state %s", now.Volume, now.State)
		}
		return d.gone(ctx, old, digest)
	}
	was, err := d.gone(ctx, old, digest)
	if err != nil {
		return "", err
	}
	is, err := d.fresh(ctx, now)
	return was + "; " + is, err
}

// fresh checks that a profile's volume reads as its image, and has its server write
// to it.
func (d *demo) fresh(ctx context.Context, p profile) (string, error) {
	if p.Volume == "" || p.State != "Normal" {
		return "", fmt.Errorf("profile %s has volume %q and state %s", p.Name, p.Volume, p.State)
	}
	cmd := command(ctx, "nbdcopy", d.export(p.Volume), "-")
	content, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("nbdcopy of %s: %w", p.Volume, err)
	}
	golden, err := os.ReadFile(filepath.Join(d.dir, "rules.raw"))
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(string(content), string(golden)) || strings.Trim(string(content[len(golden):]), "\x00") != "" {
		return "", fmt.Errorf("the new volume %s does not read as its image", p.Volume)
	}
	mark := filepath.Join(d.dir, "mark")
	if err := randomFile(mark, markSize); err != nil {
		return "", err
	}
	if _, err := output(ctx, "nbdcopy", "--flush", mark, d.export(p.Volume)); err != nil {
		return "", err
	}
	digest, err := d.seen(ctx, p.Volume)
	return fmt.Sprintf("%s: made, reads as its image; its server writes, %s…", p.Volume, digest[:min(len(digest), rulesShown)]), err
}

// gone checks that a volume is deleted, and comes back as it was when it is asked for.
func (d *demo) gone(ctx context.Context, name, digest string) (string, error) {
	var live []profile // volumes have names, too
	if _, err := d.goldstream(ctx, &live, "volume", "list"); err != nil {
		return "", err
	}
	for _, v := range live {
		if v.Name == name {
			return "", fmt.Errorf("volume %s is still there", name)
		}
	}
	if _, err := d.goldstream(ctx, nil, "volume", "restore", name, "--as", name+"-old"); err != nil {
		return "", err
	}
	after, err := d.seen(ctx, name+"-old")
	if err == nil && after != digest {
		err = fmt.Errorf("volume %s came back as %s, and was %s", name, after, digest)
	}
	if err == nil {
		_, err = d.goldstream(ctx, nil, "volume", "delete", name+"-old")
	}
	return fmt.Sprintf("%s: deleted; a restore had %s… again", name, digest[:rulesShown]), err
}

// seen is the digest of all that is on a volume, also of one whose export is closed:
// read through a snapshot.
func (d *demo) seen(ctx context.Context, volume string) (string, error) {
	const name = "seen"
	if _, err := d.goldstream(ctx, nil, "snapshot", "create", volume, name); err != nil {
		return "", err
	}
	cmd := command(ctx, "nbdcopy", d.export("snapshots/"+volume+"/"+name), "-")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	sum, err := digest(pipe)
	_, _ = io.Copy(io.Discard, pipe)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return "", fmt.Errorf("nbdcopy of a snapshot of %s: %w", volume, err)
	}
	_, err = d.goldstream(ctx, nil, "snapshot", "delete", volume, name)
	return sum, err
}

func randomFile(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, size)
	return errors.Join(err, f.Close())
}

// reportRules prints the table of the scenarios.
func (d *demo) reportRules(w io.Writer) {
	if len(d.ruleRows) == 0 {
		return
	}
	fmt.Fprintln(w, "\nWhat becomes of OS volumes, each with the first digits of the SHA-256 of its content:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT WAS DONE\tWHAT THE RULE SAYS\tWHAT HAPPENED TO THE VOLUME")
	for _, r := range d.ruleRows {
		cells := [][]string{wrapped(r.what), wrapped(r.rule), wrapped(r.became)}
		for i := range max(len(cells[0]), len(cells[1]), len(cells[2])) {
			for at, cell := range cells {
				text := ""
				if i < len(cell) {
					text = cell[i]
				}
				fmt.Fprint(t, text, []string{"\t", "\t", "\n"}[at])
			}
		}
	}
	t.Flush()
}

// wrapped breaks a cell of the table into lines.
func wrapped(text string) (lines []string) {
	const width = 40
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
