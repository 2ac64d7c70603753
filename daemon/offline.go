package daemon

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"

	"goldstream/blockstore"
)

// RestoreCheckpoint goes back to a checkpoint of the metadata in a data
// directory that nobody has open. See blockstore.RestoreCheckpoint.
func RestoreCheckpoint(ctx context.Context, dir string, req blockstore.RestoreRequest) (blockstore.RestoreReport, error) {
	blocks, o, err := offlineStore(dir)
	if err != nil {
		return blockstore.RestoreReport{}, err
	}
	return blockstore.RestoreCheckpoint(ctx, blocks, o, req)
}

// Dump writes the metadata of a data directory that nobody has open to w. See
// blockstore.Dump.
func Dump(ctx context.Context, dir string, w io.Writer) (blockstore.DumpInfo, error) {
	blocks, o, err := offlineStore(dir)
	if err != nil {
		return blockstore.DumpInfo{}, err
	}
	return blockstore.Dump(ctx, blocks, o, w)
}

// RestoreDump goes back to a dump of the metadata in a data directory that
// nobody has open. See blockstore.RestoreDump.
func RestoreDump(ctx context.Context, dir string, dump io.Reader, req blockstore.RestoreRequest) (blockstore.RestoreReport, error) {
	blocks, o, err := offlineStore(dir)
	if err != nil {
		return blockstore.RestoreReport{}, err
	}
	return blockstore.RestoreDump(ctx, blocks, o, dump, req)
}

// AcceptTail goes on from where the metadata ends in a data directory that
// nobody has open. See blockstore.AcceptTail.
func AcceptTail(ctx context.Context, dir string, apply bool) (blockstore.TailReport, error) {
	blocks, o, err := offlineStore(dir)
	if err != nil {
		return blockstore.TailReport{}, err
	}
	return blockstore.AcceptTail(ctx, blocks, o, apply)
}

// CheckStore checks a data directory that nobody has open. See
// blockstore.CheckStore.
func CheckStore(ctx context.Context, dir string) (blockstore.CheckReport, error) {
	blocks, o, err := offlineStore(dir)
	if err != nil {
		return blockstore.CheckReport{}, err
	}
	return blockstore.CheckStore(ctx, blocks, o)
}

// offlineStore returns the store's directory and options for work on it as a
// whole, of which nothing is logged: it is reported.
func offlineStore(dir string) (blocks string, o blockstore.Options, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", o, err
	}
	blocks = filepath.Join(dir, "blocks")
	o.Logger = slog.New(slog.DiscardHandler)
	return blocks, o, mustExist(dir, blocks)
}
