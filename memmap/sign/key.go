package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"
)

// maxFile is the size of a file of a key or a signature that is looked at. Real ones have up to some hundred bytes.
const maxFile = 8 << 10

const untrusted = "untrusted comment: "

// algorithm names Ed25519 in keys, and in signatures of the message itself; hashed those of its BLAKE2b-512.
var (
	algorithm = []byte("Ed")
	hashed    = []byte("ED")
)

// PublicKey checks signatures.
type PublicKey struct {
	id  [8]byte
	key [ed25519.PublicKeySize]byte
}

// ParsePublicKey reads what minisign writes: a line of base64, with or without the comment in front of it.
func ParsePublicKey(text string) (PublicKey, error) {
	var k PublicKey
	b, err := decode(text, 2+len(k.id)+len(k.key))
	if err != nil {
		return k, fmt.Errorf("public key: %w", err)
	}
	if !bytes.Equal(b[:2], algorithm) {
		return k, fmt.Errorf("public key: the algorithm %q is not Ed25519", b[:2])
	}
	copy(k.id[:], b[2:])
	copy(k.key[:], b[10:])
	return k, nil
}

// String is the key in base64, as ParsePublicKey takes it.
func (k PublicKey) String() string {
	return base64.StdEncoding.EncodeToString(bytes.Join([][]byte{algorithm, k.id[:], k.key[:]}, nil))
}

// ID is the key's short name, as minisign shows it.
func (k PublicKey) ID() string { return keyID(k.id) }

func keyID(id [8]byte) string { return fmt.Sprintf("%016X", binary.LittleEndian.Uint64(id[:])) }

// File is the text of the key's file.
func (k PublicKey) File() []byte {
	return fmt.Appendf(nil, "%sminisign public key %s\n%s\n", untrusted, k.ID(), k)
}

// PrivateKey makes signatures.
type PrivateKey struct {
	id  [8]byte
	key ed25519.PrivateKey
}

// Generate makes a key.
func Generate() (PrivateKey, error) {
	var k PrivateKey
	rand.Read(k.id[:])
	var err error
	_, k.key, err = ed25519.GenerateKey(rand.Reader)
	return k, err
}

// Public is the key that checks what k signs.
func (k PrivateKey) Public() PublicKey {
	p := PublicKey{id: k.id}
	copy(p.key[:], k.key.Public().(ed25519.PublicKey))
	return p
}

// The secret key's file: algorithm, name of the key derivation, name of the checksum, salt, its two limits, and then, behind a stream of the password's if there
// is one: key number, secret key, checksum.
const (
	saltAt, saltSize = 6, 32
	opsAt            = saltAt + saltSize
	memAt            = opsAt + 8
	boxAt            = memAt + 8
	boxSize          = 8 + ed25519.PrivateKeySize + blake2b.Size256
	secretSize       = boxAt + boxSize
)

// Limits of scrypt (libsodium's names): what Seal asks for, 64 MiB and a fraction of a second, and the most that Open does. minisign's own are 1 GiB and seconds.
const (
	sealOps, sealMem = 1 << 21, 64 << 20
	maxOps, maxMem   = 1 << 26, 1 << 30
)

// ErrPassword is returned where a password does not open a key.
var ErrPassword = errors.New("the password is wrong, or the key is damaged")

// Seal is the text of the key's file, encrypted with a password unless that is nil.
func (k PrivateKey) Seal(password []byte) ([]byte, error) {
	b := make([]byte, secretSize)
	copy(b, algorithm)
	copy(b[4:], "B2")
	box := b[boxAt:]
	copy(box, k.id[:])
	copy(box[8:], k.key)
	comment := "minisign secret key, not encrypted"
	if password != nil {
		comment = "minisign encrypted secret key"
		copy(b[2:], "Sc")
		rand.Read(b[saltAt:opsAt])
		binary.LittleEndian.PutUint64(b[opsAt:], sealOps)
		binary.LittleEndian.PutUint64(b[memAt:], sealMem)
		sum := k.checksum()
		copy(box[8+ed25519.PrivateKeySize:], sum[:])
		if err := mask(b, password); err != nil {
			return nil, err
		}
	}
	return fmt.Appendf(nil, "%s%s\n%s\n", untrusted, comment, base64.StdEncoding.EncodeToString(b)), nil
}

