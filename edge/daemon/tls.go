package daemon

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"bimamba/edge/daemon/config"
)

// selfSigned is the file of the daemon's own certificate and key, in the state directory.
const selfSigned = "tls.pem"

// certificates gives connections the certificate that was read last.
type certificates struct {
	now atomic.Pointer[tls.Certificate]
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil },
	}
}

// use gives connections a certificate from now on. The log gets its SHA-256 as people compare them.
func (c *certificates) use(pair *tls.Certificate, log *slog.Logger) {
	sum := sha256.Sum256(pair.Certificate[0])
	if old := c.now.Swap(pair); old == nil || !bytes.Equal(old.Certificate[0], pair.Certificate[0]) {
		log.Info("connections are encrypted", "sha256", strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":"))
	}
}

// readCertificate reads the certificate of a configuration, or makes one.
func readCertificate(conf *config.Config) (*tls.Certificate, error) {
	cert, key := conf.TLSCert, conf.TLSKey
	if conf.TLSSelfSigned {
		if conf.StateDir == "" {
			return nil, errors.New("tls_self_signed: there is no place for the certificate: give state_dir")
		}
		cert = filepath.Join(conf.StateDir, selfSigned)
		key = cert
		if _, err := os.Stat(cert); errors.Is(err, fs.ErrNotExist) {
			if err := makeCertificate(cert); err != nil {
				return nil, fmt.Errorf("making a certificate: %w", err)
			}
		}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s with the key %s: %w", cert, key, err)
	}
	return &pair, nil
}

// makeCertificate writes a certificate for this machine's names, and its key, to a file of mode 0600.
func makeCertificate(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		// A board without a clock makes its certificate in 1970 and shows it when it knows the time. Clients compare fingerprints.
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{name, name + ".local", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		BasicConstraintsValid: true,
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			t.IPAddresses = append(t.IPAddresses, n.IP)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return writeSecret(path, append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...))
}
