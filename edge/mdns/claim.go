package mdns

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

// Names are for one host alone: before they are used all others are asked whether they have them (RFC 6762, section 8), and what others say later is watched (section 9).
const (
	probes      = 3                      // how often they are asked
	probeWait   = 250 * time.Millisecond // for an answer, each time
	deferWaits  = 4                      // of these, for somebody who asks at the same time, and comes first
	claimAgain  = 5 * time.Second        // at least between one claim and the next, when somebody says something else
	manyRenames = 15                     // after which each takes claimAgain
)

// record is a record of a name, as two who want the name compare them (section 8.2).
type record struct {
	kind dnsmessage.Type
	data string // uncompressed
}

func (r record) compare(o record) int {
	return cmp.Or(cmp.Compare(r.kind, o.kind), strings.Compare(r.data, o.data))
}

// recordOf is false for a type that this package has none of.
func recordOf(body dnsmessage.ResourceBody) (record, bool) {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return record{dnsmessage.TypeA, string(b.A[:])}, true
	case *dnsmessage.AAAAResource:
		return record{dnsmessage.TypeAAAA, string(b.AAAA[:])}, true
	case *dnsmessage.TXTResource:
		var data []byte
		for _, t := range b.TXT {
			data = append(append(data, byte(len(t))), t...)
		}
		return record{dnsmessage.TypeTXT, string(data)}, true
	case *dnsmessage.SRVResource:
		data := binary.BigEndian.AppendUint16(nil, b.Priority)
		data = binary.BigEndian.AppendUint16(data, b.Weight)
		data = binary.BigEndian.AppendUint16(data, b.Port)
		for label := range strings.SplitSeq(b.Target.String(), ".") { // the last is empty, as it is to be
			data = append(append(data, byte(len(label))), label...)
		}
		return record{dnsmessage.TypeSRV, string(data)}, true
	}
	return record{}, false
}

// port is that of a service's record, 0 for others.
func (r record) port() uint16 {
	if r.kind != dnsmessage.TypeSRV || len(r.data) < 6 {
		return 0
	}
	return binary.BigEndian.Uint16([]byte(r.data[4:]))
}

// address is that of a host's record.
func (r record) address() netip.Addr {
	a, _ := netip.AddrFromSlice([]byte(r.data))
	return a
}

// records parses the records of a packet that say who has which name, by the name in lower case: all of an answer but what ends, and what is proposed by who asks.
func records(packet []byte) (list map[string][]record, answer bool) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || h.OpCode != 0 || p.SkipAllQuestions() != nil {
		return nil, false
	}
	list = map[string][]record{}
	for section, next := range []func() (dnsmessage.Resource, error){p.Answer, p.Authority, p.Additional} {
		for range maxRecords {
			r, err := next()
			if errors.Is(err, dnsmessage.ErrSectionDone) {
				break
			}
			if err != nil {
				return list, h.Response
			}
			x, ok := recordOf(r.Body)
			if !ok || r.Header.Class&^flush != class || r.Header.TTL == 0 || !h.Response && section != 1 {
				continue
			}
			name := strings.ToLower(r.Header.Name.String())
			list[name] = append(list[name], x)
		}
	}
	return list, h.Response
}

// probe is the packet that asks for the zone's own names, with the records that they are to have. Answers go to all: this socket may share its port with another's.
func (z *zone) probe(addrs []netip.Addr) ([]byte, error) {
	r := &reply{b: dnsmessage.NewBuilder(nil, dnsmessage.Header{}), ttl: keep, legacy: true} // no record is flushed yet
	r.b.EnableCompression()
	r.do(r.b.StartQuestions())
	for _, name := range z.own() {
		r.do(r.b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypeALL, Class: class}))
	}
	r.do(r.b.StartAuthorities())
	for i := range z.services {
		r.service(z, &z.services[i])
	}
	r.addresses(z, addrs)
	if r.err != nil {
		return nil, r.err
	}
	return r.b.Finish()
}

// own is the names that are for this host alone.
func (z *zone) own() []dnsmessage.Name {
	names := []dnsmessage.Name{z.host}
	for i := range z.services {
		names = append(names, z.services[i].instance)
	}
	return names
}

// conflict is a name that somebody else has.
type conflict struct {
	host bool       // the host's name; else a service's
	from netip.Addr // who has it
}

