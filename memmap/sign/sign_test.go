package sign

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/memmap"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func public(t testing.TB, name string) PublicKey {
	t.Helper()
	k, err := ReadPublicKey(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestMinisign reads what minisign 0.11 wrote: keys with a password and without, a signature of the message's hash and one of the message itself.
func TestMinisign(t *testing.T) {
	message := []byte("hello world\n")
	k, n := public(t, "k.pub"), public(t, "n.pub")
	for _, tt := range []struct{ sig, comment string }{{"m.minisig", "trusted words"}, {"m.legacy.minisig", "timestamp:1795657912\tfile:m"}} {
		comment, err := Verify([]PublicKey{n, k}, message, file(t, tt.sig))
		if err != nil || comment != tt.comment {
			t.Errorf("%s: %q, %v", tt.sig, comment, err)
		}
		if _, err := Verify([]PublicKey{n, k}, []byte("hello World\n"), file(t, tt.sig)); err == nil {
			t.Errorf("%s: another message", tt.sig)
		}
	}
	if _, err := Verify([]PublicKey{n}, message, file(t, "m.minisig")); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), k.ID()) {
		t.Errorf("another key: %v", err)
	}
	if k.ID() != "3A6688669F74D0BA" || !bytes.Equal(k.File(), file(t, "k.pub")) {
		t.Errorf("%s, written again:\n%s", k.ID(), k.File())
	}
	secret, err := Open(file(t, "n.key"), nil)
	if err != nil || secret.Public() != n {
		t.Errorf("the key without a password: %v", err)
	}
	if testing.Short() {
		t.Skip("a key of minisign's takes 1 GiB and some seconds")
	}
	if secret, err = Open(file(t, "k.key"), []byte("pw")); err != nil || secret.Public() != k {
		t.Errorf("the key with a password: %v", err)
	}
}

