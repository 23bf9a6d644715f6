package hass

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"bimamba/edge/home"
	"bimamba/internal/hass/hasstest"
)

func fake(t *testing.T) *hasstest.Server {
	t.Helper()
	b, err := os.ReadFile("testdata/house.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := hasstest.New(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, address, token string) (*Client, error) {
	t.Helper()
	u, err := ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(t.Context(), u, token)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// house is what testdata/house.json is read as.
var house = &home.Home{
	Language: "en-GB",
	Floors:   []home.Floor{{ID: "ground", Name: "Ground floor"}, {ID: "upstairs", Name: "Upstairs", Aliases: []string{"First Floor"}}},
	Areas: []home.Area{
		{ID: "bedroom", Name: "Bedroom", Floor: "upstairs"}, {ID: "living_room", Name: "Living room", Aliases: []string{"lounge"}, Floor: "ground"}, {ID: "shed", Name: "Shed"},
	},
	Entities: []home.Entity{
		{ID: "cover.blinds", Name: "Bedroom blinds", Aliases: []string{"shades"}, Area: "bedroom", DeviceClass: "blind"},
		{ID: "light.lamp", Name: "Floor lamp", Aliases: []string{"reading lamp"}, Area: "living_room"},
		{ID: "lock.front", Name: "Front door"},
		{ID: "sensor.temperature", Name: "Bedroom temperature", Area: "bedroom", DeviceClass: "temperature", Unit: "°C"},
		{ID: "switch.fresh", Name: "Coffee machine"},
		{ID: "todo.shopping_list", Name: "Shopping list"},
	},
}

func TestHome(t *testing.T) {
	s := fake(t)
	c, err := connect(t, s.URL(), hasstest.Token)
	if err != nil {
		t.Fatal(err)
	}
	if c.Version() != "2026.8.1" {
		t.Errorf("version %s", c.Version())
	}
	h, notes, err := c.Home(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := Compare(house, h); d.String() != "nothing changed" {
		got, _ := h.Marshal()
		t.Errorf("%s: %+v\n%s", d, d, got)
	}
	want := []string{"entity light.nameless is left out: it has no name", `an ID of Home Assistant's is none, and its entity is left out: "sensor.Odd One"`}
	if !slices.Equal(notes, want) {
		t.Errorf("notes %q; want %q", notes, want)
	}
}

// TestLarge: a house of 10,000 entities comes over in messages of megabytes.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("megabytes of JSON take long where races are looked for")
	}
	const n = 10_000
	var states, exposed, entries []string
	for i := range n {
		id := fmt.Sprintf("light.lamp_%d", i)
		states = append(states, fmt.Sprintf(`{"entity_id":%q,"state":"off","attributes":{"friendly_name":"Lamp %d","note":%q}}`, id, i, strings.Repeat("x", 100)))
		exposed = append(exposed, fmt.Sprintf(`%q:{"conversation":true}`, id))
		entries = append(entries, fmt.Sprintf(`%q:{"entity_id":%q,"aliases":["light number %d"],"area_id":"bedroom"}`, id, id, i))
	}
	s := fake(t)
	s.Set("get_states", "["+strings.Join(states, ",")+"]")
	s.Set("homeassistant/expose_entity/list", `{"exposed_entities":{`+strings.Join(exposed, ",")+`}}`)
	s.Set("config/entity_registry/get_entries", "{"+strings.Join(entries, ",")+"}")
	c, err := connect(t, s.URL(), hasstest.Token)
	if err != nil {
		t.Fatal(err)
	}
	h, notes, err := c.Home(t.Context())
	if err != nil || len(h.Entities) != n || len(notes) != 0 {
		t.Fatalf("%d entities, %d notes, %v", len(h.Entities), len(notes), err)
	}
	if _, err := h.Marshal(); err != nil {
		t.Error(err)
	}
}

// TestNobodyExposes: without an own decision and with expose_new off nothing is exposed.
func TestNobodyExposes(t *testing.T) {
	s := fake(t)
	s.Set("homeassistant/expose_new_entities/get", `{"expose_new":false}`)
	s.Set("homeassistant/expose_entity/list", `{"exposed_entities":{}}`)
	c, err := connect(t, s.URL(), hasstest.Token)
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := c.Home(t.Context())
	if err != nil || len(h.Entities) != 0 || len(h.Areas) != 3 {
		t.Errorf("%d entities, %d areas, %v", len(h.Entities), len(h.Areas), err)
	}
	if slices.Contains(s.Commands, "config/entity_registry/get_entries") {
		t.Error("entries of no entities were asked for")
	}
}

func TestRefusals(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	echo := httptest.NewServer(websocket.Server{Handler: func(c *websocket.Conn) { c.Write([]byte(`{"hello":1}`)) }})
	defer echo.Close()
	old := fake(t)
	old.Version = "2023.12.4"
	for _, c := range []struct{ name, url, token, want string }{
		{"nobody", "ws://" + closed.Addr().String(), "t", "is not reachable: "},
		{"a web server", web.URL, "t", "there is no Home Assistant at ws://"},
		{"something else", echo.URL, "t", "does not greet as Home Assistant does"},
		{"old", old.URL(), hasstest.Token, "is version 2023.12.4; the oldest that can be read is 2024.4"},
		{"wrong token", fake(t).URL(), "t", "does not take the token"},
		{"no tls", strings.Replace(web.URL, "http", "wss", 1), "t", "is not reachable: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := connect(t, c.url, c.token); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %s", err, c.want)
			}
		})
	}
	if _, err := connect(t, fake(t).URL(), "t"); !errors.Is(err, ErrToken) {
		t.Errorf("%v is not ErrToken", err)
	}
}

