package action

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

const maxCertificates = 1 << 20 // bytes of a file of them

// ReadCertificates is a configuration that trusts the certificates in a file (PEM) and no others.
func ReadCertificates(path string) (*tls.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCertificates+1))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if len(b) > maxCertificates || !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificates (PEM, at most 1 MiB)", path)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
