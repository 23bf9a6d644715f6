package daemon

import (
	"io"
	"net/http"
	"strings"

	"bimamba/edge/api/ollama"
	"bimamba/edge/api/openai"
	"bimamba/edge/api/states"
	"bimamba/edge/daemon/config"
	"bimamba/edge/daemon/page"
	"bimamba/edge/daemon/sandbox"
	"bimamba/edge/engine"
	snapshot "bimamba/edge/state"
)

// handler is all paths of the daemon.
func (d *daemon) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", openai.New(&d.models, openai.Options{Fingerprint: "bimamba-" + Version, Log: d.log}))
	mux.Handle("/api/", ollama.New(&d.models, ollama.Options{}))
	state := states.New(states.Options{
		Engine: func() (*engine.Engine, func()) {
			s, done := d.models.use()
			return s.local.Engine(), done
		},
		Dir: func() *snapshot.Dir { return d.dir },
	})
	mux.Handle("/v1/state", state)
	mux.HandleFunc("GET /health", d.serveHealth)
	mux.HandleFunc("GET /status", d.serveStatus)
	mux.HandleFunc("GET /metrics", d.serveMetrics)
	built := page.Handler()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if d.config().Page && strings.Contains(r.Header.Get("Accept"), "text/html") {
			built.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "Ollama is running") // what clients of Ollama's look for
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusNotFound, "there is nothing at "+r.URL.Path)
	})
	return mux
}

// confine gives up all rights but those that the daemon needs from now on: to read models and configuration, also new ones in the same places,
// and to write snapshots.
func (d *daemon) confine(c *config.Config) error {
	if c.Sandbox == config.SandboxOff {
		return nil
	}
	rules := sandbox.Rules{
		// Beside the configured places: figures of the process and of the machine.
		Read:  append([]string{"/proc/self", "/sys/devices/system/cpu", "/sys/kernel/mm"}, c.ReadDirs()...),
		Write: c.WriteDirs(), Sockets: c.SocketDirs(), Require: c.Sandbox == config.SandboxRequire,
	}
	files, ports := d.actions.reach()
	rules.Read, rules.Connect = append(rules.Read, files...), ports
	report, err := sandbox.Restrict(rules)
	if err != nil {
		return err
	}
	d.log.Info("sandbox", "rules", report.String())
	return nil
}
