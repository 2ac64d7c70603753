package v1

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"goldstream/netboot"
)

// BootBackend is the part of a Backend that knows which servers boot from which
// volumes.
type BootBackend interface {
	// PutBootFiles keeps what a tar archive has, and returns its key.
	PutBootFiles(ctx context.Context, r io.Reader) (key string, err error)
	AssignBoot(ctx context.Context, volume string, req BootRequest) (BootServer, error)
	RefreshBoot(ctx context.Context, volume, files string) (BootServer, error)
	NextBoot(ctx context.Context, volume, mode string) (BootServer, error)
	UnassignBoot(ctx context.Context, volume string) error
	BootServers(ctx context.Context) (BootList, error)
}

// BootRequest assigns a volume to a server.
type BootRequest struct {
	MACs    []string `json:"macs,omitempty"`
	UUID    string   `json:"uuid,omitempty"`
	Serial  string   `json:"serial,omitempty"`
	Options string   `json:"options,omitempty"` // of the kernel, besides those of the volume
	Allow   []string `json:"allow,omitempty"`   // addresses that may ask; none: all
	Files   string   `json:"files,omitempty"`   // key of the boot files; none: they are read out of the volume
}

// BootServer is a server that boots from a volume.
type BootServer struct {
	Volume  string        `json:"volume"`
	MACs    []string      `json:"macs"`
	UUID    string        `json:"uuid,omitempty"`
	Serial  string        `json:"serial,omitempty"`
	Options string        `json:"options,omitempty"`
	Allow   []string      `json:"allow"`
	Next    string        `json:"next,omitempty"` // how it boots once: rescue or local
	Kernel  string        `json:"kernel,omitempty"`
	Created time.Time     `json:"created"`
	Deleted bool          `json:"deleted,omitempty"` // the volume is
	Changed bool          `json:"changed,omitempty"` // it was written where its boot files came from
	Last    *netboot.Boot `json:"last,omitempty"`    // boot since the daemon's start
	Asked   *time.Time    `json:"asked,omitempty"`   // when it was told by DHCP where its boot is; it has not come since
	Stuck   string        `json:"stuck,omitempty"`   // where its boot stands still
}

// BootList answers GET /v1/boot.
type BootList struct {
	Servers []BootServer       `json:"servers"`
	Unknown []netboot.Stranger `json:"unknown"` // servers that asked and have no volume
}

// BootFiles names boot files.
type BootFiles struct {
	Files string `json:"files"`
}

// BootMode is the body that says how a server boots once: volume, rescue or local.
type BootMode struct {
	Mode string `json:"mode"`
}

func (s *server) routeBoot(mux *router) {
	mux.HandleFunc("GET /v1/boot", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		l, err := s.backend.BootServers(r.Context())
		l.Servers, l.Unknown = orEmpty(l.Servers), orEmpty(l.Unknown)
		return l, err
	}))
	mux.HandleFunc("POST /v1/boot/files", s.answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		body := unstalled(http.NewResponseController(w), r, stallTimeout)
		key, err := s.backend.PutBootFiles(r.Context(), body)
		return BootFiles{Files: key}, err
	}))
	mux.HandleFunc("PUT /v1/volumes/{name}/boot", s.answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		var body BootRequest
		if err := readJSON(w, r, &body); err != nil {
			return nil, err
		}
		return s.backend.AssignBoot(r.Context(), r.PathValue("name"), body)
	}))
	mux.HandleFunc("POST /v1/volumes/{name}/boot/files", s.answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		var body BootFiles
		if err := readJSON(w, r, &body); err != nil {
			return nil, err
		}
		return s.backend.RefreshBoot(r.Context(), r.PathValue("name"), body.Files)
	}))
	mux.HandleFunc("POST /v1/volumes/{name}/boot/next", s.answer(func(w http.ResponseWriter, r *http.Request) (any, error) {
		var body BootMode
		if err := readJSON(w, r, &body); err != nil {
			return nil, err
		}
		return s.backend.NextBoot(r.Context(), r.PathValue("name"), body.Mode)
	}))
	mux.HandleFunc("DELETE /v1/volumes/{name}/boot", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return nil, s.backend.UnassignBoot(r.Context(), r.PathValue("name"))
	}))
}

// Boot lists servers that boot from volumes.
func (c *Client) Boot(ctx context.Context) (l BootList, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/boot", nil, &l)
	return l, err
}

// PutBootFiles sends boot files as a tar archive, boot.json first.
func (c *Client) PutBootFiles(ctx context.Context, archive io.Reader) (files string, err error) {
	resp, err := c.do(ctx, http.MethodPost, "/v1/boot/files", TypeRaw, archive, -1, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var f BootFiles
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return "", fmt.Errorf("the daemon's answer cannot be read: %w", err)
	}
	return f.Files, nil
}

// AssignBoot has a server boot from a volume.
func (c *Client) AssignBoot(ctx context.Context, volume string, req BootRequest) (s BootServer, err error) {
	err = c.call(ctx, http.MethodPut, volumePath(volume, "/boot"), req, &s)
	return s, err
}

// RefreshBoot gives the server of a volume other boot files.
func (c *Client) RefreshBoot(ctx context.Context, volume, files string) (s BootServer, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/boot/files"), BootFiles{files}, &s)
	return s, err
}

// NextBoot says how the server of a volume boots once.
func (c *Client) NextBoot(ctx context.Context, volume, mode string) (s BootServer, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/boot/next"), BootMode{mode}, &s)
	return s, err
}

// UnassignBoot takes a volume away from its server.
func (c *Client) UnassignBoot(ctx context.Context, volume string) error {
	return c.call(ctx, http.MethodDelete, volumePath(volume, "/boot"), nil, nil)
}
