package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"bimamba/edge/action/mqtt"
	"bimamba/edge/action/mqtt/mosquittotest"
)

// watch is what a broker says about topics, as TOPIC=PAYLOAD.
func watch(t *testing.T, b *mosquittotest.Broker, filter string) <-chan string {
	t.Helper()
	out := make(chan string, 100)
	ready := make(chan struct{}, 10)
	c, err := mqtt.New(mqtt.Options{URL: b.URL(), Connected: func(context.Context, *mqtt.Client) { ready <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Subscribe(t.Context(), filter, func(m mqtt.Message) { out <- fmt.Sprintf("%s=%s", m.Topic, m.Payload) }); err != nil {
		t.Fatal(err)
	}
	<-ready // subscribed
	return out
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no message")
	}
	return ""
}

func TestMQTT(t *testing.T) {
	broker := mosquittotest.Start(t, "password_file "+mosquittotest.Passwords(t, "board", "secret"), "allow_anonymous true")
	actions, available := watch(t, broker, "home/kitchen/action"), watch(t, broker, "home/kitchen/available")
	target, err := NewMQTT(MQTTOptions{URL: broker.URL(), User: "board", Password: "secret", Topic: "home", Node: "kitchen"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(target, SpoolOptions{Dir: t.TempDir(), Attempt: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := next(t, available), "home/kitchen/available=online"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// wants reads an action's JSON.
	wants := func(id string) {
		t.Helper()
		_, payload, _ := strings.Cut(next(t, actions), "=")
		var m Message
		if err := json.Unmarshal([]byte(payload), &m); err != nil || m.ID != id || m.Intent != "HassTurnOn" || m.Slots["brightness"] != 50.0 || m.Slots["name"] != "Lamp" ||
			!slices.Equal(m.Entities, []string{"light.lamp"}) || m.Expires.Sub(m.Time) != time.Minute {
			t.Fatalf("%s, %v; want %s", payload, err, id)
		}
	}
	if err := s.Do(t.Context(), act("one")); err != nil {
		t.Fatal(err)
	}
	wants("one")
	// The broker goes; what is asked for waits, and comes in order, once.
	broker.Stop()
	for _, id := range []string{"two", "three"} {
		if err := s.Do(t.Context(), act(id)); !errors.As(err, new(*Queued)) {
			t.Fatalf("%s: %v", id, err)
		}
	}
	broker.Run()
	back := watch(t, broker, "home/kitchen/action") // a client of its own: the other one may be late
	for s.Stats().Waiting > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := s.Do(t.Context(), act("four")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) == 0 || !strings.Contains(got[len(got)-1], `"four"`) {
		got = append(got, next(t, back))
	}
	for i, line := range got {
		if id := []string{"two", "three", "four"}[len([]string{"two", "three", "four"})-len(got)+i]; !strings.Contains(line, `"id":"`+id+`"`) {
			t.Errorf("message %d is %s, want %s", i, line, id)
		}
	}
	s.Close()
	if got := next(t, watch(t, broker, "home/kitchen/available")); got != "home/kitchen/available=offline" {
		t.Error(got)
	}
}

func TestMQTTOptions(t *testing.T) {
	for _, o := range []MQTTOptions{
		{URL: "mqtt://a"}, {URL: "mqtt://a", Node: "a b"}, {URL: "mqtt://a", Node: "a/b"}, {URL: "mqtt://a", Node: "a", Topic: "a/#"}, {URL: "mqtt://a", Node: "a", Topic: "$SYS"}, {URL: "mqtt://a", Node: "a", Topic: "a/"}, {URL: "a", Node: "a"},
		{URL: "mqtt://a", Node: "a", Board: &Board{Sensors: []Sensor{{Key: "a b"}}}}, {URL: "mqtt://a", Node: "a", Board: &Board{Sensors: []Sensor{{Key: "a"}, {Key: "a"}}}}, {URL: "mqtt://a", Node: "a", Board: &Board{Interval: 1}},
	} {
		if m, err := NewMQTT(o); err == nil {
			m.Close()
			t.Errorf("%+v", o)
		}
		if o.Check() == nil {
			t.Errorf("Check: %+v", o)
		}
	}
	if err := (MQTTOptions{URL: "mqtt://a", Node: "a", Board: testBoard()}).Check(); err != nil {
		t.Error(err)
	}
	for host, want := range map[string]string{"kitchen.local": "kitchen", "Küche": "K_che", "": "board", "a_b-1": "a_b-1", strings.Repeat("x", 80): strings.Repeat("x", 64)} {
		if got := NodeName(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// testBoard has a sensor of each kind.
func testBoard() *Board {
	return &Board{Name: "Kitchen", Model: "Raspberry Pi 5", Version: "1.2", Interval: time.Second, Sensors: []Sensor{
		{Key: "power", Name: "Power", Class: "power", State: "measurement", Unit: "W", Digits: 2, Read: func() (float64, bool) { return 3.14159, true }},
		{Key: "under_voltage", Name: "Under-voltage", Class: "problem", Binary: true, Read: func() (float64, bool) { return 1, true }},
		{Key: "capped", Name: "Capped", Binary: true, Read: func() (float64, bool) { return 0, true }},
		{Key: "speed", Name: "Speed", Unit: "token/s", State: "measurement", Digits: 1, Read: func() (float64, bool) { return 0, false }},
		{Key: "odd", Name: "Odd", Read: func() (float64, bool) { return math.NaN(), true }},
		{Key: "gone", Name: "Gone"},
	}}
}

func TestBoard(t *testing.T) {
	broker := mosquittotest.Start(t)
	configs, states := watch(t, broker, "homeassistant/+/+/config"), watch(t, broker, "bimamba/kitchen/state")
	target, err := NewMQTT(MQTTOptions{URL: broker.URL(), Node: "kitchen", Board: testBoard()})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	const device = `"device":{"identifiers":["bimamba_kitchen"],"name":"Kitchen","manufacturer":"Bi-Mamba Edge","model":"Raspberry Pi 5","sw_version":"1.2"},"origin":{"name":"bimamba","sw_version":"1.2"}}`
	want := []string{
		`homeassistant/sensor/bimamba_kitchen_power/config={"name":"Power","unique_id":"bimamba_kitchen_power","state_topic":"bimamba/kitchen/state","value_template":"{{ value_json.power }}",` +
			`"availability_topic":"bimamba/kitchen/available","expire_after":3,"device_class":"power","state_class":"measurement","unit_of_measurement":"W","suggested_display_precision":2,"entity_category":"diagnostic",` + device,
		`homeassistant/binary_sensor/bimamba_kitchen_under_voltage/config={"name":"Under-voltage","unique_id":"bimamba_kitchen_under_voltage","state_topic":"bimamba/kitchen/state","value_template":"{{ value_json.under_voltage }}",` +
			`"availability_topic":"bimamba/kitchen/available","expire_after":3,"device_class":"problem","payload_on":"ON","payload_off":"OFF","entity_category":"diagnostic",` + device,
	}
	for _, w := range want {
		if got := next(t, configs); got != w {
			t.Errorf("got  %s\nwant %s", got, w)
		}
	}
	for range 3 { // capped, speed, odd
		next(t, configs)
	}
	if got := next(t, configs); got != "homeassistant/sensor/bimamba_kitchen_gone/config=" {
		t.Errorf("a sensor that is not there any more: %s", got)
	}
	const state = `bimamba/kitchen/state={"capped":"OFF","odd":null,"power":3.14,"speed":null,"under_voltage":"ON"}`
	for range 2 { // one in a second
		if got := next(t, states); got != state {
			t.Errorf("got  %s\nwant %s", got, state)
		}
	}
	// Home Assistant is started anew, and all is said again; what is retained is there without that.
	c, err := mqtt.New(mqtt.Options{URL: broker.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(t.Context(), mqtt.Message{Topic: "homeassistant/status", Payload: []byte("online"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, configs); got != want[0] {
		t.Errorf("after Home Assistant's birth: %s", got)
	}
	retained := watch(t, broker, "homeassistant/+/+/config")
	for range 5 {
		if got := next(t, retained); strings.Contains(got, "gone") {
			t.Errorf("retained: %s", got)
		}
	}
}
