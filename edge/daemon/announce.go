package daemon

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"strings"
	"unicode/utf8"

	"bimamba/edge/daemon/config"
	"bimamba/edge/mdns"
)

// ServiceType is what daemons announce themselves as.
const ServiceType = "_bimamba._tcp"

// wyomingType is by what Home Assistant finds services.
const wyomingType = "_wyoming._tcp"

// announced is the port of those listened at that a configuration announces, 0 for none: the first TCP address that other machines reach or, if it always does, any.
func announced(c *config.Config, listeners []*listener) (port int, encrypted bool) {
	if c.MDNS == config.MDNSOff {
		return 0, false
	}
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok && (l.from == fromNetwork || c.MDNS == config.MDNSOn) {
			return a.Port, l.tls != nil
		}
	}
	return 0, false
}

// announce says on the local network what is served, until ctx is done.
func (d *daemon) announce(ctx context.Context) {
	var services []mdns.Service
	host := hostLabel()
	if d.voice != nil {
		if port, _ := announced(d.config(), d.voice.listeners); port != 0 {
			services = append(services, mdns.Service{Instance: instance(host), Type: wyomingType, Port: uint16(port)})
		}
	}
	if port, encrypted := announced(d.config(), d.listeners); port != 0 {
		services = append(services, d.service(host, port, encrypted))
	}
	if len(services) == 0 {
		return
	}
	failed := func(err error) { d.log.Warn("mdns", "error", err.Error()) }
	if err := mdns.Announce(ctx, host, services, failed); err != nil {
		failed(err)
	}
}

// service is what is said of the daemon's own protocols.
func (d *daemon) service(host string, port int, encrypted bool) mdns.Service {
	s, done := d.models.use()
	// Two boards may have one name, and one may have several addresses: this tells them apart.
	text := []string{"model=" + s.local.Models()[0].Name, "version=" + Version, mdns.IDKey + "=" + strings.ToLower(rand.Text()[:12])}
	done()
	if encrypted {
		text = append(text, "tls=1")
	}
	return mdns.Service{Instance: instance(host), Type: ServiceType, Port: uint16(port), Text: text}
}

// instance is the service's name for people, short enough for a label.
func instance(host string) string {
	name := "Bi-Mamba on " + host
	for len(name) > 63 {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name
}

// hostLabel is the first label of this machine's name.
func hostLabel() string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	name, _, _ = strings.Cut(name, ".")
	name = strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	if len(name) > 63 {
		name = name[:63]
	}
	if strings.Trim(name, "-") == "" {
		return "bimamba"
	}
	return name
}
