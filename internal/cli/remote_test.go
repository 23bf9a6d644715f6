package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"bimamba/internal/ssh"
)

// TestRemoteStill: an interrupt ends a measurement whose connection is dead, while it runs and while its report is fetched.
func TestRemoteStill(t *testing.T) {
	for name, c := range map[string]struct{ ssh, want string }{
		"measuring": {"exec sleep 600", "--ssh pi@board: interrupted, and it did not end within 100ms: what it measured is lost"},
		"fetching":  {"for line; do :; done\ncase $line in cat*) exec sleep 600 ;; esac\ncat >&2", "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\n"+c.ssh+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			time.AfterFunc(200*time.Millisecond, interrupt)
			host, err := ssh.New("pi@board", ssh.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			r := &remote{env: &env{stderr: io.Discard}, host: host, work: dir, grace: 100 * time.Millisecond}
			ended := make(chan error, 1)
			go func() {
				_, err := r.run(ctx, "bimamba", nil)
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil || err.Error() != c.want {
					t.Errorf("%v", err)
				}
			case <-time.After(time.Minute):
				t.Error("it does not end")
			}
		})
	}
}

// TestForwarded: every flag of measure either goes to the other board or is named as one that stays.
func TestForwarded(t *testing.T) {
	c := (&env{}).measureCmd()
	values := map[string]string{"bool": "true", "int": "7", "duration": "7m0s", "string": "a b"}
	var want []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		v := values[f.Value.Type()]
		if v == "" {
			t.Fatalf("--%s is a %s", f.Name, f.Value.Type())
		}
		if err := c.Flags().Set(f.Name, v); err != nil {
			t.Fatalf("--%s: %v", f.Name, err)
		}
		want = append(want, "--"+f.Name+"="+v)
	})
	stay := []string{"prompts", "calibration", "output", "force", "json", "share", "ssh", "program"}
	want = slices.DeleteFunc(want, func(s string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(s, "--"), "=")
		return slices.Contains(stay, name)
	})
	for _, name := range stay {
		if c.Flags().Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
	if got := forwarded(c.Flags()); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	if got := forwarded((&env{}).measureCmd().Flags()); len(got) > 0 {
		t.Errorf("%q of no flags", got)
	}
}
