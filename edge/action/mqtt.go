package action

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"bimamba/edge/action/mqtt"
)

// DefaultTopic is where MQTT publishes, if MQTTOptions does not say.
const DefaultTopic = "bimamba"

// MQTTOptions of NewMQTT.
type MQTTOptions struct {
	URL            string      // mqtt://HOST:PORT or mqtts://HOST:PORT
	User, Password string      // none if empty
	TLS            *tls.Config // of mqtts; nil: the system's certificates
	Topic          string      // the beginning of all topics; DefaultTopic if empty
	Node           string      // this machine's name in topics; NodeName makes one of a host's name
	Board          *Board      // what Home Assistant is told of this machine; nil: nothing
	Log            *slog.Logger
}

// MQTT is a Target that publishes actions at TOPIC/NODE/action, QoS 1. At TOPIC/NODE/available it keeps "online" or, by its will, "offline".
type MQTT struct {
	client  *mqtt.Client
	base    string // TOPIC/NODE
	board   *announcer
	log     *slog.Logger
	started chan struct{} // closed when client is set
}

// NodeName makes a node's name of a host's.
func NodeName(host string) string {
	host, _, _ = strings.Cut(host, ".")
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, host)
	if name = name[:min(len(name), maxNode)]; name == "" {
		return "board"
	}
	return name
}

const maxNode = 64

// Check says what is wrong with options, as NewMQTT does. It connects to nothing.
func (opt MQTTOptions) Check() error {
	_, o, err := opt.prepare()
	if err == nil {
		err = o.Check()
	}
	return err
}

// prepare makes a target without a client, and the client's options.
func (opt MQTTOptions) prepare() (*MQTT, mqtt.Options, error) {
	var none mqtt.Options
	if opt.Topic == "" {
		opt.Topic = DefaultTopic
	}
	if opt.Node == "" || NodeName(opt.Node) != opt.Node {
		return nil, none, fmt.Errorf("node %.80q: 1 to %d of a-z, A-Z, 0-9, underscore and hyphen", opt.Node, maxNode)
	}
	if strings.HasPrefix(opt.Topic, "$") || strings.HasPrefix(opt.Topic, "/") || strings.HasSuffix(opt.Topic, "/") || len(opt.Topic) > 256 {
		return nil, none, fmt.Errorf("topic %.80q: at most 256 bytes, with no slash at its ends and no $ in front", opt.Topic)
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	t := &MQTT{base: opt.Topic + "/" + opt.Node, log: opt.Log, started: make(chan struct{})}
	if opt.Board != nil {
		var err error
		if t.board, err = newAnnouncer(*opt.Board, opt.Node, t.base); err != nil {
			return nil, none, err
		}
	}
	return t, mqtt.Options{
		URL: opt.URL, User: opt.User, Password: opt.Password, TLS: opt.TLS, Log: opt.Log,
		Will: &mqtt.Message{Topic: t.base + "/available", Payload: []byte("offline"), QoS: 1, Retain: true}, Connected: t.connected,
	}, nil
}

// NewMQTT starts to connect. An error is about the options.
func NewMQTT(opt MQTTOptions) (*MQTT, error) {
	t, o, err := opt.prepare()
	if err != nil {
		return nil, err
	}
	if t.client, err = mqtt.New(o); err != nil {
		return nil, err
	}
	close(t.started)
	return t, nil
}

// Address is the broker's, HOST:PORT.
func (t *MQTT) Address() string { return t.client.Address() }

// connected runs with each connection.
func (t *MQTT) connected(ctx context.Context, c *mqtt.Client) {
	<-t.started
	if err := t.available(ctx, "online"); err != nil {
		if ctx.Err() == nil {
			t.log.Warn("MQTT: availability", "error", err.Error())
		}
		return
	}
	if t.board != nil {
		if err := t.board.run(ctx, c); err != nil && ctx.Err() == nil {
			t.log.Warn("MQTT: what Home Assistant is told", "error", err.Error())
		}
	}
}

func (t *MQTT) available(ctx context.Context, payload string) error {
	return t.client.Publish(ctx, mqtt.Message{Topic: t.base + "/available", Payload: []byte(payload), QoS: 1, Retain: true})
}

// Send is of Target: the broker has acknowledged the action.
func (t *MQTT) Send(ctx context.Context, m *Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	err = t.client.Publish(ctx, mqtt.Message{Topic: t.base + "/action", Payload: b, QoS: 1})
	if away := (*mqtt.Error)(nil); errors.As(err, &away) {
		return &Away{Err: fmt.Errorf("MQTT broker %s: %w", t.client.Address(), err)}
	}
	return err
}

// Close says that the node is offline, if there is a connection, and ends it.
func (t *MQTT) Close() {
	if t.client.State() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		t.available(ctx, "offline")
	}
	t.client.Close()
}
