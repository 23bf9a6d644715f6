package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/edge/daemon/config"
	"bimamba/memmap"
	"bimamba/memmap/sign"
)

// signBlob signs the blob at path.
func signBlob(t *testing.T, k sign.PrivateKey, path string) {
	t.Helper()
	f, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := sign.Blob(k, f, filepath.Base(path), time.Unix(1700000000, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+sign.Ext, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestSigned: with a key only a signed blob is served, at the start and at a reload; the one that is served stays.
func TestSigned(t *testing.T) {
	k, err := sign.Generate()
	if err != nil {
		t.Fatal(err)
	}
	d := newTester(t)
	key := filepath.Join(d.dir, "k.pub")
	if err := os.WriteFile(key, k.Public().File(), 0o644); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("verify_key = [%q]", key)
	d.configure(line)
	load := func() (*config.Config, error) { return config.Load([]string{"--config", d.file()}, nil, os.ReadFile) }
	if err := Run(t.Context(), Options{Load: load, Log: &d.log}); err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Fatalf("without a signature: %v", err)
	}
	signBlob(t, k, d.blob)
	d.run(Options{})
	if !strings.Contains(d.log.String(), "the model is signed") || !strings.Contains(d.log.String(), "file:m.bimamba") {
		t.Errorf("the log:\n%s", d.log.String())
	}
	other := filepath.Join(d.dir, "other.bimamba")
	writeBase(t, other)
	d.configure(line, fmt.Sprintf("model = %q", other))
	if d.sighup() {
		t.Error("a reload took a blob without a signature")
	}
	stranger, err := sign.Generate()
	if err != nil {
		t.Fatal(err)
	}
	signBlob(t, stranger, other)
	if d.sighup() || !strings.Contains(d.log.String(), "signed by another key") {
		t.Error("a reload took a blob that somebody else had signed")
	}
	if _, _, body := d.do("GET", "/api/tags", ""); !strings.Contains(body, "assistant") {
		t.Errorf("models afterwards: %s", body)
	}
	signBlob(t, k, other)
	if !d.sighup() {
		t.Error("a reload did not take a signed blob")
	}
}

// TestAnnounced: which port is told to the network.
func TestAnnounced(t *testing.T) {
	at := func(port int, from reach) *listener {
		return &listener{Listener: fakeListener{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port}}, from: from}
	}
	unix := &listener{Listener: fakeListener{&net.UnixAddr{Name: "/s"}}, from: fromUnix}
	for _, tt := range []struct {
		when string
		list []*listener
		want int
	}{
		{config.MDNSAuto, nil, 0}, {config.MDNSAuto, []*listener{unix, at(1, fromLoopback)}, 0}, {config.MDNSOn, []*listener{unix, at(1, fromLoopback)}, 1}, {config.MDNSOn, []*listener{unix}, 0},
		{config.MDNSAuto, []*listener{at(1, fromLoopback), at(2, fromNetwork)}, 2}, {config.MDNSOff, []*listener{at(2, fromNetwork)}, 0},
	} {
		if got, _ := announced(&config.Config{MDNS: tt.when}, tt.list); got != tt.want {
			t.Errorf("mdns %s: port %d, want %d", tt.when, got, tt.want)
		}
	}
	if n := instance(strings.Repeat("é", 40)); len(n) > 63 || !strings.HasPrefix(n, "Bi-Mamba on é") {
		t.Errorf("a long name: %q", n)
	}
	if h := hostLabel(); h == "" || len(h) > 63 || strings.ContainsAny(h, ". ") {
		t.Errorf("the host's label: %q", h)
	}
}

type fakeListener struct{ addr net.Addr }

func (l fakeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l fakeListener) Close() error              { return nil }
func (l fakeListener) Addr() net.Addr            { return l.addr }
