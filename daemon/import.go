package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/blockstore/source"
	"goldstream/fuse"
)

// ImportFile imports a regular file or a block device of this host.
func (b *backend) ImportFile(ctx context.Context, file v1.HostFile, req blockstore.ImportRequest) (blockstore.ImageInfo, error) {
	if err := b.d.changeable(); err != nil {
		return blockstore.ImageInfo{}, err
	}
	leave, err := b.d.imports.enter(ctx, req.Progress)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer leave()
	f, err := openInput(file)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer f.Close()
	return b.importSeekable(ctx, f, req)
}

// openInput opens without waiting for the writer of a pipe. Where the client
// said which file it means, that one is opened or none: the first open only
// looks (O_PATH), so that nothing else is touched on the way.
func openInput(file v1.HostFile) (*os.File, error) {
	if err := notOurs(file.Path, file.Device); err != nil {
		return nil, err
	}
	path := file.Path
	if file.Device == 0 && file.Inode == 0 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil { // else the open tells
			if err := notOurs(path, st.Dev); err != nil {
				return nil, err
			}
		}
	} else {
		seen, err := findInput(file)
		if err != nil {
			return nil, &v1.Error{Code: v1.CodeForbidden,
				Message: fmt.Sprintf("the daemon does not see the file at %s that was meant: %v", file.Path, err),
				Advice:  "Send its content instead."}
		}
		defer seen.Close()
		path = fmt.Sprintf("/proc/self/fd/%d", seen.Fd())
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() && fi.Mode().Type() != os.ModeDevice {
		err = fmt.Errorf("%s is neither a file nor a block device; pipe its content in, with - as the source: %w", file.Path, blockstore.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// notOurs refuses a file on a mount of goldstream: an import from a mount that this
// process serves would wait for itself, and could not be killed.
func notOurs(path string, device uint64) error {
	ours, err := fuse.Ours(device)
	if err != nil || !ours {
		return err
	}
	return &v1.Error{Code: v1.CodeForbidden, // clients then send the content
		Message: fmt.Sprintf("%s is on a mount of goldstream, which a daemon does not read by itself", path),
		Advice:  "Send its content instead, or make an image of a volume with 'goldstream image capture'."}
}

// findInput returns a handle on the client's file that cannot be read from.
func findInput(file v1.HostFile) (*os.File, error) {
	f, err := os.OpenFile(file.Path, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Dev != file.Device || st.Ino != file.Inode) {
		err = errors.New("another file stands there")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// importSeekable imports from a file of any format.
func (b *backend) importSeekable(ctx context.Context, f *os.File, req blockstore.ImportRequest) (blockstore.ImageInfo, error) {
	src, leave, err := b.openSeekable(ctx, f, req.Progress)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer leave()
	return b.importSource(ctx, src, req)
}

// openSeekable opens a file of any format. Call leave after the source is closed.
func (b *backend) openSeekable(ctx context.Context, f *os.File, progress func(blockstore.Progress)) (src blockstore.Source, leave func(), err error) {
	leave = func() {}
	src, err = source.Open(f)
	var convert *source.NeedsConverter
	if errors.As(err, &convert) {
		if leave, err = b.d.conversions.enter(ctx, progress); err != nil {
			return nil, nil, err
		}
		src, err = OpenConverted(ctx, f, b.d.tmp(), b.d.log)
	}
	if err != nil {
		leave()
		return nil, nil, inputError(err)
	}
	return src, leave, nil
}

// importSource uses src up. That it fails to close after its last byte was read
// takes nothing from the image.
func (b *backend) importSource(ctx context.Context, src blockstore.Source, req blockstore.ImportRequest) (blockstore.ImageInfo, error) {
	defer src.Close()
	info, err := b.ImportImage(ctx, src, req)
	return info, inputError(err)
}

// ImportStream imports from a stream. A format that cannot be read from its
// beginning to its end goes through a temporary file.
func (b *backend) ImportStream(ctx context.Context, r io.Reader, size int64, req blockstore.ImportRequest) (blockstore.ImageInfo, error) {
	if err := b.d.changeable(); err != nil {
		return blockstore.ImageInfo{}, err
	}
	leave, err := b.d.imports.enter(ctx, req.Progress)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer leave()
	// A refused format leaves the stream whole in this buffer.
	head := bufio.NewReaderSize(r, source.SniffLen)
	src, err := source.OpenStream(head, size)
	if needsFile(err) {
		return b.importSpooled(ctx, head, size, req)
	}
	if err != nil {
		return blockstore.ImageInfo{}, inputError(err)
	}
	return b.importSource(ctx, src, req)
}

// inputError marks an error that the input is to blame for. The block store's
// sentinel would say that the request was wrong.
func inputError(err error) error {
	var input *source.InputError
	if errors.As(err, &input) {
		return &v1.Error{Code: v1.CodeInput, Message: err.Error()}
	}
	return err
}

// needsFile tells whether err asks for an input that can seek.
func needsFile(err error) bool {
	var convert *source.NeedsConverter
	var file *source.NeedsFile
	return errors.As(err, &convert) || errors.As(err, &file)
}

// importSpooled asks for the name first: a large upload for a name that is
// taken would be a waste.
func (b *backend) importSpooled(ctx context.Context, r io.Reader, size int64, req blockstore.ImportRequest) (blockstore.ImageInfo, error) {
	if _, err := b.Image(ctx, req.Name); err == nil && req.RequestID == "" {
		return blockstore.ImageInfo{}, fmt.Errorf("golden image %q: %w", req.Name, blockstore.ErrExists)
	}
	f, err := b.d.spool(ctx, r, size, req.Progress)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer f.Close()
	return b.importSeekable(ctx, f, req)
}
