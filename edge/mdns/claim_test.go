package mdns

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestJudge: what others say of the names of kitchen, at 192.0.2.7.
func TestJudge(t *testing.T) {
	z := testZone(t)
	own := netip.MustParseAddr("192.0.2.7")
	second := netip.MustParseAddr("198.51.100.7") // of the same machine
	here := func(a netip.Addr) bool { return a == own || a == second }
	probe, err := z.probe([]netip.Addr{own})
	if err != nil {
		t.Fatal(err)
	}
	mine, _ := records(probe)
	// say is what a machine of some name says, with a service of this port.
	say := func(host, instance string, port uint16, addr netip.Addr, asks bool) []byte {
		t.Helper()
		services := slices.Clone(kitchen)
		services[0].Instance, services[0].Port = instance, port
		services[1].Instance = instance
		o, err := newZone(host, services)
		if err != nil {
			t.Fatal(err)
		}
		b, err := o.announcement([]netip.Addr{addr}, false)
		if asks {
			b, err = o.probe([]netip.Addr{addr})
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const name = "Bi-Mamba on kitchen.home"
	low, high := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200")
	bye, err := z.announcement(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what   string
		packet []byte
		from   netip.Addr
		want   string
	}{
		{"our own probe", probe, own, ""},
		{"our own announcement", say("kitchen", name, 11434, own, false), own, ""},
		{"ours of another interface", say("kitchen", name, 11434, second, false), second, ""},
		{"ours, passed on by somebody", say("kitchen", "x", 11434, second, false), high, ""},
		{"a neighbour", say("bath", "Bi-Mamba on bath", 11434, high, false), high, ""},
		{"another kitchen", say("KITCHEN", "x", 11434, high, false), high, "host taken"},
		{"another kitchen that says it has our service", say("kitchen", name, 11434, high, false), high, "host taken"},
		{"our service at another machine", say("bath", name, 11434, high, false), high, "service taken"},
		{"another daemon of this machine", say("kitchen", name, 11435, own, false), own, "service taken"},
		{"a daemon that ends", bye, high, ""},
		{"a question", ask(t, nil, q("kitchen.local.", 1)), high, ""},
		{"another kitchen that starts, and comes first", say("kitchen", "x", 11434, high, true), high, "later"},
		{"another kitchen that starts, and comes behind", say("kitchen", "x", 11434, low, true), low, ""},
		{"another daemon that starts here, and comes first", say("kitchen", name, 11435, own, true), own, "later"},
		{"another daemon that starts here, and comes behind", say("kitchen", name, 11433, own, true), own, ""},
		{"half a packet", say("kitchen", "x", 11434, high, false)[:60], high, ""},
		{"nothing", nil, high, ""},
	} {
		taken, later, host := z.judge(tt.packet, tt.from, mine, here)
		got := ""
		switch {
		case taken && host:
			got = "host taken"
		case taken:
			got = "service taken"
		case later:
			got = "later"
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}

// TestRename has daemons of one name, which start at the same time, and later.
func TestRename(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	said := make(chan error, 16)
	start := func(port uint16) {
		a := testAnnouncer(t, "kitchen", []Service{{Instance: "Bi-Mamba on kitchen", Type: "_bimamba-rename._tcp", Port: port, Text: []string{IDKey + "=" + string(rune('a'+port))}}}, func(err error) { said <- err })
		all.Go(func() { a.run(ctx) })
	}
	find := func(want ...string) {
		t.Helper()
		var names []string
		for range 40 {
			c, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			found, err := browse(c, "_bimamba-rename._tcp", loopback)
			cancel()
			if err != nil {
				t.Skipf("multicast does not work here: %v", err)
			}
			names = nil
			for _, f := range found {
				names = append(names, f.Instance)
			}
			if slices.Equal(names, want) {
				return
			}
		}
		if len(names) == 0 {
			t.Skip("multicast does not work here: nobody is found")
		}
		t.Fatalf("%q, want %q", names, want)
	}
	start(1)
	start(2)
	find("Bi-Mamba on kitchen", "Bi-Mamba on kitchen (2)")
	start(3)
	find("Bi-Mamba on kitchen", "Bi-Mamba on kitchen (2)", "Bi-Mamba on kitchen (3)")
	select {
	case err := <-said:
		if !strings.Contains(err.Error(), "Bi-Mamba on kitchen._bimamba-rename._tcp.local is the name of the machine at ") || !strings.Contains(err.Error(), "hostnamectl") {
			t.Error(err)
		}
	default:
		t.Error("nobody was told")
	}
}

func TestNumbered(t *testing.T) {
	long := strings.Repeat("é", 31)
	for _, tt := range []struct {
		label, format string
		n             int
		want          string
	}{
		{"kitchen", "-%d", 1, "kitchen"}, {"kitchen", "-%d", 12, "kitchen-12"}, {"Bi-Mamba on kitchen", " (%d)", 2, "Bi-Mamba on kitchen (2)"},
		{long, "-%d", 2, strings.Repeat("é", 30) + "-2"},
	} {
		if got := numbered(tt.label, tt.format, tt.n); got != tt.want || len(got) > maxLabel {
			t.Errorf("%q", got)
		}
	}
}

// TestSameName: two boards that both say they are kitchen stay two, and one with two addresses is one.
func TestSameName(t *testing.T) {
	say := func(addr, id string) []byte {
		s := kitchen[0]
		if id != "" {
			s.Text = append(slices.Clone(s.Text), IDKey+"="+id)
		}
		z, err := newZone("kitchen", []Service{s})
		if err != nil {
			t.Fatal(err)
		}
		b, err := z.announcement([]netip.Addr{netip.MustParseAddr(addr)}, false)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	c := &collector{kind: "_bimamba._tcp"}
	for _, x := range []struct{ from, id string }{{"192.0.2.7", "a"}, {"192.0.2.8", "b"}, {"198.51.100.7", "a"}, {"192.0.2.7", ""}, {"192.0.2.9", ""}, {"192.0.2.9", ""}} {
		c.add(netip.MustParseAddr(x.from), say(x.from, x.id))
	}
	var got []string
	for _, f := range c.list() {
		var addrs []string
		for _, a := range f.Addrs {
			addrs = append(addrs, a.String())
		}
		got = append(got, f.Value(IDKey)+" "+strings.Join(addrs, " "))
	}
	if want := []string{"a 192.0.2.7 198.51.100.7", "b 192.0.2.8", " 192.0.2.9"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
