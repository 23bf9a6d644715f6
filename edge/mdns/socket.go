package mdns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const port = 5353

var group = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), port)

const (
	look       = 15 * time.Second       // how often interfaces are looked for
	perSecond  = 10                     // answers on an interface
	heardMost  = 50                     // answers of others that are looked at, a second
	shareDelay = 100 * time.Millisecond // spread of answers to what several hosts may answer
	askAgain   = time.Second            // after which a question or announcement is sent once more: a radio loses multicast (RFC 6762, section 5.2: not sooner)
)

// listen opens a socket on an interface that hears and speaks to its group there. at is its port, 0 for any.
func listen(ifi *net.Interface, at int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		outer := c.Control(func(fd uintptr) {
			s, index := int(fd), int32(ifi.Index)
			err = errors.Join(
				unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0), // else it hears other interfaces' members, too
				unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255),
				unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1), // others on this host may ask
				unix.SetsockoptIPMreqn(s, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: index}),
			)
			if at != 0 {
				err = errors.Join(err, unix.SetsockoptIPMreqn(s, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.Addr().As4(), Ifindex: index}))
			}
		})
		return errors.Join(outer, err)
	}}
	address := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(at))
	c, err := lc.ListenPacket(context.Background(), "udp4", address.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// prefixes is the addresses of an interface that others reach it at.
func prefixes(ifi *net.Interface) []netip.Prefix {
	list, err := ifi.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, netip.PrefixFrom(p.Addr().Unmap().WithZone(""), p.Bits()))
		}
	}
	return out
}

// usable tells whether an interface is up and has a group to speak to.
func usable(ifi net.Interface) bool {
	const need = net.FlagUp | net.FlagMulticast
	return ifi.Flags&need == need && ifi.Flags&(net.FlagLoopback|net.FlagPointToPoint) == 0
}

// Announce answers for the services of a host, a label without .local, until ctx is done. It goes on where interfaces come and go. Names that somebody else has get a
// number. failed is told that, and what it could not do, each thing once. Its error is about names alone.
func Announce(ctx context.Context, host string, services []Service, failed func(error)) error {
	a, err := newAnnouncer(host, services, failed)
	if err != nil {
		return err
	}
	a.run(ctx)
	return nil
}

// announcer has a speaker on each interface.
type announcer struct {
	host      string
	services  []Service
	zone      *zone // of them, by the names that were free
	failed    func(error)
	usable    func(net.Interface) bool
	far       bool             // answers go to any address: Linux sends from another interface's where a test speaks over loopback
	probeWait time.Duration    // tests have less
	speaks    map[int]*speaker // by the interface's index
	told      map[string]bool

	taken                     chan conflict
	hostNumber, serviceNumber int // of the names; 1: as they were given
}

func newAnnouncer(host string, services []Service, failed func(error)) (*announcer, error) {
	z, err := newZone(host, services)
	if err != nil {
		return nil, err
	}
	return &announcer{
		host: host, services: services, zone: z, failed: failed, usable: usable, probeWait: probeWait, speaks: map[int]*speaker{},
		taken: make(chan conflict, 1), hostNumber: 1, serviceNumber: 1,
	}, nil
}

func (a *announcer) run(ctx context.Context) {
	defer func() {
		for _, s := range a.speaks {
			s.close(true)
		}
	}()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		a.look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case c := <-a.taken:
			if a.rename(c); a.hostNumber+a.serviceNumber > manyRenames { // somebody takes whatever there is
				select {
				case <-ctx.Done():
					return
				case <-time.After(claimAgain):
				}
			}
		}
	}
}

// look opens and closes speakers as interfaces come and go, or change their addresses.
func (a *announcer) look() {
	list, err := net.Interfaces()
	if err != nil {
		a.tell(err)
		return
	}
	seen := map[int]bool{}
	for _, ifi := range list {
		addrs := prefixes(&ifi)
		if !a.usable(ifi) || !slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
			continue
		}
		seen[ifi.Index] = true
		if s := a.speaks[ifi.Index]; s != nil {
			if slices.Equal(s.addrs, addrs) {
				continue
			}
			s.close(false)
			delete(a.speaks, ifi.Index)
		}
		c, err := listen(&ifi, port)
		if err != nil {
			a.tell(err)
			continue
		}
		s := &speaker{zone: a.zone, conn: c, addrs: addrs, far: a.far, probeWait: a.probeWait, taken: a.taken, done: make(chan struct{})}
		a.speaks[ifi.Index] = s
		go s.serve()
	}
	for i, s := range a.speaks {
		if !seen[i] {
			s.close(false)
			delete(a.speaks, i)
		}
	}
}