// Encrypted tells whether the file of a secret key needs a password.
func Encrypted(file []byte) (bool, error) {
	b, err := secret(file)
	if err != nil {
		return false, err
	}
	return b[2] != 0, nil
}

// Open reads the file of a secret key. The password is looked at if it is encrypted; ErrPassword then says that it is not the right one.
func Open(file, password []byte) (PrivateKey, error) {
	var k PrivateKey
	b, err := secret(file)
	if err != nil {
		return k, err
	}
	encrypted := b[2] != 0
	if encrypted {
		if err := mask(b, password); err != nil {
			return k, err
		}
	}
	box := b[boxAt:]
	copy(k.id[:], box)
	k.key = bytes.Clone(box[8:][:ed25519.PrivateKeySize])
	sum := k.checksum()
	if encrypted && subtle.ConstantTimeCompare(sum[:], box[8+ed25519.PrivateKeySize:]) != 1 {
		return PrivateKey{}, ErrPassword
	}
	if !bytes.Equal(ed25519.NewKeyFromSeed(k.key.Seed()), k.key) {
		return PrivateKey{}, errors.New("secret key: its two halves do not belong together: damaged")
	}
	return k, nil
}

// secret decodes the file and checks what it says of itself.
func secret(file []byte) ([]byte, error) {
	b, err := decode(string(file), secretSize)
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	switch {
	case !bytes.Equal(b[:2], algorithm):
		return nil, fmt.Errorf("secret key: the algorithm %q is not Ed25519", b[:2])
	case string(b[2:4]) != "Sc" && string(b[2:4]) != "\x00\x00":
		return nil, fmt.Errorf("secret key: the key derivation %q is not scrypt", b[2:4])
	case string(b[4:6]) != "B2":
		return nil, fmt.Errorf("secret key: the checksum %q is not BLAKE2b", b[4:6])
	}
	return b, nil
}

// checksum is what an encrypted key is checked by.
func (k PrivateKey) checksum() [blake2b.Size256]byte {
	return blake2b.Sum256(bytes.Join([][]byte{algorithm, k.id[:], k.key}, nil))
}

// mask encrypts or decrypts the box of a secret key.
func mask(b, password []byte) error {
	n, r, p, err := scryptCost(binary.LittleEndian.Uint64(b[opsAt:]), binary.LittleEndian.Uint64(b[memAt:]))
	if err != nil {
		return err
	}
	stream, err := scrypt.Key(password, b[saltAt:opsAt], n, r, p, boxSize)
	if err != nil {
		return fmt.Errorf("secret key: %w", err)
	}
	subtle.XORBytes(b[boxAt:], b[boxAt:], stream)
	return nil
}

// scryptCost is the cost that libsodium chooses for its two limits (crypto_pwhash_scryptsalsa208sha256).
func scryptCost(ops, mem uint64) (n, r, p int, err error) {
	if ops > maxOps || mem > maxMem {
		return 0, 0, 0, fmt.Errorf("secret key: its key derivation takes %d operations and %d bytes, more than %d and %d", ops, mem, maxOps, maxMem)
	}
	ops, r = max(ops, 32768), 8
	most := mem / uint64(r*128) // of n
	p = 1
	if ops < mem/32 {
		most = ops / uint64(r*4)
	}
	n = 2
	for uint64(n) <= most/2 {
		n *= 2
	}
	if ops >= mem/32 {
		p = max(int(ops/4/uint64(n))/r, 1)
	}
	return n, r, p, nil
}

// decode reads the base64 of a file that has a comment in front of it, or nothing.
func decode(text string, size int) ([]byte, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	line := strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(line, untrusted); ok {
		_, line, _ = strings.Cut(rest, "\n")
		line = strings.TrimSpace(line)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("no line of base64: %w", err)
	}
	if len(b) != size {
		return nil, fmt.Errorf("%d bytes and not %d", len(b), size)
	}
	return b, nil
}
