package initramfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goldstream/attach"
)

const (
	// attachPatience is how long a server is waited for that is away at boot.
	attachPatience = 10 * time.Minute
	attachPause    = 2 * time.Second
	// stageTimeout is how long a server that is reached may take to hear of a stage:
	// the boot waits as long.
	stageTimeout = 10 * time.Second
)

// Stages that the helper tells.
const (
	StageInitramfs = "initramfs" // it runs
	StageAttached  = "attached"  // the volume is a disk
	StageMounted   = "mounted"   // the root file system is
)

// Run gets the server's address and attaches its volume. Afterwards the keepers of both
// are left in the background, and the secret is in the file system no more.
func Run(ctx context.Context, stderr io.Writer) error {
	return (&steps{"/", stderr, network, attach.Main}).run(ctx)
}

// steps are what Run does, and where.
type steps struct {
	root    string
	stderr  io.Writer
	network func(ctx context.Context, root, mac string, log func(format string, args ...any)) error
	attach  func(ctx context.Context, self, args []string, stdout, stderr io.Writer) error
}

func (s *steps) run(ctx context.Context) error {
	root, stderr := s.root, s.stderr
	c, err := readConfig(root)
	if err != nil {
		return err
	}
	if err := loadModules(filepath.Join(root, Dir, "modules")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	log := func(format string, args ...any) { fmt.Fprintf(stderr, "goldstream: "+format+"\n", args...) }
	if err := s.network(ctx, root, c.NIC, log); err != nil {
		return err
	}
	c.tell(ctx, StageInitramfs, stderr)
	token := filepath.Join(root, TokenFile)
	args := []string{c.Device, "--server", c.Server, "--export-file", token}
	for {
		if err = s.attach(ctx, []string{"attach"}, args, stderr, stderr); err == nil {
			break
		}
		fmt.Fprintf(stderr, "goldstream: %v\n", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the volume could not be attached within %v: %w", attachPatience, err)
		case <-time.After(attachPause):
		}
	}
	err = os.Remove(token)
	c.tell(ctx, StageAttached, stderr)
	return err
}

// MountedCommand is the word by which the helper tells that the root file system is
// mounted.
const MountedCommand = "mounted"

// Mounted tells it, and removes the last that is known here of the boot.
func Mounted(ctx context.Context, stderr io.Writer) error { return mountedIn(ctx, "/", stderr) }

func mountedIn(ctx context.Context, root string, stderr io.Writer) error {
	c, err := readConfig(root)
	if err != nil {
		return err
	}
	c.tell(ctx, StageMounted, stderr)
	return os.Remove(filepath.Join(root, ConfigFile))
}

func readConfig(root string) (c Config, err error) {
	text, err := os.ReadFile(filepath.Join(root, ConfigFile))
	if err != nil {
		return c, err
	}
	return ParseConfig(string(text))
}

// loadModules loads what the segment has of the volume's modules, in their order.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, name := range files {
		module, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := unix.InitModule(module, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s cannot be loaded: %w", name, err)
		}
	}
	return nil
}

// tell sends one stage. A server that does not hear it is no reason not to boot.
func (c Config) tell(ctx context.Context, stage string, stderr io.Writer) {
	if err := post(ctx, c.Stages, stage); err != nil {
		fmt.Fprintf(stderr, "goldstream: stage %s: %v\n", stage, err)
	}
}

// post is HTTP by hand: net/http would double the helper's size.
func post(ctx context.Context, base, stage string) error {
	host, path, ok := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	if !ok {
		return fmt.Errorf("%.100q is no address of the stages", base)
	}
	d := net.Dialer{Timeout: stageTimeout}
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(stageTimeout))
	if _, err := fmt.Fprintf(conn, "POST /%s%s HTTP/1.0\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", path, stage, host); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 1024)).ReadString('\n')
	if err != nil {
		return err
	}
	if f := strings.Fields(line); len(f) < 2 || f[1] != "204" {
		return fmt.Errorf("the boot server says %.60q", strings.TrimSpace(line))
	}
	return nil
}
