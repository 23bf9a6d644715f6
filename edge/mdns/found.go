package mdns

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// IDKey is the key in a service's text whose value tells it from another of the same name.
const IDKey = "id"

// Found is a service that answered.
type Found struct {
	Instance string
	Host     string // with .local, without a dot at the end
	Port     uint16
	Addrs    []netip.Addr
	Text     []string

	from []netip.Addr // where its answers came from
}

// Value is what its text says under a key, "" if it says nothing.
func (f *Found) Value(key string) string {
	for _, t := range f.Text {
		if k, value, _ := strings.Cut(t, "="); strings.EqualFold(k, key) {
			return value
		}
	}
	return ""
}

// collector puts together what answers say of services of a type.
type collector struct {
	kind  string
	found []*Found
}

// maxAddrs is how many addresses of a service are kept.
const maxAddrs = 16

// add adds what a packet says.
func (c *collector) add(from netip.Addr, packet []byte) {
	for _, f := range parseFound(c.kind, packet) {
		f.from = []netip.Addr{from}
		i := slices.IndexFunc(c.found, func(g *Found) bool {
			if !strings.EqualFold(f.Instance, g.Instance) {
				return false
			}
			if a, b := f.Value(IDKey), g.Value(IDKey); a != "" && b != "" {
				return a == b
			}
			return slices.Contains(g.from, from)
		})
		switch {
		case i >= 0:
			c.found[i].merge(f)
		case len(c.found) < maxRecords:
			c.found = append(c.found, f)
		}
	}
}

// merge adds what another packet says of the same service.
func (f *Found) merge(o *Found) {
	if o.Host != "" {
		f.Host, f.Port = o.Host, o.Port
	}
	if len(o.Text) > 0 && (o.Value(IDKey) != "" || f.Value(IDKey) == "") {
		f.Text = o.Text
	}
	f.Addrs, f.from = appendNew(f.Addrs, o.Addrs), appendNew(f.from, o.from)
}

// appendNew appends what is not there yet, up to maxAddrs.
func appendNew(list, more []netip.Addr) []netip.Addr {
	for _, a := range more {
		if !slices.Contains(list, a) && len(list) < maxAddrs {
			list = append(list, a)
		}
	}
	return list
}

// list is what was found, by name, then by address.
func (c *collector) list() (out []Found) {
	for _, f := range c.found {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Found) int {
		return cmp.Or(strings.Compare(a.Instance, b.Instance), slices.CompareFunc(a.Addrs, b.Addrs, netip.Addr.Compare))
	})
	return out
}

// parseFound is what a packet says of services of a type.
func parseFound(kind string, packet []byte) (list []*Found) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || !h.Response || p.SkipAllQuestions() != nil {
		return nil
	}
	of := func(name dnsmessage.Name) *Found {
		instance, ok := strings.CutSuffix(strings.ToLower(name.String()), strings.ToLower("."+kind+domain))
		if !ok || instance == "" {
			return nil
		}
		if i := slices.IndexFunc(list, func(f *Found) bool { return strings.EqualFold(f.Instance, instance) }); i >= 0 {
			return list[i]
		}
		if len(list) == maxRecords {
			return nil
		}
		f := &Found{Instance: name.String()[:len(instance)]}
		list = append(list, f)
		return f
	}
	hosts := map[string][]netip.Addr{}
	record := func(r dnsmessage.Resource) {
		name := strings.ToLower(r.Header.Name.String())
		switch b := r.Body.(type) {
		case *dnsmessage.PTRResource:
			if strings.EqualFold(name, kind+domain) {
				of(b.PTR)
			}
		case *dnsmessage.SRVResource:
			if f := of(r.Header.Name); f != nil {
				f.Host, f.Port = strings.TrimSuffix(b.Target.String(), "."), b.Port
			}
		case *dnsmessage.TXTResource:
			if f := of(r.Header.Name); f != nil {
				f.Text = slices.DeleteFunc(slices.Clone(b.TXT), func(s string) bool { return s == "" })
			}
		case *dnsmessage.AResource:
			hosts[name] = append(hosts[name], netip.AddrFrom4(b.A))
		case *dnsmessage.AAAAResource:
			hosts[name] = append(hosts[name], netip.AddrFrom16(b.AAAA))
		}
	}
	for _, next := range []func() (dnsmessage.Resource, error){p.Answer, p.Authority, p.Additional} {
		for range maxRecords {
			r, err := next()
			if errors.Is(err, dnsmessage.ErrSectionDone) {
				break
			}
			if err != nil {
				return nil
			}
			record(r)
		}
	}
	for _, f := range list {
		f.Addrs = appendNew(nil, hosts[strings.ToLower(f.Host)+"."])
	}
	return list
}
