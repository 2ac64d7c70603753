package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// line is one comparison: ours beside a peer or control.
type line struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Ours    float64 `json:"ours"`
	Peer    string  `json:"peer,omitempty"`
	Theirs  float64 `json:"theirs,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"` // ours to theirs
	Bar     string  `json:"bar,omitempty"`
	Missed  bool    `json:"missed,omitempty"`
	Failure bool    `json:"failure,omitempty"` // fails the run
}

type report struct{ Lines []line }

func (r *report) add(l line) {
	if l.Theirs != 0 {
		l.Ratio = l.Ours / l.Theirs
	}
	r.Lines = append(r.Lines, l)
}

func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "what\tunit\tours\tpeer\ttheirs\tratio\tbar\tresult\t")
	for _, l := range r.Lines {
		theirs, ratio, result := "", "", ""
		if l.Theirs != 0 {
			theirs, ratio = figure(l.Theirs), fmt.Sprintf("%.2f", l.Ratio)
		}
		if l.Bar != "" {
			result = "pass"
			if l.Missed {
				result = "MISS"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", l.What, l.Unit, figure(l.Ours), l.Peer, theirs, ratio, l.Bar, result)
	}
	t.Flush()
}

// failed is an error if a bar that fails the run was missed.
func (r *report) failed() error {
	var errs []error
	for _, l := range r.Lines {
		if l.Failure {
			errs = append(errs, fmt.Errorf("%s: %s %s misses the bar: %s", l.What, figure(l.Ours), l.Unit, l.Bar))
		}
	}
	return errors.Join(errs...)
}

func figure(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// quantile returns the q-th part of the values, which it sorts.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func median(values []float64) float64 { return quantile(values, 0.5) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// timed returns how long fn takes, in milliseconds.
func timed(fn func() error) (float64, error) {
	start := time.Now()
	err := fn()
	return ms(time.Since(start)), err
}
