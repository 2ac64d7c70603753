package daemon

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The inputs of deployments hold passwords, and tasks are kept after they ended. So
// what a deployment needs is sealed in the journal, with a key in DATA/tasks.key: a
// backup of the journal alone tells no password.
//
//	nonce 12 | AES-256-GCM of the text, with a label
//
// The nonce is a keyed digest of label and text: the same request seals to the same
// bytes, by which a task knows a request that is sent again.

const (
	sealFile  = "tasks.key"
	sealBytes = 64 // AES key, key of the digest
)

type sealer struct {
	aead   cipher.AEAD
	digest []byte
}

// openSealer reads the key, and makes it if there is none.
func openSealer(dir string) (*sealer, error) {
	path := filepath.Join(dir, sealFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(dir, path)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of tasks: %w", err)
	}
	if len(key) != sealBytes {
		return nil, fmt.Errorf("the key of tasks, %s, is damaged: it has %d bytes and not %d; restore it from a backup, or remove it and deploy again what has not ended", path, len(key), sealBytes)
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealer{aead, key[32:]}, err
}

func makeKey(dir, path string) ([]byte, error) {
	key := make([]byte, sealBytes)
	_, _ = rand.Read(key) // never fails since Go 1.24
	f, err := os.CreateTemp(dir, sealFile+"-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(d.Sync(), d.Close())
}

func (s *sealer) seal(label string, text []byte) []byte {
	mac := hmac.New(sha256.New, s.digest)
	fmt.Fprintf(mac, "%d:%s", len(label), label)
	mac.Write(text)
	nonce := mac.Sum(nil)[:s.aead.NonceSize()]
	return s.aead.Seal(nonce, nonce, text, []byte(label))
}

func (s *sealer) open(label string, sealed []byte) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("what was sealed is cut off")
	}
	text, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(label))
	if err != nil {
		return nil, fmt.Errorf("it was sealed with another key than that in %s, or is damaged: deploy again", sealFile)
	}
	return text, nil
}
