package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// example is a block of README.md behind a comment <!-- e2e: PATTERN -->: shell commands, and a regular expression for what they print.
var example = regexp.MustCompile("(?m)^<!-- e2e: (.+) -->\n```sh\n((?s:.*?))^```$")

// standard is where the daemon of README.md listens.
const standard = "localhost:11434"

// TestReadme runs README.md's examples for a daemon, in their order. BIMAMBA_README is another file with such.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not here")
	}
	file := os.Getenv("BIMAMBA_README")
	if file == "" {
		file = root + "/README.md"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	examples := example.FindAllStringSubmatch(string(text), -1)
	if len(examples) < 8 {
		t.Fatalf("%s has %d examples with a comment <!-- e2e: ... -->, where it has some ten", file, len(examples))
	}
	socket := filepath.Join(t.TempDir(), "s")
	d := start(t, "default", "--state-dir", t.TempDir(), "--listen", "unix:"+socket)
	here := strings.NewReplacer(standard, strings.TrimPrefix(d.url, "http://"), "/run/bimamba/bimambad.sock", socket)
	for _, x := range examples {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		// What fails with a status of HTTP fails as a command.
		c := exec.CommandContext(ctx, "sh", "-euc", "curl() { command curl --fail-with-body --silent --show-error \"$@\"; }\n"+here.Replace(x[2]))
		out, err := c.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s\n%v: %s", x[2], err, out)
			continue
		}
		if !regexp.MustCompile(x[1]).Match(out) {
			t.Errorf("%s\nprints what does not match %s:\n%s", x[2], x[1], out)
		}
	}
}
