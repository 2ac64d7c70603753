package v1

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path/filepath"

	"goldstream/blockstore"
)

// RepairBackend is the part of a Backend that writes what is damaged of a golden
// image anew, from another copy of it.
type RepairBackend interface {
	// RepairFile takes it from a file of the backend's host. An error that wraps
	// fs.ErrPermission makes clients send the content instead.
	RepairFile(ctx context.Context, name string, file HostFile, progress func(blockstore.Progress)) (blockstore.RepairReport, error)
	// RepairStream takes it from what r yields; size is its length or -1.
	RepairStream(ctx context.Context, name string, r io.Reader, size int64, progress func(blockstore.Progress)) (blockstore.RepairReport, error)
}

// RepairRequest names the file that an image is repaired from.
type RepairRequest struct {
	HostFile
}

func (s *server) repairImage(e *events, r *http.Request) (any, error) {
	name := r.PathValue("name")
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == TypeRaw {
		e.upload = newUpload(e.rc, r)
		defer e.upload.close()
		return s.backend.RepairStream(r.Context(), name, e.upload.r, r.ContentLength, e.progress)
	}
	var body RepairRequest
	if err := readJSON(e.w, r, &body); err != nil {
		return nil, err
	}
	if err := mayName(r.Context(), "repair", body.HostFile); err != nil {
		return nil, err
	}
	return s.backend.RepairFile(r.Context(), name, body.HostFile, e.progress)
}

// mayName refuses a file that the client may not name to the daemon.
func mayName(ctx context.Context, what string, file HostFile) error {
	if !filepath.IsAbs(file.Path) {
		return invalid(fmt.Sprintf("the path %q is not absolute", file.Path))
	}
	if !mayReadFiles(ctx) {
		return fmt.Errorf("%s from %s: only root and the daemon's own user may name files to it; send the content instead: %w",
			what, file.Path, fs.ErrPermission)
	}
	return nil
}

// RepairFile writes what is damaged of an image anew, from the file at an
// absolute path of the daemon's host. An error that wraps fs.ErrPermission says
// to send it with RepairStream.
func (c *Client) RepairFile(ctx context.Context, name string, req RepairRequest, progress ProgressFunc) (r blockstore.RepairReport, err error) {
	err = c.work(ctx, imagePath(name, "/repair"), req, &r, progress, nil)
	return r, err
}

// RepairStream is RepairFile for what r yields, size bytes or, where that is -1,
// up to its end.
func (c *Client) RepairStream(ctx context.Context, name string, r io.Reader, size int64, progress ProgressFunc) (rep blockstore.RepairReport, err error) {
	err = c.send(ctx, imagePath(name, "/repair"), r, size, &rep, progress, nil)
	return rep, err
}
