package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSameNames: boards of one name are listed, and the line below says what to do.
func TestSameNames(t *testing.T) {
	list := []boardStatus{
		{Name: "Bi-Mamba on kitchen", URL: "http://192.0.2.7:11434"}, {Name: "Bi-Mamba on KITCHEN", URL: "http://192.0.2.8:11434"},
		{Name: "Bi-Mamba on kitchen (2)", URL: "http://192.0.2.9:11434"}, {Name: "Bi-Mamba on bath", URL: "http://192.0.2.10:11434"}, {Name: "Bi-Mamba on bath (1)", URL: "http://192.0.2.11:11434"},
	}
	sameNames(list)
	for i, want := range []int{2, 2, 2, 0, 0} {
		if len(list[i].Same) != want {
			t.Errorf("%s: %q", list[i].URL, list[i].Same)
		}
	}
	var out bytes.Buffer
	if err := printDaemons(&out, list); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	const want = `3 boards have the name "Bi-Mamba on kitchen", and may change places when they start: give each its own with ` + "`sudo hostnamectl set-hostname NAME`" +
		`, and start it again: http://192.0.2.7:11434 http://192.0.2.8:11434 http://192.0.2.9:11434`
	if len(lines) != 7 || lines[6] != want {
		t.Errorf("%s", &out)
	}
}

// TestBoards asks daemons of several minds for their status.
func TestBoards(t *testing.T) {
	answer := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/status" || status == http.StatusUnauthorized && r.Header.Get("Authorization") == "" {
				w.WriteHeader(status)
				return
			}
			if status != http.StatusUnauthorized {
				w.WriteHeader(status)
			}
			w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	const good = `{"version":"1.2","kernel":"neon","model":{"name":"def\u001bault"},"memory":{"rss":42000000},"tokens_per_s":{"prefill":null,"decode":12.34},"energy":{"celsius":51.5,"watts":null}}`
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		status int
		body   string
		args   []string
		want   []string
	}{
		{200, good, nil, []string{"def?ault", "42.00 MB", "12.3", "51.5 C", " - ", "1.2"}},
		{200, good, []string{"--json"}, []string{`"rss_bytes":42000000`, `"prefill_tokens_per_s":null`, `"tokens_per_s":12.34`, `"celsius":51.5`, `"watts":null`}},
		{401, good, nil, []string{"it wants its token: --token-file"}},
		{401, good, []string{"--token-file", token}, []string{"51.5 C"}},
		{500, "", nil, []string{"it answered 500"}},
		{200, "{}", nil, []string{"no status of bimambad's"}},
		{200, "<html>", nil, []string{"no status of bimambad's"}},
	} {
		var out, errs bytes.Buffer
		if code := Main(append([]string{"boards", answer(tt.status, tt.body)}, tt.args...), strings.NewReader(""), &out, &errs); code != 0 {
			t.Errorf("%d %s %v: status %d, %s", tt.status, tt.body, tt.args, code, &errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%d %s %v: no %q in %s", tt.status, tt.body, tt.args, want, &out)
			}
		}
	}
	for host, want := range map[string]bool{"kitchen.local": true, "192.0.2.7": true, "[2001:db8::1]": true, "": false, "a\x1b[2J": false, "me@there": false, "a/b": false, "[a": false} {
		if hostForm.MatchString(host) != want {
			t.Errorf("%q", host)
		}
	}
	for _, bad := range [][]string{{"kitchen"}, {"ftp://a"}, {"--wait", "0s"}, {"--token-file", token}, {"http://127.0.0.1:1", "--token-file", "missing"}} {
		var out, errs bytes.Buffer
		if code := Main(append([]string{"boards"}, bad...), strings.NewReader(""), &out, &errs); code == 0 {
			t.Errorf("%v: %s", bad, &out)
		}
	}
}
