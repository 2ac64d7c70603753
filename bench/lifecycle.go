package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"goldstream/api/v1"
)

// What the lifecycle has to reach, with 1,000 server profiles whose build plan is
// empty.
const (
	deployBar  = 60   // s, from the first request until the last profile has its volume
	listBar    = 100  // ms
	restartBar = 3000 // ms, from the start until the list is answered
	lifeAtOnce = 16   // requests
)

const lifePlan = `kind: DeploymentPlan
name: golden
image: golden
`

// lives is a daemon whose profiles are measured.
type lives struct {
	*run
	data     string
	profiles int
}

// lifecycle measures the profiles through the API of a daemon of its own.
func (r *run) lifecycle(ctx context.Context) error {
	l := &lives{run: r, data: filepath.Join(r.dir, "lifecycle"), profiles: 1000}
	if r.short {
		l.profiles = 200
	}
	note("lifecycle: %d server profiles", l.profiles)
	plans := filepath.Join(r.dir, "golden.yaml")
	if err := os.WriteFile(plans, []byte(lifePlan), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{{"image", "import", "golden", r.image}, {"plan", "import", plans}} {
		if err := command(ctx, r.binary, append([]string{"--data", l.data}, args...)...); err != nil {
			return err
		}
	}
	s, err := l.serve(ctx)
	if err != nil {
		return err
	}
	err = l.deploy(ctx)
	if err == nil {
		err = l.list(ctx)
	}
	s.stop()
	if err != nil {
		return err
	}
	return l.restart(ctx)
}

func (l *lives) serve(ctx context.Context) (*server, error) {
	return startServer(ctx, l.dir, "goldstream lifecycle", func(port string) []string {
		return []string{l.binary, "serve", "--data", l.data, "--nbd", "127.0.0.1:" + port}
	})
}

func (l *lives) client() *v1.Client { return v1.NewClient(filepath.Join(l.data, v1.SocketName)) }

// deploy makes servers, and then a profile for each, which makes its volume.
func (l *lives) deploy(ctx context.Context) error {
	c := l.client()
	defer c.Close()
	if err := l.each(ctx, func(ctx context.Context, i int) error {
		_, err := c.CreateResource(ctx, &v1.Hardware{ResourceHead: v1.ResourceHead{Name: fmt.Sprintf("rack-%04d", i)}}, v1.Change{})
		return err
	}); err != nil {
		return err
	}
	plan := "golden"
	start := time.Now()
	if err := l.each(ctx, func(ctx context.Context, i int) error {
		_, err := c.CreateResource(ctx, &v1.Profile{
			ResourceHead: v1.ResourceHead{Name: fmt.Sprintf("web-%04d", i)}, Hardware: fmt.Sprintf("rack-%04d", i),
			Deployment: &v1.ProfileDeployment{Plan: &plan},
		}, v1.Change{})
		return err
	}); err != nil {
		return err
	}
	if err := l.settled(ctx, c); err != nil {
		return err
	}
	took := time.Since(start).Seconds()
	l.report.add(line{What: fmt.Sprintf("%d server profiles deployed, %d requests at once", l.profiles, lifeAtOnce), Unit: "s", Ours: took,
		Bar: fmt.Sprintf("≤ %d s", deployBar), Missed: took > deployBar})
	return nil
}

// each does something for each profile, several at once.
func (l *lives) each(ctx context.Context, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lifeAtOnce)
	for i := range l.profiles {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// settled waits until all profiles have their volumes.
func (l *lives) settled(ctx context.Context, c *v1.Client) error {
	for {
		list, err := v1.ListResources[v1.Profile](ctx, c, v1.ProfileCollection)
		if err != nil {
			return err
		}
		ready := 0
		for _, p := range list {
			switch {
			case p.State == "Error":
				return fmt.Errorf("profile %s: its task %s failed", p.Name, p.Task)
			case p.State == "Normal" && p.Volume != "" && !p.ExportClosed:
				ready++
			}
		}
		if ready == l.profiles {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// list measures how long the list takes, decoded by the client.
func (l *lives) list(ctx context.Context) error {
	c := l.client()
	defer c.Close()
	rounds := 20
	if l.short {
		rounds = 5
	}
	var times []float64
	for range rounds {
		start := time.Now()
		list, err := v1.ListResources[v1.Profile](ctx, c, v1.ProfileCollection)
		if err != nil || len(list) != l.profiles {
			return fmt.Errorf("there are %d profiles, not %d: %w", len(list), l.profiles, err)
		}
		times = append(times, float64(time.Since(start).Microseconds())/1000)
	}
	p50 := median(times)
	l.report.add(line{What: fmt.Sprintf("%d server profiles listed, p50", l.profiles), Unit: "ms", Ours: p50,
		Bar: fmt.Sprintf("≤ %d ms", listBar), Missed: p50 > listBar})
	return nil
}

// restart measures from the start of the daemon until the list is answered.
func (l *lives) restart(ctx context.Context) error {
	var times []float64
	for range 3 {
		start := time.Now()
		s, err := l.serve(ctx)
		if err != nil {
			return err
		}
		c := l.client()
		list, err := v1.ListResources[v1.Profile](ctx, c, v1.ProfileCollection)
		times = append(times, float64(time.Since(start).Microseconds())/1000)
		c.Close()
		s.stop()
		if err != nil || len(list) != l.profiles {
			return fmt.Errorf("after a restart there are %d profiles, not %d: %w", len(list), l.profiles, err)
		}
	}
	p50 := median(times)
	l.report.add(line{What: fmt.Sprintf("restart with %d server profiles, until they are listed, p50", l.profiles), Unit: "ms", Ours: p50,
		Bar: fmt.Sprintf("≤ %d ms", restartBar), Missed: p50 > restartBar})
	return nil
}
