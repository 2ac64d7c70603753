package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// What a deployment has to reach: seven steps on an ext4 image, as a command that
// returns when the volume is made.
const (
	coldBar   = 3000 // ms, with the store and the sandbox still to be opened
	warmBar   = 500  // ms, with a sandbox booted
	peerBar   = 0.1  // of what virt-customize or guestfish takes
	coldStorm = 25   // s, for 16 at once, sandboxes still to be booted
	warmStorm = 8    // s, with 16 booted
	cellBar   = 148  // MiB: 128 of the sandbox's kernel, and 20
	atOnce    = 16
)

// deploys measures deployments.
type deploys struct {
	*run
	data   string
	number int // of volumes so far
	rounds int
}

func (r *run) deploy(ctx context.Context) error {
	d := &deploys{run: r, data: filepath.Join(r.dir, "deploy"), rounds: 10}
	if r.short {
		d.rounds = 4
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	cold, err := d.cold(ctx)
	if err != nil {
		return err
	}
	warm, err := d.warm(ctx)
	if err != nil {
		return err
	}
	if err := d.many(ctx); err != nil {
		return err
	}
	return d.peers(ctx, cold, warm)
}

// prepare makes the helper, the image, the plan and the sandboxes' tool root.
func (d *deploys) prepare(ctx context.Context) error {
	note("deploy: the image and the sandboxes' tools")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(d.dir, "goldstream-guest"), "./cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build goldstream-guest: %w", err)
	}
	if err := makeSystem(ctx, d.dir, d.systemImage()); err != nil {
		return err
	}
	plan := filepath.Join(d.dir, "plan.yaml")
	if err := os.WriteFile(plan, []byte(deployPlan), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{{"image", "import", "debian", d.systemImage()}, {"plan", "import", plan}, {"sandbox", "prepare"}} {
		if err := command(ctx, d.binary, append([]string{"--data", d.data}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

func (d *deploys) systemImage() string { return filepath.Join(d.dir, "system.raw") }

// one deploys one volume and returns how long that took, in ms.
func (d *deploys) one(ctx context.Context, name string, more ...string) (float64, error) {
	return timed(func() error {
		return command(ctx, d.binary, append([]string{"--data", d.data, "deploy", "--plan", "server", "--name", name}, more...)...)
	})
}

func (d *deploys) name() string {
	d.number++
	return fmt.Sprintf("server-%03d", d.number)
}

// cold deploys without a daemon: each command opens the store and boots a sandbox.
func (d *deploys) cold(ctx context.Context) (p50 float64, err error) {
	note("deploy: without a daemon")
	var times []float64
	for range d.rounds {
		t, err := d.one(ctx, d.name(), "--as-is")
		if err != nil {
			return 0, err
		}
		times = append(times, t)
	}
	p50 = median(times)
	d.within("deploy, 7 steps, cold (no daemon), p50", "ms", p50, coldBar)
	return p50, nil
}

func (d *deploys) within(what, unit string, ours, limit float64) {
	d.report.add(line{What: what, Unit: unit, Ours: ours, Bar: fmt.Sprintf("≤ %g %s", limit, unit), Missed: ours > limit})
}

func (d *deploys) serve(ctx context.Context, sandboxes string) (*server, error) {
	return startServer(ctx, d.dir, "deploy with "+sandboxes, func(port string) []string {
		return []string{d.binary, "serve", "--data", d.data, "--nbd", "127.0.0.1:" + port, "--sandboxes", sandboxes}
	})
}

// warm deploys with a sandbox that waits, and one that is booted meanwhile.
func (d *deploys) warm(ctx context.Context) (p50 float64, err error) {
	s, err := d.serve(ctx, "2")
	if err != nil {
		return 0, err
	}
	defer s.stop()
	var plain, general []float64
	for range d.rounds {
		for _, row := range []struct {
			times *[]float64
			flags []string
		}{{&plain, []string{"--as-is"}}, {&general, nil}} {
			// A sandbox boots in less; keys are made meanwhile.
			if err := pause(ctx, 5*time.Second); err != nil {
				return 0, err
			}
			t, err := d.one(ctx, d.name(), row.flags...)
			if err != nil {
				return 0, err
			}
			*row.times = append(*row.times, t)
		}
	}
	p50 = median(plain)
	d.within("deploy, 7 steps, warm, p50", "ms", p50, warmBar)
	d.within("deploy, 7 steps, warm, slowest", "ms", plain[len(plain)-1], coldBar)
	d.within("deploy, the same and generalize, with RSA, ECDSA and Ed25519 keys, warm, p50", "ms", median(general), warmBar)
	return p50, nil
}

func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-time.After(t):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// many deploys 16 volumes at once, twice: while the sandboxes boot, and when they are.
func (d *deploys) many(ctx context.Context) error {
	note("deploy: %d at once", atOnce)
	s, err := d.serve(ctx, fmt.Sprint(atOnce))
	if err != nil {
		return err
	}
	defer s.stop()
	for _, row := range []struct {
		what  string
		limit float64
		wait  time.Duration
	}{
		{"cold", coldStorm, 0}, {"warm", warmStorm, 30 * time.Second},
	} {
		if err := pause(ctx, row.wait); err != nil {
			return err
		}
		names := make([]string, atOnce)
		for i := range names {
			names[i] = d.name()
		}
		memory := watchCells()
		var each []float64
		all, err := timed(func() (err error) {
			each, err = parallel(atOnce, atOnce, func(i int) error {
				_, err := d.one(ctx, names[i], "--as-is")
				return err
			})
			return err
		})
		largest := memory()
		if err != nil {
			return err
		}
		d.within(fmt.Sprintf("%d deployments asked for at once, %s", atOnce, row.what), "s", all/1000, row.limit)
		d.report.add(line{What: "the first of them", Unit: "s", Ours: quantile(each, 0) / 1000})
		d.within("memory of the largest sandbox meanwhile", "MiB", largest, cellBar)
	}
	return nil
}
