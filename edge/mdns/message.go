package mdns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Service is what a host offers.
type Service struct {
	Instance string   // for people; dots become hyphens, and 63 bytes are the most
	Type     string   // as _bimamba._tcp
	Port     uint16   // of TCP
	Text     []string // key=value, 255 bytes each at the most
}

const (
	domain   = ".local."
	allTypes = "_services._dns-sd._udp.local."

	flush = 1 << 15 // of a class in an answer: these are all records of that name and type; in a question: answer to me alone

	hostTTL    = 120     // of records that name the host, in seconds (RFC 6762, section 10)
	serviceTTL = 75 * 60 // of others
	legacyTTL  = 10      // of answers to those who do not speak multicast (section 6.7)
	maxText    = 255     // bytes of a string in TXT
	maxLabel   = 63      // bytes of a label
	maxPacket  = 9000    // bytes (section 17)
	maxRecords = 256     // of a packet that are looked at
	class      = dnsmessage.ClassINET
)

// zone is the records of a host.
type zone struct {
	host     dnsmessage.Name
	services []named
}

// named is a service with its names.
type named struct {
	Service
	kind     dnsmessage.Name // _bimamba._tcp.local.
	instance dnsmessage.Name
}

// newZone checks names and builds the records' names. host is a label, without .local.
func newZone(host string, services []Service) (*zone, error) {
	if host == "" || len(host) > maxLabel || strings.ContainsAny(host, ". ") {
		return nil, fmt.Errorf("mdns: the host name %q is not one label of up to %d bytes", host, maxLabel)
	}
	z := &zone{}
	var err error
	if z.host, err = dnsmessage.NewName(host + domain); err != nil {
		return nil, fmt.Errorf("mdns: the host name %q: %w", host, err)
	}
	for _, s := range services {
		n := named{Service: s}
		labels := strings.Split(s.Type, ".")
		if len(labels) != 2 || labels[1] != "_tcp" || len(labels[0]) < 2 || len(labels[0]) > 16 || labels[0][0] != '_' {
			return nil, fmt.Errorf("mdns: %q is no type of service over TCP, as _http._tcp", s.Type)
		}
		label := strings.ReplaceAll(s.Instance, ".", "-")
		if label == "" || len(label) > maxLabel {
			return nil, fmt.Errorf("mdns: the service's name %q does not have 1 to %d bytes", s.Instance, maxLabel)
		}
		for _, t := range s.Text {
			if t == "" || len(t) > maxText {
				return nil, fmt.Errorf("mdns: the text %q of a service does not have 1 to %d bytes", t, maxText)
			}
		}
		if n.kind, err = dnsmessage.NewName(s.Type + domain); err != nil {
			return nil, fmt.Errorf("mdns: %w", err)
		}
		if n.instance, err = dnsmessage.NewName(label + "." + s.Type + domain); err != nil {
			return nil, fmt.Errorf("mdns: %w", err)
		}
		z.services = append(z.services, n)
	}
	return z, nil
}

// reply is an answer that is being put together.
type reply struct {
	b       dnsmessage.Builder
	legacy  bool
	ttl     func(uint32) uint32
	answers int
	err     error
}

func (r *reply) do(err error) { r.err = errors.Join(r.err, err) }

// header is that of a record; unique ones belong to this host alone.
func (r *reply) header(name dnsmessage.Name, unique bool, ttl uint32) dnsmessage.ResourceHeader {
	h := dnsmessage.ResourceHeader{Name: name, Class: class, TTL: r.ttl(ttl)}
	if unique && !r.legacy {
		h.Class |= flush
	}
	return h
}

func (r *reply) ptr(name, to dnsmessage.Name) {
	r.do(r.b.PTRResource(r.header(name, false, serviceTTL), dnsmessage.PTRResource{PTR: to}))
	r.answers++
}

func (r *reply) service(z *zone, s *named) {
	r.do(r.b.SRVResource(r.header(s.instance, true, hostTTL), dnsmessage.SRVResource{Port: s.Port, Target: z.host}))
	text := s.Text
	if len(text) == 0 {
		text = []string{""} // RFC 6763, section 6.1
	}
	r.do(r.b.TXTResource(r.header(s.instance, true, serviceTTL), dnsmessage.TXTResource{TXT: text}))
	r.answers += 2
}

func (r *reply) addresses(z *zone, addrs []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			r.do(r.b.AResource(r.header(z.host, true, hostTTL), dnsmessage.AResource{A: a.As4()}))
		} else {
			r.do(r.b.AAAAResource(r.header(z.host, true, hostTTL), dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
		r.answers++
	}
}

func keep(ttl uint32) uint32 { return ttl }

// announcement is all records, as they are sent when the services come; with end, when they go.
func (z *zone) announcement(addrs []netip.Addr, end bool) ([]byte, error) {
	r := &reply{b: dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true, Authoritative: true}), ttl: keep}
	if end {
		r.ttl = func(uint32) uint32 { return 0 }
	}
	r.b.EnableCompression()
	r.do(r.b.StartAnswers())
	for i := range z.services {
		s := &z.services[i]
		r.ptr(s.kind, s.instance)
		r.service(z, s)
	}
	if !end { // the host may have other services that go by its name
		r.addresses(z, addrs)
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.b.Finish()
}

