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
