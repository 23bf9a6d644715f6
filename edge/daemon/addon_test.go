package daemon

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestAddon: Home Assistant's supervisor is told where Wyoming is spoken, if other machines can reach it there.
func TestAddon(t *testing.T) {
	got := make(chan string, 10)
	supervisor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + string(b)
		if strings.Contains(r.Header.Get("Authorization"), "bad") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		io.WriteString(w, `{"result":"ok","data":{"uuid":"x"}}`)
	}))
	defer supervisor.Close()
	run := func(token, wyoming string) *tester {
		t.Setenv("SUPERVISOR_TOKEN", token)
		d := newTester(t)
		d.putHome(lamps("Desk lamp"))
		d.configure(`wyoming = ["`+wyoming+`"]`, d.voiceLines()[1], `mdns = "off"`)
		d.run(Options{supervisor: strings.TrimPrefix(supervisor.URL, "http://")})
		return d
	}
	d := run("secret", ":0")
	request := <-got
	start, body, _ := strings.Cut(request, " {")
	var message struct {
		Service string
		Config  struct{ URI string }
	}
	if err := json.Unmarshal([]byte("{"+body), &message); err != nil || start != "POST /discovery Bearer secret" || message.Service != "wyoming" {
		t.Errorf("%s: %v", request, err)
	}
	host, _ := os.Hostname()
	port := d.served().Wyoming.Listen[0]
	if want := "tcp://" + host + port[strings.LastIndex(port, ":"):]; message.Config.URI != want {
		t.Errorf("uri %s, want %s", message.Config.URI, want)
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(d.log.String(), "Home Assistant's supervisor knows of Wyoming") })
	if strings.Contains(d.log.String(), "secret") {
		t.Error("the token is in the log")
	}

	d = run("bad", ":0")
	<-got
	eventually(t, "the log says so", func() bool { return strings.Contains(d.log.String(), "the supervisor answers 403 Forbidden") })

	run("secret", "127.0.0.1:0")
	run("", ":0")
	supervisor.Close()
	d = run("secret", ":0")
	if !strings.Contains(d.log.String(), "add the integration by hand") {
		t.Error("nothing is said of a supervisor that is away")
	}
	if len(got) > 0 {
		t.Errorf("more was told: %s", <-got)
	}
}
