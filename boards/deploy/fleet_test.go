package deploy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const fleetText = `parallel = 2
model = "m.bimamba"
[[host]]
ssh = "a"
[[host]]
ssh = "pi@b"
name = "b"
canary = true
config = "/etc/b.toml"
[[host]]
ssh = "c"
model = "default"
`

func TestReadFleet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts.toml")
	if err := os.WriteFile(path, []byte(fleetText), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFleet(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for i, want := range []Options{
		{Model: filepath.Join(dir, "m.bimamba"), Daemon: "d"},
		{Model: filepath.Join(dir, "m.bimamba"), Daemon: "d", Config: "/etc/b.toml"},
		{Model: "default", Daemon: "d"},
	} {
		got := f.Options(f.Hosts[i], Options{Model: "other", Daemon: "d"})
		if got.Model != want.Model || got.Daemon != want.Daemon || got.Config != want.Config || got.CLI != "" {
			t.Errorf("host %d: %+v, want %+v", i, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                       "there is no [[host]]",
		"[[host]]\n":                             "host 1 has no ssh",
		"parallel = 1000\n[[host]]\nssh='a'\n":   "parallel = 1000 is not within",
		"parallel = 'x'\n[[host]]\nssh='a'\n":    "line 1, column 12",
		"[[host]]\nssh='a'\n[[host]]\nssh='a'\n": "a is there twice",
		"[[host]]\nssh='a'\nport=1\n":            "line 3, column 1: there is no key host.port",
		"[[host]]\nssh=\n":                       "line 2",
		"[[host]]\nssh='a'\n[[host]]\nssh='-oProxyCommand=x'\n": "host 2: ssh = \"-oProxyCommand=x\": it is a host",
		"[[host]]\nssh='a'\nname=\"a\\u001b[2J\"\n":             "host 1: name",
		strings.Repeat(" ", maxFleet+1):                         "more than",
	} {
		if _, err := ParseFleet([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q gave %v, want %s", text, err, want)
		}
	}
}

// fleet is n hosts called 0, 1, ..., of which some are canaries.
func fleet(n, parallel int, canaries ...int) *Fleet {
	f := &Fleet{Parallel: parallel}
	for i := range n {
		f.Hosts = append(f.Hosts, FleetHost{SSH: string(rune('0' + i)), Name: string(rune('0' + i)), Canary: slices.Contains(canaries, i)})
	}
	return f
}

func TestFleetOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	busy, most := 0, 0
	release := make(chan struct{})
	results, err := fleet(7, 3, 4).Run(context.Background(), func(_ context.Context, h FleetHost) (*Result, error) {
		mu.Lock()
		order = append(order, h.Name)
		busy++
		most = max(most, busy)
		n := len(order)
		mu.Unlock()
		if n == 4 { // the canary, and three at a time
			close(release)
		}
		if !h.Canary {
			<-release
		}
		mu.Lock()
		busy--
		mu.Unlock()
		return &Result{Changed: h.Name != "2"}, nil
	})
	if err != nil || order[0] != "4" || len(order) != 7 || most != 3 {
		t.Errorf("%v, at most %d at a time, %v", order, most, err)
	}
	for _, r := range results {
		if want := map[bool]string{true: Current, false: Deployed}[r.Name == "2"]; r.State != want {
			t.Errorf("%s is %s", r.Name, r.State)
		}
	}
}

func TestFleetStops(t *testing.T) {
	states := func(f *Fleet, bad string) ([]string, error) {
		results, err := f.Run(context.Background(), func(_ context.Context, h FleetHost) (*Result, error) {
			if h.Name == bad {
				return &Result{Rolled: bad == "0"}, errors.New("no")
			}
			return &Result{Changed: true}, nil
		})
		var s []string
		for _, r := range results {
			s = append(s, r.State)
		}
		return s, err
	}
	got, err := states(fleet(3, 2, 0), "0")
	if !slices.Equal(got, []string{RolledBack, NotStarted, NotStarted}) || err == nil || err.Error() != "1 of 3 boards failed, and 2 were not begun" {
		t.Errorf("a bad canary: %v, %v", got, err)
	}
	if got, err = states(fleet(4, 1, 0), "2"); !slices.Equal(got, []string{Deployed, Deployed, Failed, NotStarted}) || err == nil {
		t.Errorf("a bad one in the middle: %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	results, err := fleet(2, 1, 0).Run(ctx, func(context.Context, FleetHost) (*Result, error) { t.Error("begun"); return nil, nil })
	if !errors.Is(err, context.Canceled) || results[0].State != NotStarted {
		t.Errorf("cancelled: %v, %v", results, err)
	}
}

func FuzzParseFleet(f *testing.F) {
	f.Add([]byte(fleetText))
	f.Add([]byte("[[host]]\nssh = 'a'\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseFleet(b)
		if err != nil {
			return
		}
		canary := false
		for _, h := range x.Hosts {
			canary = canary || h.Canary
			if h.SSH == "" || h.Name == "" {
				t.Fatalf("%+v", h)
			}
		}
		if !canary || x.Parallel < 1 {
			t.Fatalf("%+v", x)
		}
	})
}
