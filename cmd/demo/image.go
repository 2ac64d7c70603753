package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"
)

const imageName = "debian"

// image and volume are what goldstream's --json prints of them.
type image struct {
	Size      int64  `json:"size"`
	ContentID string `json:"contentId"`
	SHA256    string `json:"sha256"`
	Allocated int64  `json:"allocated"`
}

type volume struct {
	Name      string `json:"name"`
	Size      int64  `json:"size"`
	Allocated int64  `json:"allocated"`
}

// makeGolden builds the golden image where it is missing or out of date. The
// script shows its own progress.
func (d *demo) makeGolden(ctx context.Context) error {
	d.chapter("a golden image: Debian 12")
	start := time.Now()
	cmd := command(ctx, "testdata/golden/build-debian-image.sh", d.golden)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the golden image: %w", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		d.note("build the golden image", took, "once; cached in "+d.golden)
	}
	return nil
}

// importImage imports the image and checks the digest that goldstream made on
// the way against one made here.
func (d *demo) importImage(ctx context.Context) error {
	d.chapter("goldstream image import %s %s", imageName, d.disk())
	took, err := d.goldstream(ctx, nil, "image", "import", imageName, d.disk())
	if err != nil {
		return err
	}
	if _, err := d.goldstream(ctx, &d.image, "image", "inspect", imageName); err != nil {
		return err
	}
	d.note("import", took, fmt.Sprintf("%s, of which %s data; digests included", bytesOf(d.image.Size), bytesOf(d.image.Allocated)))

	start := time.Now()
	sum, err := fileDigest(ctx, d.disk())
	if err != nil {
		return err
	}
	if sum != d.image.SHA256 {
		return fmt.Errorf("the image's sha256 is %s, the file's is %s", d.image.SHA256, sum)
	}
	d.note("sha256 of the file", time.Since(start), "equals the image's: "+sum[:16]+"…")
	return nil
}

// compare proves that nothing which happened to the clones reached the image:
// its digests are the old ones, and its content still fits them.
func (d *demo) compare(ctx context.Context) error {
	d.chapter("is the golden image what it was?")
	took, err := d.goldstream(ctx, nil, "image", "verify", imageName)
	if err != nil {
		return fmt.Errorf("the golden image is damaged: %w", err)
	}
	var after image
	if _, err := d.goldstream(ctx, &after, "image", "inspect", imageName); err != nil {
		return err
	}
	if after != d.image {
		return fmt.Errorf("the golden image has changed: %+v before, %+v after", d.image, after)
	}
	d.note("verify the image", took, "unchanged, content id "+after.ContentID[:16]+"…")
	return nil
}

func fileDigest(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	return digest(f)
}

func digest(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, onlyReader{r}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// onlyReader keeps io.CopyBuffer from using its own, smaller buffer.
type onlyReader struct{ io.Reader }
