package sign

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"bimamba/memmap"
)

// Ext is put behind a blob's name for its signature's.
const Ext = ".minisig"

// verityWord stands in front of the fs-verity digest in a trusted comment.
const verityWord = "verity:sha256:"

// Blob is the text of a signature's file for f, which was made at a time. digest is the file's [Digest], nil to leave it out.
func Blob(k PrivateKey, f *memmap.File, name string, at time.Time, digest []byte) ([]byte, error) {
	head, err := headOf(f)
	if err != nil {
		return nil, err
	}
	comment := fmt.Sprintf("timestamp:%d\tfile:%s", at.Unix(), strings.Map(printable, name))
	if digest != nil {
		comment += "\t" + verityWord + hex.EncodeToString(digest)
	}
	return k.Sign(head, comment)
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}

// Checked is what is known of a blob whose signature is right.
type Checked struct {
	Comment string // the trusted one
	Verity  bool   // the kernel checks each page as it is read (fs-verity), and has the digest that was signed
}

// CheckBlob holds the head of f against the file beside it, Ext behind its name, which one of the keys has to have made. Where the kernel has an fs-verity digest of the file, and
// the signature names one, they have to be the same.
func CheckBlob(f *memmap.File, keys []PublicKey) (*Checked, error) {
	name := f.Name() + Ext
	text, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not signed: there is no %s; `bimamba sign` makes it", f.Name(), name)
	}
	if err != nil {
		return nil, err
	}
	head, err := headOf(f)
	if err != nil {
		return nil, err
	}
	comment, err := Verify(keys, head, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := &Checked{Comment: comment}
	_, rest, ok := strings.Cut(comment, verityWord)
	if !ok {
		return c, nil
	}
	want, _, _ := strings.Cut(rest, "\t")
	got, err := Measured(f.Name())
	switch {
	case errors.Is(err, ErrNoVerity):
		return c, nil
	case err != nil:
		return nil, err
	case hex.EncodeToString(got) != want:
		return nil, fmt.Errorf("%s: its fs-verity digest is not the one that was signed: its tensors were changed", f.Name())
	}
	c.Verity = true
	return c, nil
}

// headOf is a copy of what is signed of f.
func headOf(f *memmap.File) (head []byte, err error) {
	err = f.Guard(func() error {
		head = append(head, f.Head()...)
		return nil
	})
	return head, err
}

// read is a file of a key or a signature.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes: no file of minisign's", name, maxFile)
	}
	return b, err
}

// ReadPublicKeys is public keys by themselves or by their files.
func ReadPublicKeys[S ~string](names ...S) ([]PublicKey, error) {
	var keys []PublicKey
	for _, name := range names {
		k, err := ParsePublicKey(string(name))
		if err != nil {
			k, err = ReadPublicKey(string(name))
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// ReadPublicKey reads the file of a public key.
func ReadPublicKey(name string) (PublicKey, error) {
	b, err := read(name)
	if err != nil {
		return PublicKey{}, err
	}
	k, err := ParsePublicKey(string(b))
	if err != nil {
		return k, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}
