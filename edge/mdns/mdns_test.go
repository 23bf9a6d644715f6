package mdns

import (
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var kitchen = []Service{
	{Instance: "Bi-Mamba on kitchen.home", Type: "_bimamba._tcp", Port: 11434, Text: []string{"model=default", "version=1"}},
	{Instance: "kitchen", Type: "_wyoming._tcp", Port: 10500},
}

func testZone(t testing.TB) *zone {
	t.Helper()
	z, err := newZone("kitchen", kitchen)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// ask is a packet with questions, and with PTR records that are known.
func ask(t testing.TB, known map[string]string, questions ...dnsmessage.Question) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7})
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.StartQuestions())
	for _, q := range questions {
		must(b.Question(q))
	}
	must(b.StartAnswers())
	for name, to := range known {
		must(b.PTRResource(dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: class, TTL: serviceTTL}, dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(to)}))
	}
	p, err := b.Finish()
	must(err)
	return p
}

func q(name string, kind dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}
}

// TestAnswer asks for everything that there is, and for what is not; each answer holds what the question needs, and no more.
func TestAnswer(t *testing.T) {
	z := testZone(t)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	const instance = "bi-mamba on kitchen-home._bimamba._tcp.local."
	for _, tt := range []struct {
		q     dnsmessage.Question
		known map[string]string
		want  string // types of answers, then of more
	}{
		{q("_bimamba._tcp.local.", dnsmessage.TypePTR), nil, "PTR | SRV TXT A AAAA"},
		{q("_BIMAMBA._tcp.Local.", dnsmessage.TypeALL), nil, "PTR | SRV TXT A AAAA"},
		{q("_bimamba._tcp.local.", dnsmessage.TypePTR), map[string]string{"_bimamba._tcp.local.": instance}, ""},
		{q("_bimamba._tcp.local.", dnsmessage.TypePTR), map[string]string{"_bimamba._tcp.local.": "other._bimamba._tcp.local."}, "PTR | SRV TXT A AAAA"},
		{q("_services._dns-sd._udp.local.", dnsmessage.TypePTR), nil, "PTR PTR | A AAAA"},
		{q(instance, dnsmessage.TypeSRV), nil, "SRV TXT | A AAAA"},
		{q("kitchen.local.", dnsmessage.TypeA), nil, "A AAAA |"},
		{q("kitchen.local.", dnsmessage.TypeSRV), nil, ""},
		{q("bath.local.", dnsmessage.TypeA), nil, ""},
		{q("_http._tcp.local.", dnsmessage.TypePTR), nil, ""},
		{dnsmessage.Question{Name: dnsmessage.MustNewName("kitchen.local."), Type: dnsmessage.TypeA, Class: 3}, nil, ""},
	} {
		for _, legacy := range []bool{false, true} {
			got := ""
			if a, ok := z.parse(ask(t, tt.known, tt.q)); ok {
				b, err := z.answer(&a, addrs, legacy)
				if err != nil {
					t.Fatal(err)
				}
				var m dnsmessage.Message
				if err := m.Unpack(b); err != nil {
					t.Fatal(err)
				}
				got = kinds(m.Answers) + " |" + kinds(m.Additionals)
				if (m.ID == 7) != legacy || (len(m.Questions) == 1) != legacy || !m.Response || !m.Authoritative {
					t.Errorf("%v, legacy %v: %+v", tt.q, legacy, m.Header)
				}
				for _, r := range slices.Concat(m.Answers, m.Additionals) {
					if unique := r.Header.Type != dnsmessage.TypePTR; (r.Header.Class&flush != 0) != (unique && !legacy) || legacy && r.Header.TTL > legacyTTL {
						t.Errorf("%v, legacy %v: %+v", tt.q, legacy, r.Header)
					}
				}
			}
			if strings.TrimSpace(got) != tt.want {
				t.Errorf("%v, known %v, legacy %v: %q, want %q", tt.q, tt.known, legacy, got, tt.want)
			}
		}
	}
}

func kinds(list []dnsmessage.Resource) (s string) {
	for _, r := range list {
		s += " " + strings.TrimPrefix(r.Header.Type.String(), "Type")
	}
	return s
}

// TestCollect reads our own answers, in any case of letters, and what is not meant for it.
func TestCollect(t *testing.T) {
	z := testZone(t)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	all, err := z.announcement(addrs, false)
	if err != nil {
		t.Fatal(err)
	}
	here := netip.MustParseAddr("192.0.2.7")
	c := &collector{kind: "_bimamba._tcp"}
	c.add(here, all)
	c.add(here, all) // twice is once
	found := c.list()
	if f := found[0]; len(found) != 1 || f.Instance != "Bi-Mamba on kitchen-home" || f.Host != "kitchen.local" || f.Port != 11434 || !slices.Equal(f.Addrs, addrs) || !slices.Equal(f.Text, kitchen[0].Text) {
		t.Errorf("%+v", f)
	}
	other := &collector{kind: "_wyoming._tcp"}
	other.add(here, all)
	if f := other.found[0]; len(other.found) != 1 || f.Instance != "kitchen" || f.Port != 10500 || len(f.Text) != 0 {
		t.Errorf("%+v", f)
	}
	for _, b := range [][]byte{nil, {1}, all[:20], ask(t, nil, q("_bimamba._tcp.local.", dnsmessage.TypePTR))} {
		if none := parseFound("_bimamba._tcp", b); len(none) != 0 {
			t.Errorf("%x: %+v", b, none)
		}
	}
	bye, err := z.announcement(addrs, true)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(bye); err != nil || len(m.Answers) != 6 {
		t.Fatalf("%v, %+v", err, m.Answers)
	}
	for _, r := range m.Answers {
		if r.Header.TTL != 0 || r.Header.Type == dnsmessage.TypeA {
			t.Errorf("on leaving: %+v", r.Header)
		}
	}
}

