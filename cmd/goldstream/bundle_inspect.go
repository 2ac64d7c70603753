package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"goldstream/api/v1"
	"goldstream/personalize/bundle"
)

func inspectBundle(c *call) error {
	f, err := openBundleFile(c.arg(0))
	if err != nil {
		return err
	}
	if f != nil {
		defer f.Close()
		info, err := checkBundle(f)
		if err != nil {
			return err
		}
		return c.printBundle(info)
	}
	return c.with(false, func(client *v1.Client) error {
		info, err := client.Bundle(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.printBundle(info)
	})
}

// checkBundle reads all of a file, disks too.
func checkBundle(f *os.File) (info v1.BundleInfo, err error) {
	fi, err := f.Stat()
	if err != nil {
		return info, err
	}
	b, err := bundle.Open(f, fi.Size())
	if err != nil {
		return info, err
	}
	if err := b.Verify(); err != nil {
		return info, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return info, err
	}
	info = v1.BundleInfo{
		Name: b.Name, Description: b.Description, ReadOnly: b.ReadOnly, Size: fi.Size(), SHA256: hex.EncodeToString(hash.Sum(nil)), Made: b.Time,
		Warnings: b.Warnings, Count: len(b.Artifacts()),
	}
	for _, a := range b.Artifacts() {
		info.Artifacts = append(info.Artifacts, v1.BundleArtifact{Kind: a.Collection, ID: a.ID, Name: a.Name, Description: a.Description, ReadOnly: a.ReadOnly, Uses: a.Uses})
	}
	return info, nil
}

func (c *call) printBundle(b v1.BundleInfo) error {
	return c.print(b, func(w io.Writer) {
		rows := [][2]string{
			{"name", plain(b.Name)}, {"description", plain(b.Description)}, {"uri", b.URI}, {"size", exactSize(b.Size)}, {"sha256", b.SHA256},
		}
		if b.ReadOnly {
			rows = append(rows, [2]string{"protected", "yes"})
		}
		if !b.Made.IsZero() {
			rows = append(rows, [2]string{"made", localTime(b.Made)})
		}
		fields(w, rows)
		for _, text := range b.Warnings {
			fmt.Fprintf(w, "note\t%s\n", plain(text))
		}
		fmt.Fprintln(w, "\nKIND\tNAME\tUSES")
		for _, a := range b.Artifacts {
			fmt.Fprintf(w, "%s\t%s\t%s\n", a.Kind, plain(a.Name), orDash(plain(strings.Join(notEmpty(a.Uses), ", "))))
		}
	})
}

func notEmpty(list []string) (out []string) {
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
