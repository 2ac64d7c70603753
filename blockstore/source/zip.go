package source

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/flate"

	"goldstream/blockstore"
)

var errZipSum = errors.New("the CRC-32 in the archive's directory differs")

// openZip reads the one file in a zip archive. The directory comes from the
// standard library; the data is decoded here, which checks length and CRC-32
// without exception and knows how much of the input is used.
func openZip(f *os.File, size int64) (blockstore.Source, error) {
	if err := checkZipDirectory(f, size); err != nil {
		return nil, err
	}
	bounded := &boundedReaderAt{r: f, left: maxZipDirectory + zipTail}
	archive, err := zip.NewReader(bounded, size)
	bounded.left = -1
	if errors.Is(err, errZipDirectory) || err == nil && len(archive.File) > maxZipFiles {
		return nil, zipTooLarge("more files than it says")
	}
	if err != nil {
		return nil, &InputError{Format: formatZip, Offset: -1, What: "its directory cannot be read", Do: doFetchAgain, Err: err}
	}
	file, err := onlyFile(archive)
	if err != nil {
		return nil, err
	}
	m, err := zipMeter(file)
	if err != nil {
		return nil, err
	}
	return startPipeline(formatZip, int64(file.UncompressedSize64), newZipDecoder(file, m.buf), m, f), nil
}

// onlyFile returns the archive's one file if it can be a disk.
func onlyFile(archive *zip.Reader) (*zip.File, error) {
	var files []*zip.File
	for _, f := range archive.File {
		if !strings.HasSuffix(f.Name, "/") {
			files = append(files, f)
		}
	}
	if len(files) != 1 {
		return nil, &InputError{Format: formatZip, Offset: -1,
			What: fmt.Sprintf("it holds %d files; a golden image is a zip with one raw disk in it", len(files)),
			Do:   "unpack it and import the disk image"}
	}
	return files[0], checkZipFile(files[0])
}

func checkZipFile(f *zip.File) error {
	const encrypted = 1 << 0 // APPNOTE 4.4.4
	bad := &InputError{Format: formatZip, Offset: -1, Do: "unpack it and import the disk image"}
	switch {
	case f.Flags&encrypted != 0:
		bad.What = fmt.Sprintf("%.100q is encrypted", f.Name)
	case f.Method != zip.Deflate && f.Method != zip.Store:
		bad.What = fmt.Sprintf("%.100q is compressed by method %d; only stored (0) and deflated (8) are read", f.Name, f.Method)
	case f.UncompressedSize64 > 1<<62:
		bad.What = fmt.Sprintf("%.100q cannot be %d bytes long", f.Name, f.UncompressedSize64)
	default:
		return nil
	}
	return bad
}

// zipMeter returns a reader over the file's compressed bytes.
func zipMeter(f *zip.File) (*meter, error) {
	raw, err := f.OpenRaw()
	if err == nil {
		m := newMeter(raw, int64(f.CompressedSize64))
		m.base, err = f.DataOffset()
		if err == nil {
			return m, nil
		}
	}
	return nil, &InputError{Format: formatZip, Offset: -1, What: "the header of its file cannot be read", Do: doFetchAgain, Err: err}
}

// zipDecoder decodes one file and checks it against the directory.
type zipDecoder struct {
	r    io.Reader     // decoded
	in   *bufio.Reader // what must be used up
	left int64
	want uint32
	sum  hash.Hash32
}

func newZipDecoder(f *zip.File, in *bufio.Reader) *zipDecoder {
	d := &zipDecoder{r: in, in: in, left: int64(f.UncompressedSize64), want: f.CRC32, sum: crc32.NewIEEE()}
	if f.Method == zip.Deflate {
		d.r = flate.NewReader(in)
	}
	return d
}

func (d *zipDecoder) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.left -= int64(n)
	d.sum.Write(p[:n])
	switch {
	case d.left < 0:
		return 0, errors.New("more data than the directory says")
	case errors.Is(err, io.EOF):
		err = d.check()
	}
	return n, err
}

func (d *zipDecoder) check() error {
	if d.left > 0 {
		return io.ErrUnexpectedEOF
	}
	if d.sum.Sum32() != d.want {
		return errZipSum
	}
	if _, err := d.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("more compressed data than the disk needs")
	}
	return io.EOF
}