func TestCommandRefused(t *testing.T) {
	for _, c := range []struct{ code, want string }{
		{"unauthorized", "Home Assistant refuses homeassistant/expose_entity/list: the token's user is no administrator; make the token as one"},
		{"unknown_error", "Home Assistant refuses homeassistant/expose_entity/list: Unauthorized (unknown_error)"},
	} {
		s := fake(t)
		s.Refuse["homeassistant/expose_entity/list"] = c.code
		conn, err := connect(t, s.URL(), hasstest.Token)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Home(t.Context()); err == nil || err.Error() != c.want {
			t.Errorf("%v; want %s", err, c.want)
		}
	}
}

func TestStarting(t *testing.T) {
	s := fake(t)
	s.Set("get_config", `{"language":"en","state":"STARTING"}`)
	c, err := connect(t, s.URL(), hasstest.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Home(t.Context()); !errors.Is(err, ErrStarting) {
		t.Error(err)
	}
}

// TestFragments: a proxy may cut messages into frames, and pings may come between them.
func TestFragments(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(key[:]))
		frame := func(head byte, text string) {
			buf.WriteByte(head)
			buf.WriteByte(byte(len(text)))
			buf.WriteString(text)
			buf.Flush()
		}
		const text, ping, more, last = 0x01, 0x89, 0x00, 0x80
		frame(text, `{"type":"`)
		frame(ping, "are you there?")
		frame(more, `auth_r`)
		frame(last, `equired","ha_version":"2026.1.0"}`)
		head := make([]byte, 6) // of the pong: the client masks
		if _, err := io.ReadFull(buf, head); err != nil || head[0] != 0x8a || int(head[1]&0x7f) != len("are you there?") {
			return
		}
		frame(0x81, `{"type":"auth_ok"}`)
		io.Copy(io.Discard, buf)
	}))
	defer server.Close()
	c, err := connect(t, server.URL, "t")
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // or the server waits for more
}

func TestWait(t *testing.T) {
	s := fake(t)
	c, err := connect(t, s.URL(), hasstest.Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	const quiet = 20 * time.Millisecond
	for range 3 {
		if s.Fire("entity_registry_updated") != 1 {
			t.Fatal("nobody has subscribed")
		}
	}
	if err := c.Wait(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	// What came together is one change, and there is no other.
	short, cancel := context.WithTimeout(t.Context(), 2*quiet)
	defer cancel()
	if c.Wait(short, quiet) == nil {
		t.Error("a change came from nowhere")
	}
	if s.Fire("state_changed") != 0 {
		t.Error("there is a subscription to every state")
	}
	// An event during a call is not lost.
	s.Fire("area_registry_updated")
	if _, _, err := c.Home(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	s.Drop()
	if err := c.Wait(t.Context(), quiet); err == nil || !strings.Contains(err.Error(), "Home Assistant") {
		t.Errorf("the connection has ended: %v", err)
	}
}

func TestTooLong(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		b.Write(make([]byte, 100))
		b.Close()
	}()
	l := &limited{Conn: a}
	l.left.Store(60)
	if got, err := io.ReadAll(l); len(got) != 60 || !errors.Is(err, errTooLong) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ws://ha:8123", "ws://ha:8123/api/websocket"},
		{"http://ha:8123/", "ws://ha:8123/api/websocket"},
		{"https://ha.example.org", "wss://ha.example.org/api/websocket"},
		{"ws://supervisor/core/websocket", "ws://supervisor/core/websocket"},
		{"ws://[fe80::1]:8123", "ws://[fe80::1]:8123/api/websocket"},
		{"ha:8123", ""}, {"", ""}, {"tcp://ha:8123", ""}, {"ws://user:secret@ha", ""}, {"ws://ha?token=x", ""}, {"ws://", ""},
	} {
		u, err := ParseURL(c.in)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s is taken as %s", c.in, u)
		case c.want != "" && (err != nil || u.String() != c.want):
			t.Errorf("%s: %v, %v; want %s", c.in, u, err, c.want)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		v    string
		want bool
	}{{"2024.4.0", false}, {"2024.4", false}, {"2024.3.9", true}, {"2023.12.1", true}, {"2026.1.0b3", false}, {"2024.10.0.dev1", false}, {"0.110.2", true}, {"dev", false}} {
		if got := older(c.v, floorsSince); got != c.want {
			t.Errorf("%s: %v", c.v, got)
		}
	}
}

// FuzzHouse: whatever the registries hold, what comes of them is a home, or an error.
func FuzzHouse(f *testing.F) {
	b, err := os.ReadFile("testdata/house.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"get_states":[{"entity_id":"light.a","attributes":[]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var answers map[string]json.RawMessage
		if json.Unmarshal(b, &answers) != nil {
			return
		}
		var r registries
		for command, result := range map[string]any{
			"get_config": &r.config, "config/floor_registry/list": &r.floors, "config/area_registry/list": &r.areas, "config/device_registry/list": &r.devices,
			"get_states": &r.states, "homeassistant/expose_entity/list": &r.exposed, "config/entity_registry/get_entries": &r.entities,
		} {
			if a := answers[command]; len(a) > 0 && json.Unmarshal(a, result) != nil {
				return
			}
		}
		r.exposeNew = len(b)%2 == 0
		h, _ := r.home()
		if err := h.Validate(); err != nil && len(b) < 1<<16 {
			t.Errorf("%v", err)
		}
	})
}
