package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"goldstream/api/v1"
	"goldstream/personalize/inspect"
)

// viewMark stands before the name of a volume that a slot shows as of now, for reading,
// whoever has it open. No name holds a slash.
const viewMark = "view/"

// readBootFiles reads the boot files of a volume in a disk cell, keeps them and returns
// their key. The volume may be in service: it is seen as of now.
func (d *Daemon) readBootFiles(ctx context.Context, volume string) (key string, err error) {
	if err := d.changeable(); err != nil {
		return "", err
	}
	if _, err := d.store.Volume(ctx, volume); err != nil {
		return "", err
	}
	dir := d.bootDir(bootFilesDir)
	if err := makeDirs(dir); err != nil {
		return "", err
	}
	partial, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(partial)) }()
	boot, err := d.extractBoot(ctx, volume, partial)
	if err != nil {
		return "", err
	}
	if key, err = sealBootFiles(boot, partial); err != nil {
		return "", err
	}
	return d.keepBootFiles(partial, key)
}

// keepBootFiles gives a directory of boot files the name of its key.
func (d *Daemon) keepBootFiles(partial, key string) (string, error) {
	dir := d.bootDir(bootFilesDir)
	err := os.Rename(partial, filepath.Join(dir, key))
	if errors.Is(err, fs.ErrExist) { // another volume boots the same
		return key, nil
	}
	return key, errors.Join(err, syncDir(dir))
}

func (d *Daemon) extractBoot(ctx context.Context, volume, dir string) (boot inspect.Boot, err error) {
	lease, done, err := d.cells.view(ctx, volume)
	if err != nil {
		return boot, cellsError(err)
	}
	defer done()
	boot, err = inspect.Extract(ctx, lease.Cell, dir)
	lease.Kill() // nothing was written
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseEnd)
	defer cancel()
	_ = lease.Close(end) // of the cell that was killed
	if errors.Is(err, inspect.ErrNoNetBoot) {
		err = &v1.Error{Code: v1.CodeInvalid, Message: fmt.Sprintf("volume %q: %v", volume, err),
			Advice: "A server boots from the network with a Linux whose kernel has an initrd and the NBD client (module nbd): 'goldstream inspect' lists what is there."}
	}
	return boot, err
}

// sealBootFiles writes the description of boot files beside them, and makes all durable.
func sealBootFiles(boot inspect.Boot, dir string) (key string, err error) {
	text, err := json.Marshal(boot)
	if err != nil {
		return "", err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return "", err
	}
	if err := checkModules(m.Modules); err != nil {
		return "", err
	}
	if len(text) > mostManifest {
		return "", badBootFiles("their description has %d bytes, and there may be %d", len(text), mostManifest)
	}
	for _, f := range m.files() {
		if err := syncFile(filepath.Join(dir, f.Name)); err != nil {
			return "", err
		}
	}
	if err := writeSynced(filepath.Join(dir, bootManifest), text); err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), syncDir(dir)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, 0o600), f.Sync(), f.Close())
}
