package action

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"bimamba/edge/action/mqtt"
)

const (
	closeTime       = 300 * time.Millisecond // for the last message
	discoveryTime   = 10 * time.Second
	DefaultInterval = 30 * time.Second
	maxSensors      = 64
)

// Board is what Home Assistant is told of this machine by MQTT discovery (https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery): a device and its sensors, and every Interval what they say.
type Board struct {
	Name      string // of the device
	Model     string // of the board; may be empty
	Version   string // of the program; may be empty
	Sensors   []Sensor
	Interval  time.Duration // 0: DefaultInterval
	Discovery string        // the topic that Home Assistant listens at; empty: homeassistant
}

// Sensor is one quantity of a board, in Home Assistant's words (https://developers.home-assistant.io/docs/core/entity/sensor/).
type Sensor struct {
	Key    string // of a-z, 0-9 and underscore; unique in a board, and the same for ever
	Name   string // "Power"
	Class  string // device_class: "power", "temperature", ...; may be empty
	State  string // state_class: "measurement", "total_increasing"; may be empty
	Unit   string // unit_of_measurement: "W", "°C", ...; may be empty
	Digits int    // behind the point
	Binary bool   // a value other than 0 is "on"; Class is one of binary sensors, State and Unit are empty

	// Read is the value now; false if there is none. It is called by one goroutine at a time and returns at once. Nil: this board has no such sensor, and Home Assistant is told to forget it.
	Read func() (float64, bool)
}

// config is a payload of MQTT discovery.
type config struct {
	Name        string `json:"name"`
	UniqueID    string `json:"unique_id"`
	StateTopic  string `json:"state_topic"`
	Template    string `json:"value_template"`
	Available   string `json:"availability_topic"`
	ExpireAfter int    `json:"expire_after"`
	Class       string `json:"device_class,omitempty"`
	StateClass  string `json:"state_class,omitempty"`
	Unit        string `json:"unit_of_measurement,omitempty"`
	Digits      *int   `json:"suggested_display_precision,omitempty"`
	PayloadOn   string `json:"payload_on,omitempty"`
	PayloadOff  string `json:"payload_off,omitempty"`
	Category    string `json:"entity_category"`
	Device      device `json:"device"`
	Origin      origin `json:"origin"`
}

type device struct {
	Identifiers  []string `json:"identifiers"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"manufacturer"`
	Model        string   `json:"model,omitempty"`
	Version      string   `json:"sw_version,omitempty"`
}

type origin struct {
	Name    string `json:"name"`
	Version string `json:"sw_version,omitempty"`
}

// announcer publishes a board's sensors.
type announcer struct {
	board    Board
	node     string
	base     string // TOPIC/NODE
	again    chan struct{}
	listened bool // a subscription was made, which the client makes again with each connection
}

func newAnnouncer(b Board, node, base string) (*announcer, error) {
	if b.Interval == 0 {
		b.Interval = DefaultInterval
	}
	if b.Discovery == "" {
		b.Discovery = "homeassistant"
	}
	if b.Name == "" {
		b.Name = node
	}
	if len(b.Sensors) > maxSensors {
		return nil, fmt.Errorf("%d sensors, more than %d", len(b.Sensors), maxSensors)
	}
	if b.Interval < time.Second || b.Interval > time.Hour {
		return nil, fmt.Errorf("an interval of %v: 1 s to 1 h", b.Interval)
	}
	seen := map[string]bool{}
	for _, s := range b.Sensors {
		ok := s.Key != "" && len(s.Key) <= 32 && !seen[s.Key]
		for _, c := range s.Key {
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
		}
		if !ok {
			return nil, fmt.Errorf("sensor %.80q: 1 to 32 of a-z, 0-9 and underscore, and no other of the same key", s.Key)
		}
		seen[s.Key] = true
	}
	return &announcer{board: b, node: node, base: base, again: make(chan struct{}, 1)}, nil
}

// run publishes until ctx is done.
func (a *announcer) run(ctx context.Context, c *mqtt.Client) error {
	if !a.listened {
		a.listened = true
		err := c.Subscribe(ctx, a.board.Discovery+"/status", func(m mqtt.Message) {
			if string(m.Payload) == "online" { // Home Assistant was started anew
				select {
				case a.again <- struct{}{}:
				default:
				}
			}
		})
		if err != nil && ctx.Err() != nil {
			return err
		} // a broker that refuses it: what is retained is there all the same
	}
	tick := time.NewTicker(a.board.Interval)
	defer tick.Stop()
	for {
		if err := a.announce(ctx, c); err != nil {
			return err
		}
		for again := false; !again; {
			if err := c.Publish(ctx, mqtt.Message{Topic: a.base + "/state", Payload: a.state()}); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-a.again:
				again = true
			case <-tick.C:
			}
		}
	}
}

// announce publishes what there is, to be kept by the broker.
func (a *announcer) announce(ctx context.Context, c *mqtt.Client) error {
	ctx, cancel := context.WithTimeout(ctx, discoveryTime)
	defer cancel()
	for _, s := range a.board.Sensors {
		topic, payload := a.config(s)
		if err := c.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retain: true}); err != nil {
			return err
		}
	}
	return nil
}

// config is the discovery of a sensor; an empty payload takes one back.
func (a *announcer) config(s Sensor) (topic string, payload []byte) {
	id := "bimamba_" + a.node + "_" + s.Key
	component := "sensor"
	if s.Binary {
		component = "binary_sensor"
	}
	topic = a.board.Discovery + "/" + component + "/" + id + "/config"
	if s.Read == nil {
		return topic, nil
	}
	c := config{
		Name: s.Name, UniqueID: id, StateTopic: a.base + "/state", Template: "{{ value_json." + s.Key + " }}", Available: a.base + "/available",
		ExpireAfter: int((3*a.board.Interval + time.Second - 1) / time.Second), Class: s.Class, StateClass: s.State, Unit: s.Unit, Category: "diagnostic",
		Device: device{[]string{"bimamba_" + a.node}, a.board.Name, "Bi-Mamba Edge", a.board.Model, a.board.Version},
		Origin: origin{"bimamba", a.board.Version},
	}
	if s.Binary {
		c.PayloadOn, c.PayloadOff = "ON", "OFF"
	} else {
		c.Digits = &s.Digits
	}
	payload, _ = json.Marshal(c) // strings and numbers
	return topic, payload
}

// state is what all sensors say: numbers, "ON" and "OFF", and null where nothing is known, which the template makes None of, Home Assistant's word for it.
func (a *announcer) state() []byte {
	out := map[string]any{}
	for _, s := range a.board.Sensors {
		if s.Read == nil {
			continue
		}
		v, ok := s.Read()
		switch {
		case !ok:
			out[s.Key] = nil
		case s.Binary && v != 0:
			out[s.Key] = "ON"
		case s.Binary:
			out[s.Key] = "OFF"
		default:
			text := strconv.FormatFloat(v, 'f', s.Digits, 64)
			if _, err := json.Marshal(json.Number(text)); err != nil { // no number
				out[s.Key] = nil
				continue
			}
			out[s.Key] = json.Number(text)
		}
	}
	b, _ := json.Marshal(out)
	return b
}
