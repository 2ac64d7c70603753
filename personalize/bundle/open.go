package bundle

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"goldstream/personalize/attribute"
)

// Open reads a bundle, but for the payloads of images, and checks everything that
// it reads; r must stay open for [Bundle.OpenImage]. Error: attribute.ErrInvalid,
// naming all that is wrong.
func Open(r io.ReaderAt, size int64) (*Bundle, error) { return openWithin(r, size, maxTexts) }

// openWithin unpacks at most texts bytes.
func openWithin(r io.ReaderAt, size, texts int64) (*Bundle, error) {
	files, err := directory(r, size)
	if err != nil {
		return nil, err
	}
	o := &opening{b: &Bundle{}, left: texts}
	if err := o.sort(files); err != nil {
		return nil, err
	}
	if err := o.sums(); err != nil {
		return nil, err
	}
	if err := o.manifest(); err != nil {
		return nil, err
	}
	if err := errors.Join(o.objects()...); err != nil {
		return nil, err
	}
	o.payloads()
	return o.b, o.check()
}

// limited bounds what is read while the directory is: the archive's own count of
// its entries is no bound.
type limited struct {
	io.ReaderAt
	left int64 // negative: no bound
}

var errDirectory = errors.New("its directory is too long")

func (l *limited) ReadAt(p []byte, off int64) (int, error) {
	if l.left >= 0 {
		if l.left < int64(len(p)) {
			return 0, errDirectory
		}
		l.left -= int64(len(p))
	}
	return l.ReaderAt.ReadAt(p, off)
}

func directory(r io.ReaderAt, size int64) ([]*zip.File, error) {
	l := &limited{r, maxDirectory}
	z, err := zip.NewReader(l, size)
	switch {
	case err != nil && (errors.Is(err, errDirectory) || l.left < 64<<10):
		return nil, attribute.Invalid("this is no artifact bundle: it has far more than %d entries", maxEntries)
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrInsecurePath), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, attribute.Invalid("this is no artifact bundle: it is no ZIP archive, or was cut off (%v)", err)
	case err != nil:
		return nil, fmt.Errorf("the bundle cannot be read: %w", err)
	case len(z.File) > maxEntries:
		return nil, attribute.Invalid("this is no artifact bundle: it has %d entries, at most %d are allowed", len(z.File), maxEntries)
	}
	l.left = -1
	return z.File, nil
}

var objectForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,127})_(planscript|buildplan|deploymentplan|goldenimage)\.json$`)

// opening is a bundle as it is read.
type opening struct {
	b       *Bundle
	left    int64
	objs    []object
	rest    map[string]*zip.File // perhaps payloads
	special map[string]*zip.File // manifest, sums
}

type object struct {
	id, kind string
	file     *zip.File
}

// sort says what each entry is, and refuses what no bundle has.
func (o *opening) sort(files []*zip.File) error {
	o.rest, o.special = map[string]*zip.File{}, map[string]*zip.File{}
	seen := map[string]bool{}
	for _, f := range files {
		if strings.HasPrefix(f.Name, "__MACOSX/") || f.Name == ".DS_Store" {
			o.b.warn("%.100q is not of the bundle: left by a program that packed it anew", f.Name)
			continue
		}
		if err := plainEntry(f); err != nil {
			return err
		}
		if seen[f.Name] {
			return attribute.Invalid("the bundle has two entries %.200q", f.Name)
		}
		seen[f.Name] = true
		switch m := objectForm.FindStringSubmatch(f.Name); {
		case m != nil:
			o.objs = append(o.objs, object{m[1], m[2], f})
		case f.Name == manifestName, f.Name == sha256Name, f.Name == sha1Name:
			o.special[f.Name] = f
		default:
			o.rest[f.Name] = f
		}
	}
	if len(o.objs) == 0 {
		return attribute.Invalid("this is no artifact bundle: none of its %d entries is called ID_planscript.json, ID_buildplan.json, ID_deploymentplan.json or ID_goldenimage.json", len(files))
	}
	return nil
}

// plainEntry refuses folders, links, what is encrypted, and names that would be
// paths.
func plainEntry(f *zip.File) error {
	switch name := f.Name; {
	case name == "", name == ".", name == "..", strings.ContainsAny(name, "/\\\x00"):
		return attribute.Invalid("the bundle has an entry %.200q: entries of a bundle are files without folders", name)
	case f.Mode()&fs.ModeType != 0:
		return attribute.Invalid("entry %.200q of the bundle is no file", name)
	case f.Flags&1 != 0:
		return attribute.Invalid("entry %.200q of the bundle is encrypted: pack it anew without", name)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return attribute.Invalid("entry %.200q of the bundle is packed by method %d: use deflate (8), or none (0)", name, f.Method)
	}
	return nil
}

// read unpacks an entry that is text, and compares its digest.
func (o *opening) read(f *zip.File, most int64) (string, error) {
	r, err := o.b.open(f)
	if err != nil {
		return "", err
	}
	defer r.Close()
	most = min(most, o.left)
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > most {
		return "", attribute.Invalid("entry %q of the bundle unpacks to more than %d bytes, which is too much for what it is", f.Name, most)
	}
	o.left -= int64(len(text))
	return string(text), nil
}

// open unpacks an entry; reading to the end tells whether its digest is right.
func (b *Bundle) open(f *zip.File) (io.ReadCloser, error) {
	r, err := f.Open()
	if err != nil {
		return nil, attribute.Invalid("entry %q is damaged: %v; get the bundle again", f.Name, err)
	}
	return &verifying{r, f.Name, b.sums, b.sums.hash()}, nil
}

func (o *opening) sums() (err error) {
	for _, name := range []string{sha256Name, sha1Name} {
		f := o.special[name]
		if f == nil || o.b.sums.file != "" {
			continue
		}
		text, err := o.read(f, maxSums)
		if err != nil {
			return err
		}
		if o.b.sums, err = readSums(name, text); err != nil {
			return err
		}
	}
	if o.b.sums.file == "" {
		o.b.warn("the bundle has no list of checksums: nothing tells whether it was changed")
		return nil
	}
	return o.compareNames()
}

// compareNames finds entries that the list of checksums has and the bundle has
// not, and the other way round.
func (o *opening) compareNames() error {
	has := map[string]bool{manifestName: o.special[manifestName] != nil}
	for _, obj := range o.objs {
		has[obj.file.Name] = true
	}
	for name := range o.rest {
		has[name] = true
	}
	var bad []error
	for name := range o.b.sums.of {
		if !has[name] {
			bad = append(bad, attribute.Invalid("%s lists %.200q, which is not in the bundle: get the bundle again", o.b.sums.file, name))
		}
	}
	for name := range has {
		if _, listed := o.b.sums.of[name]; has[name] && !listed {
			bad = append(bad, attribute.Invalid("%s does not list %.200q: it was added to the bundle later", o.b.sums.file, name))
		}
	}
	return errors.Join(bad...)
}

func (o *opening) manifest() error {
	f := o.special[manifestName]
	if f == nil {
		o.b.warn("the bundle has no %s: it has no name of its own", manifestName)
		return nil
	}
	text, err := o.read(f, maxManifest)
	if err != nil {
		return err
	}
	o.b.Manifest, err = readManifest(text)
	return err
}

// payloads gives images their disks. What is left is nobody's.
func (o *opening) payloads() {
	for i := range o.b.Images {
		name := o.b.Images[i].Name
		o.b.Images[i].payload = o.rest[name]
		delete(o.rest, name)
	}
	for name := range o.rest {
		o.b.warn("%.100q is passed over: no golden image of the bundle is called so", name)
	}
}

func (b *Bundle) warn(format string, args ...any) {
	switch {
	case len(b.Warnings) < maxWarnings:
		b.Warnings = append(b.Warnings, fmt.Sprintf(format, args...))
	case len(b.Warnings) == maxWarnings:
		b.Warnings = append(b.Warnings, "and more of this kind")
	}
}

// OpenImage unpacks the payload of an image, which is a packed disk itself. An
// error of a Read tells also that its digest is another; the last Read does.
func (b *Bundle) OpenImage(i Image) (r io.ReadCloser, size int64, err error) {
	if i.payload == nil {
		return nil, 0, attribute.Invalid("the bundle has golden image %q, but not its disk", i.Name)
	}
	r, err = b.open(i.payload)
	return r, int64(i.payload.UncompressedSize64), err
}

// ImageDigest is the digest of an image's payload, as the bundle tells it; ""
// where it does not.
func (b *Bundle) ImageDigest(i Image) string { return b.sums.of[i.Name] }

// Verify reads the payloads of all images, and compares their digests.
func (b *Bundle) Verify() error {
	var bad []error
	for _, i := range b.Images {
		if i.payload == nil {
			continue
		}
		r, _, err := b.OpenImage(i)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			err = errors.Join(err, r.Close())
		}
		bad = append(bad, err)
	}
	return errors.Join(bad...)
}