func TestBadNames(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, tt := range []struct {
		host string
		s    Service
	}{
		{"", kitchen[0]}, {"a.b", kitchen[0]}, {long, kitchen[0]}, {"a", Service{Instance: long, Type: "_a._tcp"}}, {"a", Service{Type: "_a._tcp"}},
		{"a", Service{Instance: "a", Type: "_a._udp"}}, {"a", Service{Instance: "a", Type: "a._tcp"}}, {"a", Service{Instance: "a", Type: "_" + long + "._tcp"}},
		{"a", Service{Instance: "a", Type: "_a._tcp", Text: []string{strings.Repeat("a", 256)}}}, {"a", Service{Instance: "a", Type: "_a._tcp", Text: []string{""}}},
	} {
		if err := Announce(t.Context(), tt.host, []Service{tt.s}, nil); err == nil {
			t.Errorf("%q, %+v", tt.host, tt.s)
		}
	}
	if _, err := question(strings.Repeat("a.", 200), 0); err == nil {
		t.Error("a question for a name that is too long")
	}
}

func loopback(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 }

// testAnnouncer speaks over loopback.
func testAnnouncer(t *testing.T, host string, services []Service, failed func(error)) *announcer {
	t.Helper()
	a, err := newAnnouncer(host, services, failed)
	if err != nil {
		t.Fatal(err)
	}
	a.usable, a.far, a.probeWait = loopback, true, 20*time.Millisecond
	return a
}

// TestNetwork announces and browses over this machine's own loopback.
func TestNetwork(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		testAnnouncer(t, "kitchen", kitchen, func(err error) { failed = err }).run(ctx)
	}()
	var found []Found
	for range 20 {
		c, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		var err error
		found, err = browse(c, "_bimamba._tcp", loopback)
		cancel()
		if err != nil {
			t.Skipf("multicast does not work here: %v", err)
		}
		if len(found) > 0 {
			break
		}
	}
	stop()
	<-ended
	if failed != nil {
		t.Skipf("multicast does not work here: %v", failed)
	}
	if len(found) != 1 || found[0].Port != 11434 || !slices.Contains(found[0].Addrs, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("%+v", found)
	}
	none := func(net.Interface) bool { return false }
	if _, err := browse(t.Context(), "_bimamba._tcp", none); err == nil || !strings.Contains(err.Error(), "no interface") {
		t.Errorf("without an interface: %v", err)
	}
}

// FuzzPackets: whatever comes, questions are answered within a packet, and answers are collected within limits.
func FuzzPackets(f *testing.F) {
	z := testZone(f)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	all, err := z.announcement(addrs, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	probe, err := z.probe(addrs)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(probe)
	mine, _ := records(probe)
	f.Add(ask(f, map[string]string{"_bimamba._tcp.local.": "a._bimamba._tcp.local."}, q("_bimamba._tcp.local.", dnsmessage.TypePTR), q("kitchen.local.", dnsmessage.TypeALL)))
	b, _ := hex.DecodeString("00000000000100000000000008" + hex.EncodeToString([]byte("_bimamba")) + "c00cc00c000c0001")
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		if a, ok := z.parse(b); ok {
			for _, legacy := range []bool{false, true} {
				if _, err := z.answer(&a, addrs, legacy); err != nil {
					t.Fatal(err)
				}
			}
		}
		if found := parseFound("_bimamba._tcp", b); len(found) > maxRecords {
			t.Fatalf("%d services of one packet", len(found))
		}
		z.judge(b, addrs[0], mine, func(netip.Addr) bool { return len(b)%2 == 0 })
	})
}

// TestAskedAgain: a question that was lost is asked once more.
func TestAskedAgain(t *testing.T) {
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, loopback)
	if i < 0 {
		t.Skip("no loopback")
	}
	c, err := listen(&list[i], port)
	if err != nil {
		t.Skipf("multicast does not work here: %v", err)
	}
	defer c.Close()
	const kind = "_bimamba-asked-again._tcp"
	asked := make(chan bool)
	go func() {
		defer close(asked)
		for buf := make([]byte, maxPacket); ; {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "_bimamba-asked-again") {
				asked <- true
			}
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go browse(ctx, kind, loopback)
	for n := range 2 {
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			if n == 0 {
				t.Skip("multicast does not work here: nothing comes")
			}
			t.Fatal("it is not asked again")
		}
	}
}
