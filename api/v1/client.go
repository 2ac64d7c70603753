package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"goldstream/blockstore"
)

// Client talks to a daemon. It is safe for any number of goroutines.
type Client struct {
	http  *http.Client
	dial  func(context.Context) (net.Conn, error) // nil over the network
	base  string                                  // URL of the daemon
	token string                                  // of a session or an API token; over the network
}

// NewClient returns a client of the daemon at the socket path.
func NewClient(socket string) *Client {
	return NewClientDial(func(ctx context.Context) (net.Conn, error) { return Dial(ctx, socket) })
}

// NewClientDial returns a client whose connections dial makes.
func NewClientDial(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{dial: dial, base: "http://goldstream", http: &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
		WriteBufferSize:    256 << 10,
		ReadBufferSize:     256 << 10,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Option changes one request.
type Option func(*http.Request)

// WithRequestID names the request, so that a repetition returns the first
// result. An empty id is none.
func WithRequestID(id string) Option {
	return func(r *http.Request) {
		if id != "" {
			r.Header.Set(HeaderRequestID, id)
		}
	}
}

// Version returns the daemon's version.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/version", nil, &v)
	return v, err
}

// Status returns what the daemon says of itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Usage says what each disk takes and what it shares.
func (c *Client) Usage(ctx context.Context) (u blockstore.UsageReport, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/usage", nil, &u)
	return u, err
}

// Images lists the golden images.
func (c *Client) Images(ctx context.Context) ([]blockstore.ImageInfo, error) {
	var l ImageList
	err := c.call(ctx, http.MethodGet, "/v1/images", nil, &l)
	return l.Images, err
}

// Image describes one golden image.
func (c *Client) Image(ctx context.Context, name string) (i blockstore.ImageInfo, err error) {
	err = c.call(ctx, http.MethodGet, imagePath(name, ""), nil, &i)
	return i, err
}

// DeleteImage deletes a golden image. What was cloned from it stays.
func (c *Client) DeleteImage(ctx context.Context, name string, opts ...Option) error {
	return c.call(ctx, http.MethodDelete, imagePath(name, ""), nil, nil, opts...)
}

// Volumes lists the OS volumes.
func (c *Client) Volumes(ctx context.Context) ([]blockstore.VolumeInfo, error) {
	var l VolumeList
	err := c.call(ctx, http.MethodGet, "/v1/volumes", nil, &l)
	return l.Volumes, err
}

// Volume describes one OS volume.
func (c *Client) Volume(ctx context.Context, name string) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodGet, volumePath(name, ""), nil, &v)
	return v, err
}

// CreateVolume clones a golden image or a snapshot, or makes an empty volume.
func (c *Client) CreateVolume(ctx context.Context, req CreateRequest, opts ...Option) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/volumes", req, &v, opts...)
	return v, err
}

// GrowVolume makes a volume larger.
func (c *Client) GrowVolume(ctx context.Context, name string, size int64) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(name, "/grow"), GrowRequest{Size: size}, &v)
	return v, err
}

// SetQuota bounds the bytes that the volume itself may hold; 0 lifts the bound.
func (c *Client) SetQuota(ctx context.Context, name string, quota int64) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(name, "/quota"), QuotaRequest{Quota: quota}, &v)
	return v, err
}

// DeleteVolume deletes a volume.
func (c *Client) DeleteVolume(ctx context.Context, name string, opts ...Option) error {
	return c.call(ctx, http.MethodDelete, volumePath(name, ""), nil, nil, opts...)
}

func imagePath(name, verb string) string  { return "/v1/images/" + url.PathEscape(name) + verb }
func volumePath(name, verb string) string { return "/v1/volumes/" + url.PathEscape(name) + verb }

// call makes a request whose body and answer are one JSON document each, either
// of which may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any, opts ...Option) error {
	body, err := jsonBody(in)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, method, path, TypeJSON, body, -1, opts)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the daemon's answer cannot be read: %w", err)
	}
	return nil
}

func jsonBody(v any) (io.Reader, error) {
	if v == nil {
		return nil, nil
	}
	p, err := json.Marshal(v)
	return bytes.NewReader(p), err
}

// do sends a request and returns the answer if it is a good one. A size of 0
// or more is the length of a body whose reader does not tell.
func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader, size int64, opts []Option) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if size >= 0 {
		req.ContentLength = size
	}
	for _, o := range opts {
		o(req)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, answerError(resp)
}

// transportError tells a cancelled request from a daemon that went away.
func transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ue, ok := err.(*url.Error); ok {
		err = ue.Err // the URL's host may be made up
	}
	if e := certificateError(err); e != nil {
		return e
	}
	return fmt.Errorf("the connection to the daemon broke: %w", err)
}

func answerError(resp *http.Response) error {
	var body errorBody
	p, _ := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err := json.Unmarshal(p, &body); err != nil || body.Error == nil {
		return fmt.Errorf("the daemon answered %s: %s", resp.Status, bytes.TrimSpace(p))
	}
	return body.Error
}
