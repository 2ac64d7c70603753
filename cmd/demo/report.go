package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// A row of the table at the end.
type row struct {
	what string
	took time.Duration
	note string
}

// note tells a result now and keeps it for the table.
func (d *demo) note(what string, took time.Duration, note string) {
	d.say("  %s: %s (%s)", what, short(took), note)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = append(d.rows, row{what, took, note})
}

// report prints the tables.
func (d *demo) report(w io.Writer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tTIME\t")
	for _, r := range d.rows {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.what, short(r.took), r.note)
	}
	fmt.Fprintln(t, "\t\t")
	fmt.Fprintln(t, "DISK\tSIZE\tTAKES")
	fmt.Fprintf(t, "image %s\t%s\t%s\n", imageName, bytesOf(d.image.Size), bytesOf(d.image.Allocated))
	for _, v := range d.volumes {
		fmt.Fprintf(t, "volume %s\t%s\t%s\n", v.Name, bytesOf(v.Size), bytesOf(v.Allocated))
	}
	t.Flush()
	d.reportRules(w)
	fmt.Fprintln(w, "\nTimes of goldstream's commands include the start of the program. All went well; everything is cleaned up.")
}

// short rounds a time to what a reader cares for.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// bytesOf prints a number of bytes for people.
func bytesOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	if f == float64(int64(f)) {
		return fmt.Sprintf("%.0f %s", f, units[u])
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}

func rate(n int64, d time.Duration) string {
	return bytesOf(int64(float64(n)/d.Seconds())) + "/s"
}
