package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// readRecords reads each file of a directory of tokens or boot records. One that cannot
// be read is told to the log, with what to do, and counted; the others work. What a kill
// left goes, unless the directory is only read.
func readRecords(dir string, log *slog.Logger, advice string, readOnly bool, read func(path string) error) (unread int, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if strings.HasSuffix(f.Name(), newSuffix) {
			if readOnly {
				continue
			}
			if err := os.Remove(path); err != nil {
				return unread, err
			}
			continue
		}
		if err := read(path); err != nil {
			log.Error(advice, "file", path, "error", err)
			unread++
		}
	}
	return unread, nil
}

// replaceFile puts a file in the place of another one, or of none. It is durable once the
// directory is synced.
func replaceFile(path string, p []byte) error {
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSynced(path+newSuffix, p); err != nil {
		return err
	}
	return os.Rename(path+newSuffix, path)
}
