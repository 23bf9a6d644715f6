package deploy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"bimamba/internal/ssh"
)

// Fleet is boards to deploy to, as a TOML file lists them.
type Fleet struct {
	Parallel int         `toml:"parallel"` // boards at a time; 0 is 4
	Model    string      `toml:"model"`    // these for all hosts that do not say otherwise; relative to the file
	Daemon   string      `toml:"daemon"`
	CLI      string      `toml:"cli"`
	Config   string      `toml:"config"`
	Hosts    []FleetHost `toml:"host"`
}

// FleetHost is a board of a fleet.
type FleetHost struct {
	SSH    string `toml:"ssh"`    // host, or user@host
	Name   string `toml:"name"`   // for the table; "" is SSH
	Canary bool   `toml:"canary"` // goes before all that are none; without any the first one is
	Model  string `toml:"model"`
	Daemon string `toml:"daemon"`
	CLI    string `toml:"cli"`
	Config string `toml:"config"`
}

const (
	maxFleet    = 1 << 20 // bytes of a file
	maxHosts    = 4096
	maxName     = 256 // bytes
	defaultPart = 4
	maxParallel = 256
)

// ReadFleet reads a fleet's file.
func ReadFleet(name string) (*Fleet, error) {
	h, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	b, err := io.ReadAll(io.LimitReader(h, maxFleet+1))
	if err != nil {
		return nil, err
	}
	f, err := ParseFleet(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	dir := filepath.Dir(name)
	paths := []*string{&f.Model, &f.Daemon, &f.CLI, &f.Config}
	for i := range f.Hosts {
		h := &f.Hosts[i]
		paths = append(paths, &h.Model, &h.Daemon, &h.CLI, &h.Config)
	}
	for _, p := range paths {
		if *p != "" && *p != BuiltIn && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return f, nil
}

// BuiltIn is the Model that means that of Options.Open, and no file.
const BuiltIn = "default"

// ParseFleet reads a fleet.
func ParseFleet(b []byte) (*Fleet, error) {
	if len(b) > maxFleet {
		return nil, fmt.Errorf("more than %d bytes", maxFleet)
	}
	f := new(Fleet)
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			line, column := strict.Errors[0].Position()
			return nil, fmt.Errorf("line %d, column %d: there is no key %s; there are parallel, model, daemon, cli, config, and in [[host]] ssh, name, canary, model, daemon, cli, config",
				line, column, strings.Join(strict.Errors[0].Key(), "."))
		}
		var decode *toml.DecodeError
		if errors.As(err, &decode) {
			line, column := decode.Position()
			return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
		}
		return nil, err
	}
	switch {
	case len(f.Hosts) == 0:
		return nil, errors.New("there is no [[host]]")
	case len(f.Hosts) > maxHosts:
		return nil, fmt.Errorf("%d hosts; there are at most %d", len(f.Hosts), maxHosts)
	case f.Parallel < 0 || f.Parallel > maxParallel:
		return nil, fmt.Errorf("parallel = %d is not within 1 and %d", f.Parallel, maxParallel)
	}
	f.Parallel = cmp.Or(f.Parallel, defaultPart)
	seen := map[string]bool{}
	for i := range f.Hosts {
		h := &f.Hosts[i]
		if h.SSH == "" {
			return nil, fmt.Errorf("host %d has no ssh, as in ssh = \"pi@kitchen\"", i+1)
		}
		if err := ssh.CheckTarget(h.SSH); err != nil {
			return nil, fmt.Errorf("host %d: ssh = %w", i+1, err)
		}
		if len(h.Name) > maxName || strings.ContainsFunc(h.Name, unicode.IsControl) {
			return nil, fmt.Errorf("host %d: name: more than %d bytes, or control characters", i+1, maxName)
		}
		h.Name = cmp.Or(h.Name, h.SSH)
		if seen[h.SSH] || seen["\x00"+h.Name] {
			return nil, fmt.Errorf("host %d: %s is there twice", i+1, h.Name)
		}
		seen[h.SSH], seen["\x00"+h.Name] = true, true
	}
	if !slices.ContainsFunc(f.Hosts, func(h FleetHost) bool { return h.Canary }) {
		f.Hosts[0].Canary = true
	}
	return f, nil
}

// Options are those of a host: its own, else the fleet's, else def's.
func (f *Fleet) Options(h FleetHost, def Options) Options {
	def.Model = cmp.Or(h.Model, f.Model, def.Model)
	def.Daemon = cmp.Or(h.Daemon, f.Daemon, def.Daemon)
	def.CLI = cmp.Or(h.CLI, f.CLI, def.CLI)
	def.Config = cmp.Or(h.Config, f.Config, def.Config)
	return def
}

// HostResult is what came of one board of a fleet.
type HostResult struct {
	Name    string  `json:"name"`
	SSH     string  `json:"ssh"`
	State   string  `json:"state"` // deployed, current (it was already, and is well), rolled back, failed, or not started
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	*Result
}

// States of a HostResult.
const (
	Deployed   = "deployed"
	Current    = "current"
	RolledBack = "rolled back"
	Failed     = "failed"
	NotStarted = "not started"
)

// NewResult is what came of a board, from what [Bundle.To] returned.
func NewResult(h FleetHost, r *Result, took time.Duration, err error) HostResult {
	x := HostResult{Name: h.Name, SSH: h.SSH, State: Deployed, Seconds: took.Seconds(), Result: r}
	switch {
	case err != nil:
		x.State, x.Error = Failed, err.Error()
		if r != nil && r.Rolled {
			x.State = RolledBack
		}
	case !r.Changed:
		x.State = Current
	}
	return x
}

// Run calls deploy for each host: the canaries one after the other, then the others, some at a time. After the first error no other host is begun; those under
// way come to their end. The results are in the order of the hosts, and the error says how many failed.
func (f *Fleet) Run(ctx context.Context, deploy func(ctx context.Context, h FleetHost) (*Result, error)) ([]HostResult, error) {
	results := make([]HostResult, len(f.Hosts))
	for i, h := range f.Hosts {
		results[i] = HostResult{Name: h.Name, SSH: h.SSH, State: NotStarted}
	}
	var mu sync.Mutex
	failed := 0
	one := func(i int) {
		start := time.Now()
		r, err := deploy(ctx, f.Hosts[i])
		mu.Lock()
		defer mu.Unlock()
		results[i] = NewResult(f.Hosts[i], r, time.Since(start), err)
		if err != nil {
			failed++
		}
	}
	goOn := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return failed == 0 && ctx.Err() == nil
	}
	for i, h := range f.Hosts {
		if h.Canary && goOn() {
			one(i)
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, f.Parallel)
	for i, h := range f.Hosts {
		if h.Canary {
			continue
		}
		slots <- struct{}{}
		if !goOn() {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			one(i)
		})
	}
	wg.Wait()
	if failed > 0 {
		begun := 0
		for _, r := range results {
			if r.State != NotStarted {
				begun++
			}
		}
		return results, fmt.Errorf("%d of %d boards failed, and %d were not begun", failed, len(results), len(results)-begun)
	}
	return results, ctx.Err()
}
