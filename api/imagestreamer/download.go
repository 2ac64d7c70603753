package imagestreamer

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/task"
)

// attach writes the head of an answer that is a file. Some clients want its name,
// its length, and the type without anything behind it.
func attach(c *rest.Call, name string, size int64) {
	h := c.W.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Length", strconv.FormatInt(size, 10))
}

const (
	pieceSize    = 1 << 20
	pieceTimeout = time.Minute // to take one piece
)

// paced is a writer whose client must take each piece in time.
type paced struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (p paced) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(pieceTimeout))
	return p.w.Write(b)
}

// downloadImage sends an image as an upload takes it: a ZIP archive of one raw disk,
// not compressed, so that its length is known before.
func downloadImage(c *rest.Call) error {
	var g *model.GoldenImage
	err := c.View(func(v *rest.View) error {
		res, err := goldenImages().Find(v)
		if err == nil {
			g = res.(*model.GoldenImage)
		}
		return err
	})
	if err != nil {
		return err
	}
	disk, err := c.Backend.OpenImage(c.Context(), g.Image)
	if err != nil {
		return err
	}
	defer disk.Close()
	attach(c, g.Name+".zip", archiveSize(diskName(g.Name), disk.Size()))
	out := paced{c.W, http.NewResponseController(c.W)}
	// The answer has begun: an error can only break it off, which its length shows.
	if err := archive(out, diskName(g.Name), disk.Size(), func(w io.Writer) error {
		p := make([]byte, pieceSize)
		for off := int64(0); off < disk.Size(); off += int64(len(p)) {
			p = p[:min(int64(len(p)), disk.Size()-off)]
			if err := disk.ReadAt(c.Context(), p, off); err != nil {
				return err
			}
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func diskName(name string) string { return name + ".img" }

// archive writes a ZIP archive of one file that is stored as it is.
func archive(w io.Writer, name string, size int64, body func(io.Writer) error) error {
	z := zip.NewWriter(w)
	f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, UncompressedSize64: uint64(size)})
	if err != nil {
		return err
	}
	if err := body(f); err != nil {
		return err
	}
	return z.Close()
}

// Sizes of the parts of an archive, APPNOTE 4.3 and 4.5.3: those of the 64-bit form
// are used from 4 GiB on.
const (
	localHeader   = 30
	descriptor    = 16
	centralHeader = 46
	endRecord     = 22
	descriptor64  = 24
	extra64       = 28
	endRecords64  = 56 + 20
	limit32       = 1<<32 - 1
)

// archiveSize is the length of what archive writes.
func archiveSize(name string, size int64) int64 {
	n := int64(localHeader+len(name)) + size + descriptor + int64(centralHeader+len(name)) + endRecord
	if size >= limit32 {
		n += descriptor64 - descriptor + extra64
	}
	if offset := int64(localHeader+len(name)) + size + descriptor; size >= limit32 || offset >= limit32 {
		n += endRecords64
	}
	return n
}

// imageLog is what was logged when an image was made.
func imageLog(c *rest.Call) error {
	return sendLog(c, goldenImages(), func(res model.Resource, i task.Info) bool { return i.About == string(res.Head().URI) })
}

// sendLog answers with the logs of the tasks that made something, as an archive.
// Secrets were masked when they were logged.
func sendLog(c *rest.Call, of *rest.Resource, is func(model.Resource, task.Info) bool) error {
	var res model.Resource
	if err := c.View(func(v *rest.View) (err error) { res, err = of.Find(v); return err }); err != nil {
		return err
	}
	tasks, err := c.Backend.Tasks(c.Context())
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, i := range tasks {
		if !is(res, i) {
			continue
		}
		if i, err = c.Backend.Task(c.Context(), i.ID, 0); err != nil {
			return err
		}
		fmt.Fprintf(&text, "Task %s: %s: %s\n", i.ID, i.Name, i.State)
		for _, l := range i.Log {
			fmt.Fprintf(&text, "%s [%s] %s\n", l.Time.UTC().Format(time.RFC3339), l.Step, strings.TrimRight(l.Text, "\n"))
		}
	}
	if text.Len() == 0 {
		text.WriteString("The tasks that made it are not kept any more.\n")
	}
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	f, err := z.Create(res.Head().Name + ".log")
	if err == nil {
		_, err = f.Write(text.Bytes())
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return err
	}
	attach(c, res.Head().Name+"-log.zip", int64(zipped.Len()))
	_, _ = paced{c.W, http.NewResponseController(c.W)}.Write(zipped.Bytes()) // the client is gone: nobody to tell
	return nil
}
