package daemon

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"bimamba/edge/daemon/config"
)

// addon is the connection to Home Assistant's supervisor, where the daemon runs as an add-on. It is opened before the sandbox closes.
// (https://developers.home-assistant.io/docs/api/supervisor/endpoints/#discovery)
type addon struct {
	conn  net.Conn
	token string
	uri   string // where Wyoming is spoken
	log   *slog.Logger
}

const (
	supervisorAddress = "supervisor:80"
	supervisorTime    = 2 * time.Second  // to connect
	discoveryTime     = 10 * time.Second // to send and to be answered
)

// openAddon connects to the supervisor if there is one and it has something to learn. It is nil otherwise; what fails is logged.
func (d *daemon) openAddon() *addon {
	token := os.Getenv("SUPERVISOR_TOKEN")
	if token == "" || d.voice == nil {
		return nil
	}
	port, _ := announced(&config.Config{MDNS: config.MDNSAuto}, d.voice.listeners)
	host, err := os.Hostname()
	if port == 0 || err != nil {
		return nil
	}
	address := d.opt.supervisor
	if address == "" {
		address = supervisorAddress
	}
	conn, err := net.DialTimeout("tcp", address, supervisorTime)
	if err != nil {
		d.log.Warn("Home Assistant is not told of Wyoming: add the integration by hand", "error", err.Error())
		return nil
	}
	return &addon{conn, token, "tcp://" + net.JoinHostPort(host, strconv.Itoa(port)), d.log}
}

// announce tells the supervisor, and so Home Assistant, which asks at once.
func (a *addon) announce() {
	if a == nil {
		return
	}
	defer a.conn.Close()
	a.conn.SetDeadline(time.Now().Add(discoveryTime))
	if err := a.discovery(); err != nil {
		a.log.Warn("Home Assistant is not told of Wyoming: add the integration by hand", "error", err.Error())
		return
	}
	a.log.Info("Home Assistant's supervisor knows of Wyoming", "uri", a.uri)
}

func (a *addon) discovery() error {
	body, err := json.Marshal(map[string]any{"service": "wyoming", "config": map[string]string{"uri": a.uri}})
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, "http://supervisor/discovery", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	if err := r.Write(a.conn); err != nil {
		return err
	}
	const most = 16 << 10 // bytes of an answer
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(a.conn, most)), r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return fmt.Errorf("the supervisor answers %s: %q", res.Status, text)
	}
	return nil
}