// tell passes on each error once.
func (a *announcer) tell(err error) {
	if a.told == nil {
		a.told = map[string]bool{}
	}
	if a.failed != nil && !a.told[err.Error()] && len(a.told) < 16 {
		a.told[err.Error()] = true
		a.failed(err)
	}
}

// speaker answers on one interface.
type speaker struct {
	zone  *zone
	conn  *net.UDPConn
	addrs []netip.Prefix
	far   bool
	done  chan struct{}

	probeWait time.Duration
	mine      map[string][]record // of the names that are claimed
	announced atomic.Bool
	again     *time.Timer // announces once more
	taken     chan<- conflict
}

// close ends it; with a word, if it is the whole that ends.
func (s *speaker) close(bye bool) {
	if bye && s.announced.Load() {
		s.announce(true)
	}
	s.conn.Close()
	<-s.done
	if s.again != nil {
		s.again.Stop()
	}
}

// told is the addresses that are told to others: of IPv6 not those that need a zone.
func (s *speaker) told() (out []netip.Addr) {
	for _, p := range s.addrs {
		if a := p.Addr(); a.Is4() || !a.IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	return out
}

func (s *speaker) announce(end bool) {
	if b, err := s.zone.announcement(s.told(), end); err == nil {
		s.conn.WriteToUDPAddrPort(b, group) // who does not hear it will ask
	}
}

// near tells whether an address is on the interface's own link: others get no answer (section 11).
func (s *speaker) near(a netip.Addr) bool {
	return s.far || slices.ContainsFunc(s.addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (s *speaker) serve() {
	defer close(s.done)
	buf := make([]byte, maxPacket)
	if !s.claim(buf) {
		return
	}
	s.announced.Store(true)
	s.announce(false)
	s.again = time.AfterFunc(askAgain, func() { s.announce(false) }) // section 8.3: at least twice
	second, answers, heard := time.Now(), 0, 0
	var again time.Time // when the names may be claimed again
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if now := time.Now(); now.Sub(second) > time.Second {
			second, answers, heard = now, 0, 0
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if answers >= perSecond || !s.near(from.Addr()) {
			continue
		}
		q, ok := s.zone.parse(buf[:n])
		if !ok {
			if heard++; heard > heardMost || time.Now().Before(again) {
				continue
			}
			// Section 9: who says something else of a name is asked; if he has it he says so again.
			if taken, _, _ := s.zone.judge(buf[:n], from.Addr(), s.mine, here); taken {
				if !s.claim(buf) {
					return
				}
				s.announce(false)
				again = time.Now().Add(claimAgain)
			}
			continue
		}
		answers++
		legacy := from.Port() != port
		b, err := s.zone.answer(&q, s.told(), legacy)
		if err != nil {
			continue
		}
		to := group
		if legacy || q.unicast {
			to = from
		}
		if !legacy && q.shared {
			time.Sleep(time.Duration(rand.Int64N(int64(shareDelay)))) // so that hosts that know the same do not answer at once
		}
		s.conn.WriteToUDPAddrPort(b, to)
	}
}

// Browse asks for services of a type, as _bimamba._tcp, on all interfaces, and returns those that answered until ctx is done, by their names. Two that have one name are two,
// if they say different things under [IDKey], or answer from different addresses and say nothing there. It is an error only if nobody could be asked.
func Browse(ctx context.Context, kind string) ([]Found, error) {
	return browse(ctx, kind, usable)
}

func browse(ctx context.Context, kind string, usable func(net.Interface) bool) ([]Found, error) {
	packet, err := question(kind, uint16(rand.Uint32()))
	if err != nil {
		return nil, err
	}
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	type packetFrom struct {
		from  netip.Addr
		bytes []byte
	}
	answers := make(chan packetFrom)
	var errs []error
	var asked []*net.UDPConn
	for _, ifi := range list {
		if !usable(ifi) {
			continue
		}
		c, err := listen(&ifi, 0)
		if err == nil {
			_, err = c.WriteToUDPAddrPort(packet, group)
		}
		if err != nil {
			if c != nil {
				c.Close()
			}
			errs = append(errs, err)
			continue
		}
		asked = append(asked, c)
		defer c.Close()
		go func() {
			buf := make([]byte, maxPacket)
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				select {
				case answers <- packetFrom{from.Addr().Unmap(), slices.Clone(buf[:n])}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	if len(asked) == 0 {
		if len(errs) == 0 {
			return nil, errors.New("mdns: no interface is up that has neighbours")
		}
		return nil, errors.Join(errs...)
	}
	found := &collector{kind: kind}
	again := time.NewTimer(askAgain)
	defer again.Stop()
	for {
		select {
		case b := <-answers:
			found.add(b.from, b.bytes)
		case <-again.C:
			for _, c := range asked {
				c.WriteToUDPAddrPort(packet, group) // it went once
			}
		case <-ctx.Done():
			return found.list(), nil
		}
	}
}
