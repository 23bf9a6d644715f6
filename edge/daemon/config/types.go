package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is where to listen.
type Address struct {
	Network string // "tcp" or "unix", as package net has it
	Addr    string // host:port, or a path or @name
}

// maxUnixPath is what sockaddr_un holds, less the NUL (unix(7)).
const maxUnixPath = 107

// ParseAddress reads unix:PATH, unix:@NAME (an abstract socket), HOST:PORT, [IPV6]:PORT and :PORT (all addresses).
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case len(path) < 2 || path[0] != '/' && path[0] != '@':
			return Address{}, errors.New("a Unix socket is unix: and an absolute path, as unix:/run/bimamba/bimambad.sock, or unix:@ and a name")
		case len(path) > maxUnixPath:
			return Address{}, fmt.Errorf("the path of a Unix socket has at most %d bytes, this one has %d", maxUnixPath, len(path))
		case strings.ContainsRune(path, 0):
			return Address{}, errors.New("a path has no NUL bytes")
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, errors.New("is not unix:PATH or HOST:PORT, as 127.0.0.1:11434, [::1]:11434 or :11434")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("port %q is no number from 0 to 65535", port)
	}
	if strings.ContainsAny(host, "/ \t\r\n\x00") {
		return Address{}, fmt.Errorf("%q is no host name; leave out http:// and write HOST:PORT", host)
	}
	return Address{"tcp", net.JoinHostPort(host, port)}, nil
}

// String is the inverse of ParseAddress.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Addr
	}
	return a.Addr
}

// Local says whether only this machine reaches the address: a Unix socket, a loopback address, or localhost.
func (a Address) Local() bool {
	if a.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.Addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// Persona is a baked state that is served under a name.
type Persona struct {
	Name string
	File string
}

// maxName is the longest name of a persona, as of a snapshot.
const maxName = 64

func parsePersona(s string) (Persona, error) {
	name, file, ok := strings.Cut(s, "=")
	if !ok || file == "" {
		return Persona{}, errors.New("is not NAME=FILE")
	}
	if name == "" || len(name) > maxName || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return Persona{}, fmt.Errorf("name %q is not 1 to %d of a-z, 0-9, dot, underscore and hyphen", name, maxName)
	}
	return Persona{name, file}, nil
}

func (p Persona) String() string { return p.Name + "=" + p.File }

// Key is a public key of minisign's, or the name of its file.
type Key string

func (k Key) String() string { return string(k) }

// parseKey takes what can be either; a file is read when it is needed.
func parseKey(s string) (Key, error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("is no public key and no file of one")
	}
	return Key(s), nil
}

// Bytes is a size. Its text is a whole number with a unit: B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}

// ParseBytes reads a size; without a unit it is in bytes. Upper and lower case are the same.
func ParseBytes(s string) (Bytes, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(s[len(digits):])
	size := int64(1)
	found := unit == ""
	for _, u := range byteUnits {
		if strings.EqualFold(u.name, unit) {
			size, found = u.size, true
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || !found:
		return 0, errors.New("is no size; write a whole number and B, KB, MB, GB, KiB, MiB or GiB, as 256MB")
	case err != nil || int64(n) > math.MaxInt64/size:
		return 0, errors.New("is more bytes than can be counted")
	}
	return Bytes(int64(n) * size), nil
}

// String is the inverse of ParseBytes.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
