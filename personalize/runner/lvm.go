package runner

import (
	"context"
	"slices"
	"strings"
)

// hasLVM tells whether anything on the disk belongs to a volume group. LVM takes
// its time to find that out.
func (s *Session) hasLVM(ctx context.Context) (bool, error) {
	list, err := s.disk.Filesystems(ctx)
	for _, f := range list {
		if f.Type == physicalVolume {
			return true, nil
		}
	}
	return false, err
}

// report runs one of the listing programs and returns its rows.
func (s *Session) report(ctx context.Context, program, fields string) (rows [][]string, err error) {
	if there, err := s.hasLVM(ctx); err != nil || !there {
		return nil, err
	}
	out, err := s.disk.LVM(ctx, program, "--noheadings", "--separator", "|", "-o", fields)
	if err != nil {
		return nil, err
	}
	for _, line := range lines(out) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), "|"))
	}
	return rows, nil
}

func (s *Session) logicalVolumes(ctx context.Context) (list []string, err error) {
	rows, err := s.report(ctx, "lvs", "vg_name,lv_name")
	for _, row := range rows {
		list = append(list, "/dev/"+strings.Join(row, "/"))
	}
	return list, err
}

// lvmList makes a command that lists names, in order.
func lvmList(program, fields string, name func(row []string) string) handler {
	return func(s *Session, ctx context.Context, c call) error {
		rows, err := s.report(ctx, program, fields)
		var list []string
		for _, row := range rows {
			list = append(list, name(row))
		}
		slices.Sort(list)
		return c.printList(list, err)
	}
}

// lvmRun makes a command that is a program of LVM.
func lvmRun(program string) handler {
	return func(s *Session, ctx context.Context, c call) error {
		for _, arg := range c.args {
			if arg == "" || strings.HasPrefix(arg, "-") {
				return failf("%s: %q is no name", program, arg)
			}
		}
		_, err := s.disk.LVM(ctx, append([]string{program}, c.args...)...)
		return err
	}
}

func (s *Session) lvrename(ctx context.Context, c call) error { return lvmRun("lvrename")(s, ctx, c) }

func (s *Session) activate(ctx context.Context, c call) error {
	how := "-ay"
	if n := strings.ToLower(c.args[0]); n == "false" || n == "0" || n == "no" || n == "f" || n == "n" {
		how = "-an"
	}
	if there, err := s.hasLVM(ctx); err != nil || !there {
		return err
	}
	_, err := s.disk.LVM(ctx, "vgchange", "-q", how)
	return err
}