// TestToMinisign lets minisign read ours.
func TestToMinisign(t *testing.T) {
	if _, err := exec.LookPath("minisign"); err != nil {
		t.Skip("minisign is not here")
	}
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	message := write("m", []byte("message"))
	sig, err := k.Sign([]byte("message"), "a comment")
	if err != nil {
		t.Fatal(err)
	}
	write("m.minisig", sig)
	if out, err := exec.Command("minisign", "-Vm", message, "-p", write("k.pub", k.Public().File())).CombinedOutput(); err != nil || !strings.Contains(string(out), "a comment") {
		t.Errorf("our signature: %v\n%s", err, out)
	}
	sealed, err := k.Seal([]byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("minisign", "-Sm", message, "-s", write("k.key", sealed), "-x", filepath.Join(dir, "again"))
	c.Stdin = strings.NewReader("word\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("our key: %v\n%s", err, out)
	}
	again, err := os.ReadFile(filepath.Join(dir, "again"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify([]PublicKey{k.Public()}, []byte("message"), again); err != nil {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range [][]byte{nil, {}, []byte("a word")} {
		sealed, err := k.Seal(password)
		if err != nil {
			t.Fatal(err)
		}
		if encrypted, err := Encrypted(sealed); err != nil || encrypted != (password != nil) {
			t.Errorf("password %q: encrypted is %v, %v", password, encrypted, err)
		}
		if got, err := Open(sealed, password); err != nil || got.Public() != k.Public() || !got.key.Equal(k.key) {
			t.Errorf("password %q: %v", password, err)
		}
		if _, err := Open(sealed, []byte("other")); password != nil && !errors.Is(err, ErrPassword) {
			t.Errorf("password %q, opened with another: %v", password, err)
		}
	}
	if p, err := ParsePublicKey(k.Public().String()); err != nil || p != k.Public() {
		t.Errorf("a public key as one line: %v", err)
	}
	for _, bad := range []string{"", "x", "untrusted comment: a", k.Public().String()[1:], "RWQ=", strings.Repeat("a", maxFile+1)} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%.20q is a public key", bad)
		}
		if _, err := Open([]byte(bad), nil); err == nil {
			t.Errorf("%.20q is a secret key", bad)
		}
		if _, err := Verify([]PublicKey{k.Public()}, nil, []byte(bad)); err == nil {
			t.Errorf("%.20q is a signature", bad)
		}
	}
	if _, err := k.Sign(nil, "two\nlines"); err == nil {
		t.Error("a comment of two lines was signed")
	}
}

// TestDigest compares with digests of `fsverity digest`.
func TestDigest(t *testing.T) {
	const piece = 1 << 20
	pattern := make([]byte, piece)
	for i := range pattern {
		pattern[i] = byte(i*7 + i/4096)
	}
	for _, tt := range []struct {
		size int
		want string
	}{
		{0, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"},
		{1, "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551"},
		{4096, "87a706bdba32be89a173dc11d6a91c08165b4dcfcf743988c94595e82934a41a"},
		{4097, "5c6077f10edc31c27b2a65cbaa199e2cfd36998bf104ccd2f7395eb509682064"},
		{524288, "9613b285b37589320574d16f1447444fb68289259e661f4418dc6374ef3c5b9f"},
		{524289, "355acec90f25617bed6ee0e57380add05b4abb6855b8c7a9224c142cf027a98a"},
		{528384, "d88e5c2aea165a8d8864af881899bbd4e3a59c3a951524b8226b4a0c6044c343"},
		{67108864, "d87af4dff916f4cefac8587cf6c2444afe8b0d1597385eac0ba1c2426f8b5e67"},
		{67108865, "d2c0354a967d44d8061ca1ddd2170a11ef0d8df7cecde45312af9602773a4022"},
	} {
		var b []byte
		if tt.size <= piece {
			b = pattern[:tt.size]
		} else {
			b = append(bytes.Repeat(pattern, tt.size/piece), make([]byte, tt.size%piece)...)
		}
		got, err := Digest(bytes.NewReader(b), int64(len(b)))
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%d bytes: %x, %v", tt.size, got, err)
		}
	}
	if _, err := Digest(strings.NewReader("short"), 6); err == nil {
		t.Error("a file that ends early has a digest")
	}
}

// blob is a copy of the default model.
func blob(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../models/default.bimamba")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBlob signs a blob and checks it; without a signature, with another key and with another head it is refused.
func TestBlob(t *testing.T) {
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	path := blob(t)
	check := func() (*Checked, error) {
		f, err := memmap.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return CheckBlob(f, []PublicKey{k.Public()})
	}
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("without a signature: %v", err)
	}
	sign := func(k PrivateKey) {
		f, err := memmap.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		text, err := Blob(k, f, "m.bimamba", time.Unix(1700000000, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+Ext, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sign(k)
	if c, err := check(); err != nil || c.Comment != "timestamp:1700000000\tfile:m.bimamba" {
		t.Errorf("%+v, %v", c, err)
	}
	other, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	sign(other)
	if _, err := check(); !errors.Is(err, ErrKey) {
		t.Errorf("with another key: %v", err)
	}
	sign(k)
	text, err := os.ReadFile(path + Ext)
	if err != nil {
		t.Fatal(err)
	}
	// A blob with another manifest, whole in itself, under the signature of the first.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1 // the minor version, which no checksum covers
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("with another preamble: %v", err)
	}
	if err := os.WriteFile(path+Ext, bytes.Replace(text, []byte("file:m"), []byte("file:n"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := check(); err == nil || !strings.Contains(err.Error(), "trusted comment") {
		t.Errorf("with another comment: %v", err)
	}
}

// TestVerity lets the kernel check a signed blob, where the file system of the test's folder can.
func TestVerity(t *testing.T) {
	path := blob(t)
	if err := Enable(path); errors.Is(err, ErrNoVerity) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	want, err := Digest(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Measured(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the kernel says %x, %v; we %x", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"m.minisig", "m.legacy.minisig", "k.pub", "n.pub", "n.key"} {
		f.Add(file(f, name))
	}
	key := public(f, "n.pub")
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Verify([]PublicKey{key}, []byte("hello world!\n"), b); err == nil {
			t.Errorf("%q is a signature of what was not signed", b)
		}
		if k, err := ParsePublicKey(string(b)); err == nil {
			if again, err := ParsePublicKey(string(k.File())); err != nil || again != k {
				t.Errorf("%q: written again it is another key: %v", b, err)
			}
		}
		if encrypted, err := Encrypted(b); err == nil && !encrypted {
			Open(b, nil)
		}
	})
}
