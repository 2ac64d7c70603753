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
	stageTimeout   = 3 * time.Second
)

// Stages that the helper tells.
const (
	StageInitramfs = "initramfs" // it runs
	StageAttached  = "attached"  // the volume is a disk
)

// Run attaches the volume. Afterwards a keeper is left in the background, and neither
// the secret nor where it came from is in the file system any more.
func Run(ctx context.Context, stderr io.Writer) error { return runIn(ctx, "/", stderr, attach.Main) }

type attachFunc = func(ctx context.Context, self, args []string, stdout, stderr io.Writer) error

func runIn(ctx context.Context, root string, stderr io.Writer, attach attachFunc) error {
	text, err := os.ReadFile(filepath.Join(root, ConfigFile))
	if err != nil {
		return err
	}
	c, err := ParseConfig(string(text))
	if err != nil {
		return err
	}
	if err := loadModules(filepath.Join(root, Dir, "modules")); err != nil {
		return err
	}
	c.tell(ctx, StageInitramfs, stderr)
	token := filepath.Join(root, TokenFile)
	args := []string{c.Device, "--server", c.Server, "--export-file", token}
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	for {
		if err = attach(ctx, []string{"attach"}, args, stderr, stderr); err == nil {
			break
		}
		fmt.Fprintf(stderr, "goldstream: %v\n", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the volume could not be attached within %v: %w", attachPatience, err)
		case <-time.After(attachPause):
		}
	}
	err = errors.Join(os.Remove(token), os.Remove(filepath.Join(root, ConfigFile)))
	c.tell(ctx, StageAttached, stderr)
	return err
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
