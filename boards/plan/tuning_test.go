package plan

import (
	"os"
	"strings"
	"testing"
)

const goodTuning = `{"version":1,"board":"pi-5-8gb","read":[{"threads":1,"bytes_per_s":9.5e9},{"threads":2,"bytes_per_s":1.2e10}],"prefetch":256}`

func TestReadTuning(t *testing.T) {
	u, err := ReadTuning(strings.NewReader(goodTuning))
	if err != nil {
		t.Fatal(err)
	}
	if b := u.best(); b != (Read{2, 1.2e10}) {
		t.Errorf("best is %v", b)
	}
	for _, x := range []struct{ text, want string }{
		{``, "unexpected end"},
		{`[]`, "cannot unmarshal"},
		{`{"version":2,"read":[{"threads":1,"bytes_per_s":1e9}]}`, "version is 2"},
		{`{"version":1}`, "read: there is no measurement"},
		{`{"version":1,"board":"pi-6","read":[{"threads":1,"bytes_per_s":1e9}]}`, `there is no board "pi-6"`},
		{`{"version":1,"read":[{"threads":0,"bytes_per_s":1e9}]}`, "read[0].threads is 0"},
		{`{"version":1,"read":[{"threads":1,"bytes_per_s":1e9},{"threads":2,"bytes_per_s":0}]}`, "read[1].bytes_per_s is 0"},
		{`{"version":1,"read":[{"threads":1,"bytes_per_s":-1e9}]}`, "bytes_per_s is -1e+09"},
		{`{"version":1,"read":[{"threads":1,"bytes_per_s":1e300}]}`, "bytes_per_s is 1e+300"},
		{`{"version":1,"read":[{"threads":1,"bytes_per_s":1e999}]}`, "1e999"},
		{`{"version":1,"read":[{"threads":1,"bytes_per_s":NaN}]}`, "invalid character"},
		{strings.Repeat(" ", maxTuning) + goodTuning, "more than 65536 bytes"},
	} {
		if _, err := ReadTuning(strings.NewReader(x.text)); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%.80s: %v, not %q", x.text, err, x.want)
		}
	}
	if _, err := ReadTuning(broken{}); err == nil {
		t.Error("a file that cannot be read is one")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, os.ErrPermission }

func FuzzReadTuning(f *testing.F) {
	f.Add(goodTuning)
	f.Add(`{"version":1,"board":"","read":[{"threads":1024,"bytes_per_s":1e7}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ReadTuning(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, b := range Boards() {
			if !u.of(&b) {
				continue
			}
			slow, fast, source := b.bandwidths(u)
			if slow != fast || !(slow >= minRate && slow <= maxRate) || !strings.Contains(source, "measured") {
				t.Errorf("%s: %v, %v, %s", b.Name, slow, fast, source)
			}
		}
	})
}
