package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"goldstream/api/v1"
	"goldstream/personalize/inspect"
	"goldstream/personalize/sandbox"
)

// bootManifest is beside the boot files, and tells of them.
const bootManifest = "boot.json"

// extractBoot copies the boot files of a disk into a new directory.
func extractBoot(c *call) error {
	dest := c.arg(1)
	if _, err := os.Lstat(dest); err == nil {
		return &cured{err: fmt.Errorf("%s is there already: %w", dest, fs.ErrExist), cure: "Name a directory that is not there yet."}
	}
	tools, err := c.cellTools()
	if err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".partial-")
	if err != nil {
		return destError(dest, err)
	}
	defer os.RemoveAll(partial)
	var boot inspect.Boot
	err = c.with(false, func(client *v1.Client) error {
		boot, err = bootFilesOf(c.ctx, client, tools, c.arg(0), partial)
		return err
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(boot, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(partial, bootManifest), append(text, '\n'), 0o644)
	}
	if err == nil {
		err = os.Chmod(partial, 0o755)
	}
	if err == nil {
		err = os.Rename(partial, dest)
	}
	if err != nil {
		return destError(dest, err)
	}
	return c.print(boot, func(w io.Writer) { showBoot(w, boot) })
}

// bootFilesOf has a disk cell read the boot files of an image or volume.
func bootFilesOf(ctx context.Context, client *v1.Client, tools sandbox.Tools, name, dir string) (boot inspect.Boot, err error) {
	file, err := diskFile(ctx, client, name)
	if err != nil {
		return boot, err
	}
	err = withMount(ctx, client, func(mounted string) error {
		cell, err := startOn(ctx, tools, mounted, file)
		if err != nil {
			return err
		}
		boot, err = inspect.Extract(ctx, cell, dir)
		cell.Kill() // nothing was written
		_ = cell.Wait()
		if errors.Is(err, inspect.ErrNoNetBoot) {
			err = &cured{err: fmt.Errorf("%s: %w", name, err), cure: "A server boots from the network with a Linux whose kernel has an initrd and the NBD client (module nbd): 'goldstream inspect' lists what is there."}
		}
		return err
	})
	return boot, err
}

func showBoot(w io.Writer, b inspect.Boot) {
	fmt.Fprintf(w, "system\t%s\n", orDash(b.System))
	fmt.Fprintf(w, "kernel\t%s\t%s\n", b.Kernel.Path, humanSize(b.Kernel.Size))
	fmt.Fprintf(w, "initrd\t%s\t%s\n", b.Initrd.Path, humanSize(b.Initrd.Size))
	for _, m := range b.Modules {
		fmt.Fprintf(w, "module\t%s\t%s\n", m.Path, humanSize(m.Size))
	}
	fmt.Fprintf(w, "root\t%s\n", orDash(b.Root))
	fmt.Fprintf(w, "options\t%s\n", orDash(b.Options))
	for _, note := range b.Notes {
		fmt.Fprintf(w, "note\t%s\n", note)
	}
}
