package rest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// Limits of an upload. Its file has none of its own: the store says when there is
// no room.
const (
	uploadPause = 5 * time.Minute // that a client may be silent
	maxPart     = 64 << 10        // bytes of a field beside the file
	maxParts    = 32
)

// Upload is a file that comes as multipart/form-data, read as it comes. Clients say
// its name in a header, and name and description in the query or in fields before
// or behind the file.
type Upload struct {
	c        *Call
	filename string
	fields   map[string]string
	next     func() (string, io.Reader, error)
	File     io.Reader
}

// IsUpload tells whether the body of a request is one.
func (c *Call) IsUpload() bool {
	kind, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type"))
	return kind == "multipart/form-data"
}

// patient is a body whose client must not be silent for long.
type patient struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(uploadPause))
	return p.ReadCloser.Read(b)
}

// Upload reads up to the file.
func (c *Call) Upload() (*Upload, error) {
	u := &Upload{c: c, fields: map[string]string{}, filename: c.Header.Get("Uploadfilename")}
	c.Request.Body = patient{c.Request.Body, http.NewResponseController(c.W)}
	parts, err := c.MultipartReader()
	if err != nil {
		return nil, Bad("the body is no upload: %v", err)
	}
	count := 0
	u.next = func() (string, io.Reader, error) {
		part, err := parts.NextPart()
		if err != nil {
			return "", nil, err
		}
		if count++; count > maxParts {
			return "", nil, Bad("the upload has more than %d parts", maxParts)
		}
		if part.FileName() != "" && u.filename == "" {
			u.filename = part.FileName()
		}
		if part.FormName() == "file" || part.FileName() != "" {
			return "file", part, nil
		}
		return part.FormName(), part, nil
	}
	if u.File, err = u.read(); err != nil {
		return nil, err
	}
	if u.File == nil {
		return nil, Bad(`the upload has no file: send it as the field "file" of multipart/form-data`)
	}
	return u, nil
}

// read takes in fields, up to a file or the end.
func (u *Upload) read() (file io.Reader, err error) {
	for {
		name, r, err := u.next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil || name == "file" {
			return r, partError(err)
		}
		b, err := io.ReadAll(io.LimitReader(r, maxPart+1))
		if err != nil {
			return nil, partError(err)
		}
		if len(b) > maxPart {
			return nil, Bad("the field %.64q of the upload has more than %d bytes", name, maxPart)
		}
		u.fields[name] = string(b)
	}
}

// partError is the error of a body that is cut short or no multipart at all.
func partError(err error) error {
	var p *Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return Bad("the upload cannot be read: %v", err)
}

// Field is what a field, or the query, says.
func (u *Upload) Field(name string) string {
	if v := u.c.URL.Query().Get(name); v != "" {
		return v
	}
	return u.fields[name]
}

// Name is what the file is called: by a field, else by the name of the file,
// without folders and ending.
func (u *Upload) Name() string {
	if name := u.Field("name"); name != "" {
		return name
	}
	name := path.Base(strings.ReplaceAll(u.filename, `\`, "/"))
	for _, ending := range []string{".zip", ".gz", ".xz", ".zst", ".img", ".raw"} {
		if len(name) > len(ending) && strings.EqualFold(name[len(name)-len(ending):], ending) {
			name = name[:len(name)-len(ending)]
		}
	}
	if name == "." || name == "/" {
		return ""
	}
	return name
}

// End reads what is behind the file. There is no second one.
func (u *Upload) End() error {
	file, err := u.read()
	if err == nil && file != nil {
		err = Bad("the upload has two files: send one at a time")
	}
	_ = http.NewResponseController(u.c.W).SetReadDeadline(time.Time{})
	return err
}
