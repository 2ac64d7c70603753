package daemon

import (
	"bufio"
	"context"
	"io"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// RepairFile repairs an image from a regular file or a block device of this host.
func (b *backend) RepairFile(ctx context.Context, name string, file v1.HostFile, progress func(blockstore.Progress)) (blockstore.RepairReport, error) {
	if err := b.d.changeable(); err != nil {
		return blockstore.RepairReport{}, err
	}
	leave, err := b.d.imports.enter(ctx, progress)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer leave()
	f, err := openInput(file)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer f.Close()
	src, leave, err := b.openSeekable(ctx, f, progress)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer leave()
	return b.repair(ctx, name, src, progress)
}

// RepairStream repairs an image from a stream.
func (b *backend) RepairStream(ctx context.Context, name string, r io.Reader, size int64, progress func(blockstore.Progress)) (blockstore.RepairReport, error) {
	if err := b.d.changeable(); err != nil {
		return blockstore.RepairReport{}, err
	}
	leave, err := b.d.imports.enter(ctx, progress)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer leave()
	head := bufio.NewReaderSize(r, source.SniffLen)
	src, err := source.OpenStream(head, size)
	if !needsFile(err) {
		if err != nil {
			return blockstore.RepairReport{}, inputError(err)
		}
		return b.repair(ctx, name, src, progress)
	}
	f, err := b.d.spool(ctx, head, size, progress)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer f.Close()
	src, leave, err = b.openSeekable(ctx, f, progress)
	if err != nil {
		return blockstore.RepairReport{}, err
	}
	defer leave()
	return b.repair(ctx, name, src, progress)
}

// repair uses src up.
func (b *backend) repair(ctx context.Context, name string, src blockstore.Source, progress func(blockstore.Progress)) (blockstore.RepairReport, error) {
	defer src.Close()
	report, err := b.RepairImage(ctx, name, src, progress)
	return report, inputError(err)
}
