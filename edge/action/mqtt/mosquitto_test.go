package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bimamba/edge/action/mqtt/mosquittotest"
)

// client is a connected client of a broker.
func client(t *testing.T, opt Options) *Client {
	t.Helper()
	c, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	eventually(t, "a connection", func() bool { return c.State() == nil })
	return c
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("no %s", what)
		}
	}
}

// watch is the messages of a filter, as TOPIC=PAYLOAD.
func watch(t *testing.T, c *Client, filter string) <-chan string {
	t.Helper()
	out := make(chan string, 100)
	if err := c.Subscribe(t.Context(), filter, func(m Message) { out <- fmt.Sprintf("%s=%s", m.Topic, m.Payload) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func want(t *testing.T, c <-chan string, want string) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Fatalf("%.100q, want %.100q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no message, want %.100q", want)
	}
}

func send(t *testing.T, c *Client, m Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Publish(ctx, m); err != nil {
		t.Fatal(err)
	}
}

func TestMosquitto(t *testing.T) {
	b := mosquittotest.Start(t)
	watcher := client(t, Options{URL: b.URL()})
	all := watch(t, watcher, "t/#")
	var conn net.Conn
	opt := Options{URL: b.URL(), ClientID: "one", KeepAlive: time.Second, Will: &Message{Topic: "t/will", Payload: []byte("gone"), QoS: 1, Retain: true}}
	opt.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return conn, err
	}
	c := client(t, opt)
	big := strings.Repeat("0123456789", 20000)
	for _, m := range []Message{{Topic: "t/0", Payload: []byte("a")}, {Topic: "t/1", Payload: []byte("b"), QoS: 1}, {Topic: "t/ä", QoS: 1}, {Topic: "t/big", Payload: []byte(big), QoS: 1}} {
		send(t, c, m)
		want(t, all, m.Topic+"="+string(m.Payload))
	}
	send(t, c, Message{Topic: "t/kept", Payload: []byte("here"), QoS: 1, Retain: true})
	want(t, all, "t/kept=here")
	want(t, watch(t, client(t, Options{URL: b.URL()}), "t/kept"), "t/kept=here")

	time.Sleep(2500 * time.Millisecond) // more than one and a half keep-alives: pings go and come
	if err := c.State(); err != nil {
		t.Errorf("after a quiet time: %v", err)
	}
	conn.Close()
	want(t, all, "t/will=gone")
	eventually(t, "new connection", func() bool { return c.State() == nil })
	c.Close()
	send(t, watcher, Message{Topic: "t/end", QoS: 1})
	want(t, all, "t/end=") // and no will before it

	// A broker that hangs, and one that was away.
	last := client(t, Options{URL: b.URL(), KeepAlive: time.Second})
	b.Pause(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var e *Error
	if err := last.Publish(ctx, Message{Topic: "t/x", QoS: 1}); !errors.As(err, &e) || !e.Sent {
		t.Errorf("a broker that hangs: %v", err)
	}
	b.Pause(false)
	want(t, all, "t/x=") // sent it was
	b.Stop()
	eventually(t, "end of the connection", func() bool { return last.State() != nil })
	if err := last.Publish(t.Context(), Message{Topic: "t/y", QoS: 1}); !errors.As(err, &e) || e.Sent {
		t.Errorf("a broker that is away: %v", err)
	}
	b.Run()
	eventually(t, "new connection", func() bool { return watcher.State() == nil && last.State() == nil })
	eventually(t, "new subscription", func() bool {
		send(t, last, Message{Topic: "t/z", QoS: 1})
		return len(all) > 0
	})
	want(t, all, "t/z=")
}

func TestMosquittoPassword(t *testing.T) {
	b := mosquittotest.Start(t, "password_file "+mosquittotest.Passwords(t, "board", "päss word"), "allow_anonymous false")
	send(t, client(t, Options{URL: b.URL(), User: "board", Password: "päss word"}), Message{Topic: "x", QoS: 1})
	for _, opt := range []Options{{URL: b.URL()}, {URL: b.URL(), User: "board", Password: "wrong"}, {URL: b.URL(), User: "other"}} {
		c, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), Message{Topic: "x"}); err == nil || err.Error() != "the broker is not reached: the broker refuses user and password" {
			t.Errorf("user %q, password %q: %v", opt.User, opt.Password, err)
		}
		c.Close()
	}
}

func TestMosquittoTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for name, b := range map[string][]byte{"cert.pem": certificate, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := mosquittotest.Start(t, "certfile "+filepath.Join(dir, "cert.pem"), "keyfile "+filepath.Join(dir, "key.pem"))
	url := fmt.Sprintf("mqtts://127.0.0.1:%d", b.Port)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	c := client(t, Options{URL: url, TLS: &tls.Config{RootCAs: roots}})
	all := watch(t, c, "t")
	send(t, c, Message{Topic: "t", Payload: []byte("secret"), QoS: 1})
	want(t, all, "t=secret")

	stranger, err := New(Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Publish(t.Context(), Message{Topic: "t"}); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	plain, err := New(Options{URL: b.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.Publish(t.Context(), Message{Topic: "t"}); err == nil {
		t.Error("a connection without TLS was accepted")
	}
}
