package v1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"goldstream/blockstore"
)

// ProgressFunc is told how far long work has come; nil is none.
type ProgressFunc func(blockstore.Progress)

// ImportFile imports the file at an absolute path of the daemon's host. An
// error that wraps fs.ErrPermission says that the daemon will not read it, or
// that it sees another one there:
// send it with ImportStream.
func (c *Client) ImportFile(ctx context.Context, name string, req ImportRequest, progress ProgressFunc, opts ...Option) (i blockstore.ImageInfo, err error) {
	err = c.work(ctx, imagePath(name, "/import"), req, &i, progress, opts)
	return i, err
}

// ImportStream imports what r yields, size bytes or, where that is -1, up to
// its end.
func (c *Client) ImportStream(ctx context.Context, name string, r io.Reader, size int64, owner string, progress ProgressFunc, opts ...Option) (i blockstore.ImageInfo, err error) {
	path := imagePath(name, "/import")
	if owner != "" {
		path += "?owner=" + url.QueryEscape(owner)
	}
	err = c.send(ctx, path, r, size, &i, progress, opts)
	return i, err
}

// send posts what r yields; the answer is NDJSON.
func (c *Client) send(ctx context.Context, path string, r io.Reader, size int64, out any, progress ProgressFunc, opts []Option) error {
	// Cancelled at the end: an error may come before all was sent.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The transport waits for a Read of the body, and r may be a terminal.
	body, stop, _ := pump(ctx, r)
	defer stop()
	defer body.Close()
	resp, err := c.do(ctx, http.MethodPost, path, TypeRaw, body, size, opts)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readEvents(ctx, resp.Body, out, progress)
}

// VerifyImage reads an image and compares it with its checksums. Damage is in
// the report, not an error.
func (c *Client) VerifyImage(ctx context.Context, name string, progress ProgressFunc) (rep blockstore.VerifyReport, err error) {
	err = c.work(ctx, imagePath(name, "/verify"), nil, &rep, progress, nil)
	return rep, err
}

// DigestImage tells the content id of an image and, with raw, the SHA-256 of
// its raw disk; what is not known is worked out.
func (c *Client) DigestImage(ctx context.Context, name string, raw bool, progress ProgressFunc) (d blockstore.ImageDigests, err error) {
	err = c.work(ctx, imagePath(name, "/digest")+"?sha256="+strconv.FormatBool(raw), nil, &d, progress, nil)
	return d, err
}

// CaptureImage makes a golden image of a volume or of one of its snapshots.
func (c *Client) CaptureImage(ctx context.Context, name string, req CaptureRequest, progress ProgressFunc, opts ...Option) (i blockstore.ImageInfo, err error) {
	err = c.work(ctx, imagePath(name, "/capture"), req, &i, progress, opts)
	return i, err
}

// work posts a request whose answer is NDJSON.
func (c *Client) work(ctx context.Context, path string, in, out any, progress ProgressFunc, opts []Option) error {
	body, err := jsonBody(in)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, path, TypeJSON, body, -1, opts)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readEvents(ctx, resp.Body, out, progress)
}

// readEvents reads up to the line that carries the result or the error.
func readEvents(ctx context.Context, r io.Reader, out any, progress ProgressFunc) error {
	d := json.NewDecoder(r)
	for {
		var e Event
		if err := d.Decode(&e); err != nil {
			return brokeOff(ctx, err)
		}
		switch {
		case e.Error != nil:
			return e.Error
		case e.Result != nil:
			return json.Unmarshal(e.Result, out)
		case e.Progress != nil && progress != nil:
			progress(*e.Progress)
		}
	}
}

func brokeOff(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the daemon went away before it was done: %w", err)
}

// ExportImage passes an image's disk to the sink that start returns for its
// size, and returns the size.
func (c *Client) ExportImage(ctx context.Context, name string, start func(size int64) (Sink, error)) (int64, error) {
	return c.export(ctx, imagePath(name, "/export"), start)
}

// ExportSnapshot is ExportImage for a snapshot of a volume.
func (c *Client) ExportSnapshot(ctx context.Context, volume, name string, start func(size int64) (Sink, error)) (int64, error) {
	return c.export(ctx, snapshotPath(volume, name, "/export"), start)
}

func (c *Client) export(ctx context.Context, path string, start func(size int64) (Sink, error)) (int64, error) {
	resp, err := c.do(ctx, http.MethodGet, path+"?format=sparse", "", nil, -1, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	size, err := strconv.ParseInt(resp.Header.Get(HeaderDiskSize), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the daemon's answer lacks the size of the disk: %w", err)
	}
	sink, err := start(size)
	if err != nil {
		return size, err
	}
	_, err = ReadSparse(resp.Body, sink)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return size, err
}