// judge says what a packet means for a zone's names. mine is the records of the zone's own probe; here tells this machine's addresses from others'.
// taken: somebody has a name. later: somebody wants it at the same time, and comes before us.
//
// Others on this machine may answer for the host, too, and say the same; a daemon that is about to end may still answer for its service.
func (z *zone) judge(packet []byte, from netip.Addr, mine map[string][]record, here func(netip.Addr) bool) (taken, later, host bool) {
	theirs, answer := records(packet)
	near := here(from)
	for _, name := range z.own() {
		key := strings.ToLower(name.String())
		ours, other := mine[key], theirs[key]
		isHost := name == z.host
		other = slices.DeleteFunc(other, func(r record) bool {
			switch r.kind {
			case dnsmessage.TypeA, dnsmessage.TypeAAAA:
				return !isHost || near || answer && here(r.address())
			case dnsmessage.TypeSRV:
				return isHost || near && slices.ContainsFunc(ours, func(o record) bool { return o.port() == r.port() })
			}
			return isHost || near
		})
		if len(other) == 0 {
			continue
		}
		if near { // their service's address alone is looked at
			ours = slices.DeleteFunc(slices.Clone(ours), func(r record) bool { return r.kind != dnsmessage.TypeSRV })
		}
		if answer {
			if slices.ContainsFunc(other, func(r record) bool { return !slices.Contains(ours, r) }) {
				return true, false, isHost
			}
			continue
		}
		slices.SortFunc(other, record.compare)
		slices.SortFunc(ours, record.compare)
		if slices.CompareFunc(ours, other, record.compare) < 0 {
			later = true
		}
	}
	return false, later, false
}

// here tells whether an address is one of this machine's.
func here(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap().WithZone("") == a.WithZone("")
	})
}

// claim asks whether somebody has the names, and returns true if nobody says so. Meanwhile nothing is answered. false is the end of this speaker: it has been told to
// end, or has told that a name is taken.
func (s *speaker) claim(buf []byte) bool {
	packet, err := s.zone.probe(s.told())
	if err != nil {
		return false
	}
	s.mine, _ = records(packet)
	defer s.conn.SetReadDeadline(time.Time{})
	wait := time.Duration(rand.Int64N(int64(s.probeWait))) // not all at once, when the power comes back
	for sent := 0; ; {
		s.conn.SetReadDeadline(time.Now().Add(wait))
		for {
			n, from, err := s.conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return false
			}
			taken, later := s.hear(buf[:n], from.Addr().Unmap())
			if taken {
				return false
			}
			if later {
				sent = 0
				s.conn.SetReadDeadline(time.Now().Add(deferWaits * s.probeWait))
			}
		}
		if sent == probes {
			return true
		}
		s.conn.WriteToUDPAddrPort(packet, group)
		sent++
		wait = s.probeWait
	}
}

// hear judges a packet, and tells the announcer of a name that is taken.
func (s *speaker) hear(packet []byte, from netip.Addr) (taken, later bool) {
	if !s.near(from) {
		return false, false
	}
	taken, later, host := s.zone.judge(packet, from, s.mine, here)
	if taken && s.taken != nil {
		select {
		case s.taken <- conflict{host, from}:
		default: // another speaker has told of one
		}
	}
	return taken, later
}

// rename takes other names: kitchen-2 for a host, "Bi-Mamba on kitchen (2)" for services, as RFC 6762, section 9, and RFC 6763, appendix D, have them.
func (a *announcer) rename(c conflict) {
	old := ""
	if c.host {
		old = a.zone.host.String()
		a.hostNumber++
	} else {
		old = a.zone.services[0].instance.String()
		a.serviceNumber++
	}
	services := slices.Clone(a.services)
	for i := range services {
		services[i].Instance = numbered(services[i].Instance, " (%d)", a.serviceNumber)
	}
	z, err := newZone(numbered(a.host, "-%d", a.hostNumber), services)
	if err != nil {
		a.tell(err) // the names were right, and are no longer than they may be
		return
	}
	for i, s := range a.speaks {
		s.close(false)
		delete(a.speaks, i)
	}
	select {
	case <-a.taken: // of a name that is given up
	default:
	}
	a.zone = z
	now := z.host
	if !c.host {
		now = z.services[0].instance
	}
	a.tell(fmt.Errorf("%s is the name of the machine at %v, too: this one goes by %s, until one of them gets another name (hostnamectl set-hostname) and its daemon a new start",
		strings.TrimSuffix(old, "."), c.from, strings.TrimSuffix(now.String(), ".")))
}

// numbered is a label with a number behind it from 2 on, within the length of labels.
func numbered(label, format string, n int) string {
	if n < 2 {
		return label
	}
	suffix := fmt.Sprintf(format, n)
	for len(label)+len(suffix) > maxLabel {
		_, size := utf8.DecodeLastRuneInString(label)
		label = label[:len(label)-size]
	}
	return label + suffix
}
