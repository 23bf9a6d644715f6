package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bimamba/edge/action"
	"bimamba/edge/action/mqtt"
	"bimamba/edge/action/mqtt/mosquittotest"
	"bimamba/edge/api/wyoming"
	"bimamba/edge/daemon/config"
	"bimamba/edge/home"
)

const kitchen = `language = "en"
[[area]]
id = "kitchen"
name = "Kitchen"
[[entity]]
id = "light.ceiling"
name = "Ceiling light"
area = "kitchen"
`

// listenAt is the messages of a filter, as they come.
func listenAt(t *testing.T, b *mosquittotest.Broker, filter string) <-chan mqtt.Message {
	t.Helper()
	out := make(chan mqtt.Message, 100)
	ready := make(chan struct{}, 10)
	c, err := mqtt.New(mqtt.Options{URL: b.URL(), Connected: func(context.Context, *mqtt.Client) { ready <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Subscribe(t.Context(), filter, func(m mqtt.Message) { out <- m }); err != nil {
		t.Fatal(err)
	}
	<-ready
	return out
}

// arrives is the next action.
func arrives(t *testing.T, c <-chan mqtt.Message) (m action.Message) {
	t.Helper()
	select {
	case x := <-c:
		if err := json.Unmarshal(x.Payload, &m); err != nil {
			t.Fatalf("%s: %v", x.Payload, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no action comes")
	}
	return m
}

// hears says something at a Wyoming address.
func hears(t *testing.T, socket, text string) *wyoming.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := wyoming.Dial(ctx, "unix://"+socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Handle(ctx, home.Request{Text: text})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

// TestActions: what is said at a Wyoming address comes to a real broker, out of the sandbox; timers outlive the program; what a broker that is away does not get is told, and comes later.
func TestActions(t *testing.T) {
	broker := mosquittotest.Start(t)
	d := newTester(t)
	socket := filepath.Join(d.dir, "w.sock")
	if err := os.WriteFile(filepath.Join(d.dir, "home.toml"), []byte(kitchen), 0o600); err != nil {
		t.Fatal(err)
	}
	d.configure(`sandbox = "auto"`, fmt.Sprintf("state_dir = %q", d.state()), fmt.Sprintf("wyoming = [%q]", "unix:"+socket), `wyoming_mode = "handle"`, fmt.Sprintf("home = %q", filepath.Join(d.dir, "home.toml")),
		fmt.Sprintf("mqtt = %q", broker.URL()), `mqtt_topic = "home"`, "sensor = \"off\"")
	got := listenAt(t, broker, "home/+/action")
	states := listenAt(t, broker, "home/+/state")
	configs := listenAt(t, broker, "homeassistant/sensor/+/config")
	c := d.spawn()
	first := hears(t, socket, "turn on the ceiling light")
	if first.Type != wyoming.TypeHandled {
		t.Errorf("%+v", first)
	}
	m := arrives(t, got)
	if m.Intent != "HassTurnOn" || len(m.Entities) != 1 || m.Entities[0] != "light.ceiling" || m.Slots["name"] == nil {
		t.Errorf("%+v", m)
	}
	if x := <-configs; !strings.Contains(string(x.Payload), `"unit_of_measurement":"token/s"`) {
		t.Errorf("%s: %s", x.Topic, x.Payload)
	}
	if x := <-states; !strings.Contains(string(x.Payload), `"speed":`) {
		t.Errorf("%s: %s", x.Topic, x.Payload)
	}
	if r := hears(t, socket, "set a timer for 5 minutes"); r.Type != wyoming.TypeHandled || r.Text != "Timer set for 5 minutes." {
		t.Errorf("%+v", r)
	}
	if r := hears(t, socket, "set a timer for 3 seconds"); r.Type != wyoming.TypeHandled || r.Text != "Timer set for 3 seconds." {
		t.Errorf("%+v", r)
	}
	if m := arrives(t, got); m.Intent != timerFinished || m.Slots["text"] != "The 3 second timer is done." || m.Slots["seconds"] != 3.0 {
		t.Errorf("%+v", m)
	}
	// Who listens may have it before the broker has acknowledged it, and what was not is sent again.
	eventually(t, "both are done", func() bool { return d.metric(`bimamba_actions_total{outcome="done"}`) == "2" })
	broker.Stop()
	eventually(t, "the client sees it", func() bool { return strings.Contains(d.log.String(), "MQTT: no connection") })
	r := hears(t, socket, "turn off the ceiling light")
	if r.Type != wyoming.TypeNotHandled || !strings.HasPrefix(r.Text, "The home does not answer. I will do it if it comes back within ") {
		t.Errorf("%+v", r)
	}
	if v := d.metric("bimamba_actions_waiting"); v != "1" {
		t.Errorf("%s actions wait", v)
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	if status := c.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	broker.Run()
	got = listenAt(t, broker, "home/+/action")
	d.spawn()
	if m := arrives(t, got); m.Intent != "HassTurnOff" {
		t.Errorf("%+v", m)
	}
	if r := hears(t, socket, "how long is left on my timer"); !strings.HasPrefix(r.Text, "The 5 minute timer has 4 minutes") {
		t.Errorf("%+v", r)
	}
	if _, _, body := d.do("GET", "/status", ""); !strings.Contains(body, `"actions":{"target":"mqtt"`) || !strings.Contains(body, `"timers":1}`) {
		t.Error(body)
	}
	if strings.Contains(d.log.String(), "ceiling") {
		t.Error("what was said is in the log")
	}
}

func TestActionsRefused(t *testing.T) {
	d := newTester(t)
	load := func() (*config.Config, error) { return config.Load([]string{"--config", d.file()}, nil, os.ReadFile) }
	for _, tc := range []struct{ lines, want string }{
		{`mqtt = "tcp://a"`, "mqtt: the broker's address is mqtt://HOST:PORT or mqtts://HOST:PORT"},
		{"mqtt = \"mqtt://a\"\nmqtt_user = \"u\"\nmqtt_password_file = \"/none\"", "mqtt_password_file: open /none: no such file or directory"},
		{"mqtt = \"mqtts://a\"\nmqtt_ca_file = \"" + d.blob + "\"", "mqtt_ca_file: " + d.blob + " holds no certificates"},
		{`webhook = "a"`, "webhook: a webhook's address is http://HOST/PATH or https://HOST/PATH"},
	} {
		d.configure(tc.lines)
		c, err := load()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: check: %v, want %s", tc.lines, err, tc.want)
		}
		if err := Run(t.Context(), Options{Load: load, Log: &d.log}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.lines, err, tc.want)
		}
	}
}
