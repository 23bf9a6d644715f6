package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/blake2b"
)

const trusted = "trusted comment: "

// Sign is the text of a signature's file. The comment, one line, is signed with the message.
func (k PrivateKey) Sign(message []byte, comment string) ([]byte, error) {
	if strings.ContainsAny(comment, "\r\n") || len(comment) > maxFile/2 {
		return nil, errors.New("signature: the comment is not one line, or too long")
	}
	sum := blake2b.Sum512(message)
	sig := ed25519.Sign(k.key, sum[:])
	all := ed25519.Sign(k.key, append(bytes.Clone(sig), comment...))
	text := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, "%ssignature from bimamba, key %s\n%s\n%s%s\n%s\n", untrusted, k.Public().ID(),
		text(bytes.Join([][]byte{hashed, k.id[:], sig}, nil)), trusted, comment, text(all)), nil
}

// ErrKey is returned where a signature is by none of the keys.
var ErrKey = errors.New("it was signed by another key")

// Verify checks the file of a signature of message, which one of keys has to have made, and returns its trusted comment. minisign's signatures of the message itself, which it
// made before version 0.10, are accepted like those of its BLAKE2b-512.
func Verify(keys []PublicKey, message, file []byte) (comment string, err error) {
	s, err := parse(file)
	if err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	for _, k := range keys {
		if k.id != s.id {
			continue
		}
		if s.hashed {
			sum := blake2b.Sum512(message)
			message = sum[:]
		}
		if !ed25519.Verify(k.key[:], message, s.sig) {
			return "", errors.New("signature: it is of other bytes: what it was made for has been changed")
		}
		if !ed25519.Verify(k.key[:], append(bytes.Clone(s.sig), s.comment...), s.all) {
			return "", errors.New("signature: its trusted comment has been changed")
		}
		return s.comment, nil
	}
	return "", fmt.Errorf("signature: %w: %s", ErrKey, keyID(s.id))
}

// signature is the parsed file.
type signature struct {
	id       [8]byte
	hashed   bool
	sig, all []byte
	comment  string
}

func parse(file []byte) (*signature, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	lines := strings.Split(strings.ReplaceAll(string(file), "\r\n", "\n"), "\n")
	if len(lines) == 5 && lines[4] == "" {
		lines = lines[:4]
	}
	if len(lines) != 4 {
		return nil, errors.New("not the four lines that minisign writes")
	}
	if !strings.HasPrefix(lines[0], untrusted) {
		return nil, fmt.Errorf("line 1 does not begin with %q", untrusted)
	}
	comment, ok := strings.CutPrefix(lines[2], trusted)
	if !ok {
		return nil, fmt.Errorf("line 3 does not begin with %q", trusted)
	}
	b, err := decode(lines[1], 2+8+ed25519.SignatureSize)
	if err != nil {
		return nil, fmt.Errorf("line 2: %w", err)
	}
	all, err := decode(lines[3], ed25519.SignatureSize)
	if err != nil {
		return nil, fmt.Errorf("line 4: %w", err)
	}
	s := &signature{hashed: bytes.Equal(b[:2], hashed), sig: b[10:], all: all, comment: comment}
	if !s.hashed && !bytes.Equal(b[:2], algorithm) {
		return nil, fmt.Errorf("line 2: the algorithm %q is not Ed25519", b[:2])
	}
	copy(s.id[:], b[2:])
	return s, nil
}