// asked is what a packet asks of the zone.
type asked struct {
	header    dnsmessage.Header
	questions []dnsmessage.Question // those that the zone answers
	unicast   bool                  // all of them ask for an answer to themselves
	shared    bool                  // other hosts may have answers, too
}

// parse reads a query. ok is false for what is none, or asks nothing of this zone.
func (z *zone) parse(packet []byte) (q asked, ok bool) {
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(packet); err != nil || q.header.Response || q.header.OpCode != 0 {
		return q, false
	}
	q.unicast = true
	for range maxRecords {
		x, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return q, false
		}
		if x.Class&^flush != class && x.Class&^flush != dnsmessage.ClassANY || !z.knows(x) {
			continue
		}
		if x.Class&flush == 0 {
			q.unicast = false
		}
		if !slices.ContainsFunc(z.own(), func(n dnsmessage.Name) bool { return same(n, x.Name) }) {
			q.shared = true
		}
		q.questions = append(q.questions, x)
	}
	if len(q.questions) == 0 {
		return q, false
	}
	if p.SkipAllQuestions() != nil {
		return q, true
	}
	// Who asks tells what he has: that need not be said again while it is good for half of its time (section 7.1).
	for range maxRecords {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		if h.Type != dnsmessage.TypePTR || h.TTL < serviceTTL/2 {
			if p.SkipAnswer() != nil {
				break
			}
			continue
		}
		known, err := p.PTRResource()
		if err != nil {
			break
		}
		q.questions = slices.DeleteFunc(q.questions, func(x dnsmessage.Question) bool {
			n := 0
			for i := range z.services {
				if same(z.services[i].kind, x.Name) {
					n++
				}
			}
			return x.Type == dnsmessage.TypePTR && n == 1 && same(x.Name, h.Name) && z.service(known.PTR) != nil
		})
	}
	return q, len(q.questions) > 0
}

// same compares names as DNS does.
func same(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// service is that of an instance's name, nil if there is none.
func (z *zone) service(instance dnsmessage.Name) *named {
	for i := range z.services {
		if same(z.services[i].instance, instance) {
			return &z.services[i]
		}
	}
	return nil
}

// knows tells whether the zone has an answer.
func (z *zone) knows(x dnsmessage.Question) bool {
	is := func(types ...dnsmessage.Type) bool {
		return x.Type == dnsmessage.TypeALL || slices.Contains(types, x.Type)
	}
	if same(x.Name, z.host) {
		return is(dnsmessage.TypeA, dnsmessage.TypeAAAA)
	}
	if z.service(x.Name) != nil {
		return is(dnsmessage.TypeSRV, dnsmessage.TypeTXT)
	}
	kind := func(s named) bool { return same(s.kind, x.Name) }
	return is(dnsmessage.TypePTR) && (strings.EqualFold(x.Name.String(), allTypes) && len(z.services) > 0 || slices.ContainsFunc(z.services, kind))
}

// answer is the packet that answers q. legacy is for who asks from another port than that of multicast DNS.
func (z *zone) answer(q *asked, addrs []netip.Addr, legacy bool) ([]byte, error) {
	h := dnsmessage.Header{Response: true, Authoritative: true}
	r := &reply{legacy: legacy, ttl: keep}
	if legacy {
		h.ID, r.ttl = q.header.ID, func(ttl uint32) uint32 { return min(ttl, legacyTTL) }
	}
	r.b = dnsmessage.NewBuilder(nil, h)
	r.b.EnableCompression()
	if legacy {
		r.do(r.b.StartQuestions())
		for _, x := range q.questions {
			x.Class &^= flush
			r.do(r.b.Question(x))
		}
	}
	r.do(r.b.StartAnswers())
	var more []*named // whose records go with the answer
	host := false
	for _, x := range q.questions {
		if same(x.Name, z.host) {
			host = true
			continue
		}
		if s := z.service(x.Name); s != nil {
			r.service(z, s)
			continue
		}
		for i := range z.services {
			s := &z.services[i]
			if strings.EqualFold(x.Name.String(), allTypes) {
				r.ptr(x.Name, s.kind)
			} else if same(s.kind, x.Name) {
				r.ptr(s.kind, s.instance)
				more = append(more, s)
			}
		}
	}
	if host {
		r.addresses(z, addrs)
	}
	r.do(r.b.StartAdditionals())
	for _, s := range more {
		r.service(z, s)
	}
	if !host {
		r.addresses(z, addrs)
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.b.Finish()
}

// question is the packet that asks for all instances of a type.
func question(kind string, id uint16) ([]byte, error) {
	name, err := dnsmessage.NewName(kind + domain)
	if err != nil {
		return nil, fmt.Errorf("mdns: %q is no type of service: %w", kind, err)
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: class | flush}); err != nil {
		return nil, err
	}
	return b.Finish()
}
