package mqtt

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestGoldenPackets(t *testing.T) {
	will := &Message{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true}
	for _, tc := range []struct {
		name, want string
		got        []byte
	}{
		{"connect", "\x10\x0e\x00\x04MQTT\x04\x02\x00\x1e\x00\x02ab", appendConnect(nil, &Options{ClientID: "ab", KeepAlive: 30 * time.Second})},
		{
			"connect with all", "\x10\x1f\x00\x04MQTT\x04\xee\x01\x2c\x00\x02ab\x00\x01w\x00\x04gone\x00\x01u\x00\x03p\xc3\xa4",
			appendConnect(nil, &Options{ClientID: "ab", KeepAlive: 300 * time.Second, Will: will, User: "u", Password: "pä"}),
		},
		{"publish 0", "\x30\x06\x00\x03a/bx", appendPublish(nil, Message{Topic: "a/b", Payload: []byte("x")}, 0)},
		{"publish 1", "\x33\x08\x00\x03a/b\x01\x02x", appendPublish(nil, Message{Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true}, 258)},
		{"long publish", "\x30\xcb\x01\x00\x01a" + strings.Repeat("z", 200), appendPublish(nil, Message{Topic: "a", Payload: bytes.Repeat([]byte("z"), 200)}, 0)},
		{"puback", "\x40\x02\x00\x07", appendPuback(nil, 7)},
		{"subscribe", "\x82\x08\x00\x01\x00\x03a/#\x01", appendSubscribe(nil, "a/#", 1)},
		{"pingreq", "\xc0\x00", appendPacket(nil, typePingreq, 0)},
		{"disconnect", "\xe0\x00", appendPacket(nil, typeDisconnect, 0)},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

// parse is what a client makes of the first packet in b, as text.
func parse(r io.Reader) (string, error) {
	p, err := readPacket(bufio.NewReaderSize(r, 16))
	if err != nil {
		return "", err
	}
	var out string
	s := &session{waiting: map[uint16]chan error{1: make(chan error, 1)}, conn: nopConn{}}
	answer := s.waiting[1]
	if p.kind == typeConnack {
		return "connack", p.connack()
	}
	err = s.handle(p, func(m Message) { out = m.Topic + "=" + string(m.Payload) })
	select {
	case e := <-answer:
		out = "answered"
		if e != nil {
			out = e.Error()
		}
	default:
	}
	return out, err
}

func TestRead(t *testing.T) {
	for _, tc := range []struct{ name, in, want, err string }{
		{"connack", "\x20\x02\x00\x00", "connack", ""},
		{"connack of a session", "\x20\x02\x01\x00", "connack", ""},
		{"wrong password", "\x20\x02\x00\x04", "connack", "the broker refuses user and password"},
		{"not authorized", "\x20\x02\x00\x05", "connack", "the broker refuses user and password"},
		{"unknown code", "\x20\x02\x00\x09", "connack", "the broker refuses the connection (code 9)"},
		{"short connack", "\x20\x01\x00", "connack", "no CONNACK but a packet of type 2 with 1 bytes: is it an MQTT 3.1.1 broker?"},
		{"publish 0", "\x30\x06\x00\x03a/bx", "a/b=x", ""},
		{"empty message", "\x30\x03\x00\x01a", "a=", ""},
		{"publish 1", "\x3b\x08\x00\x03a/b\x01\x02x", "a/b=x", ""}, // DUP, retained
		{"publish 2", "\x34\x08\x00\x03a/b\x01\x02x", "", "a message of QoS 2, which was not asked for"},
		{"publish 3", "\x36\x08\x00\x03a/b\x01\x02x", "", "a message of QoS 3, which was not asked for"},
		{"identifier 0", "\x32\x07\x00\x03a/b\x00\x00", "", "a message with the identifier 0"},
		{"no identifier", "\x32\x06\x00\x03a/b\x00", "", "a message of QoS 1 without an identifier"},
		{"long topic", "\x30\x03\x00\x09a", "", "a message's topic: a string of 9 bytes in a packet with 1 left"},
		{"no topic", "\x30\x01\x00", "", "a message's topic: a string without a length"},
		{"empty topic", "\x30\x02\x00\x00", "", "a message's topic: it is empty"},
		{"wildcard", "\x30\x05\x00\x03a/#", "", "a message's topic: + and # stand for other topics and cannot be in one"},
		{"not UTF-8", "\x30\x03\x00\x01\xff", "", "a message's topic: it is not UTF-8 without NUL"},
		{"NUL", "\x30\x03\x00\x01\x00", "", "a message's topic: it is not UTF-8 without NUL"},
		{"puback", "\x40\x02\x00\x01", "answered", ""},
		{"puback of nobody's", "\x40\x02\x00\x09", "", ""},
		{"short puback", "\x40\x01\x00", "", "a PUBACK of 1 bytes"},
		{"suback", "\x90\x03\x00\x01\x01", "answered", ""},
		{"suback refused", "\x90\x03\x00\x01\x80", "the broker refuses the subscription", ""},
		{"suback odd", "\x90\x03\x00\x01\x03", "", "a SUBACK of 3 bytes that is none for one filter"},
		{"pingresp", "\xd0\x00", "", ""},
		{"pingresp odd", "\xd0\x01x", "", "a PINGRESP of 1 bytes"},
		{"a client's packet", "\xc0\x00", "", "a packet of type 12, which a broker does not send"},
		{"long length", "\x30\x80\x80\x80\x80\x01", "", "a length of more than four bytes"},
		{"padded length", "\x30\x80\x00", "", "a length with a needless byte"},
		{"too long", "\x30\x81\x80\x10", "", "a packet of type 3 with 262145 bytes: at most 262144 are taken"},
		{"cut", "\x30\x06\x00\x03", "", "unexpected EOF"},
		{"cut length", "\x30", "", "unexpected EOF"},
		{"nothing", "", "", "EOF"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat(" ", 80), "", "a packet of type 4"},
	} {
		for _, r := range []io.Reader{strings.NewReader(tc.in), iotest.OneByteReader(strings.NewReader(tc.in))} {
			got, err := parse(r)
			if got != tc.want && err == nil || (err == nil) != (tc.err == "") || err != nil && !strings.HasPrefix(err.Error(), tc.err) && tc.name != "HTTP" {
				t.Errorf("%s: %q, %v; want %q, %q", tc.name, got, err, tc.want, tc.err)
			}
		}
	}
}

// TestClaimedLength sees that a length takes no memory before the bytes are there.
func TestClaimedLength(t *testing.T) {
	n := testing.AllocsPerRun(10, func() {
		readPacket(bufio.NewReaderSize(strings.NewReader("\x30\x80\x80\x10abc"), 16))
	})
	if n > 5 { // reader, its buffer, the first 4 KiB
		t.Errorf("%v allocations for three bytes", n)
	}
	body := bytes.Repeat([]byte{7}, maxPacket)
	p, err := readPacket(bufio.NewReader(bytes.NewReader(appendPacket(nil, typePublish, 0, body))))
	if err != nil || !bytes.Equal(p.body, body) {
		t.Errorf("the longest packet: %d bytes, %v", len(p.body), err)
	}
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/b", "a/b/c", false}, {"a/b/c", "a/b", false},
		{"a/+", "a/b", true}, {"a/+", "a/", true}, {"a/+", "a", false}, {"a/+", "a/b/c", false}, {"+/b", "a/b", true}, {"+", "a", true}, {"+", "/a", false}, {"+/+", "/a", true},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"#", "a/b", true}, {"a/b/#", "a", false}, {"a/+/#", "a", false}, {"a/+/#", "a/b", true},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
	} {
		if got := match(tc.filter, tc.topic); got != tc.want {
			t.Errorf("%s stands for %s: %v", tc.filter, tc.topic, got)
		}
	}
	for filter, ok := range map[string]bool{"a": true, "a/#": true, "#": true, "+/a/+": true, "a+": false, "a/b#": false, "#/a": false, "": false, strings.Repeat("a", 1025): false} {
		if err := checkFilter(filter); (err == nil) != ok {
			t.Errorf("%.20s: %v", filter, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		opt       Options
		want, err string
	}{
		{Options{URL: "mqtt://broker"}, "broker:1883", ""},
		{Options{URL: "mqtt://[::1]:77/"}, "[::1]:77", ""},
		{Options{URL: "mqtts://broker"}, "broker:8883", ""},
		{Options{URL: "broker:1883"}, "", "the broker's address is mqtt://HOST:PORT or mqtts://HOST:PORT"},
		{Options{URL: "http://broker"}, "", "the broker's address is mqtt://HOST:PORT or mqtts://HOST:PORT"},
		{Options{URL: "mqtt://a:secret@broker"}, "", "the broker's address holds a user or a password: give them on their own"},
		{Options{URL: "mqtt://b", Password: "x"}, "", "a password without a user"},
		{Options{URL: "mqtt://b", User: "a\x00"}, "", "user: it is not UTF-8 without NUL"},
		{Options{URL: "mqtt://b", KeepAlive: time.Millisecond}, "", "keep-alive 1ms: 1 s to 18 h"},
		{Options{URL: "mqtt://b", Will: &Message{Topic: "a/#"}}, "", `will: topic "a/#": + and # stand for other topics and cannot be in one`},
	} {
		got, err := tc.opt.parse()
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%+v: %q, %v", tc.opt, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	for _, m := range []Message{{Topic: ""}, {Topic: "a", QoS: 2}, {Topic: "a", Payload: make([]byte, maxPacket)}} {
		if m.check() == nil {
			t.Errorf("%q, QoS %d, %d bytes", m.Topic, m.QoS, len(m.Payload))
		}
	}
}

func FuzzReadPacket(f *testing.F) {
	for _, s := range []string{
		"\x20\x02\x00\x00", "\x30\x06\x00\x03a/bx", "\x32\x08\x00\x03a/b\x01\x02x", "\x40\x02\x00\x01", "\x90\x03\x00\x01\x80", "\xd0\x00", "\x30\xff\xff\xff\x7f", "\x30\x80\x80\x10abc",
		"\x30\x03\x00\x01\xff\x40\x02\x00\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err1 := parse(bytes.NewReader(b))
		split, err2 := parse(iotest.OneByteReader(bytes.NewReader(b)))
		if whole != split || (err1 == nil) != (err2 == nil) {
			t.Errorf("as a whole %q, %v; byte by byte %q, %v", whole, err1, split, err2)
		}
		p, err := readPacket(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := readPacket(bufio.NewReader(bytes.NewReader(appendPacket(nil, p.kind, p.flags, p.body))))
		if err != nil || again.kind != p.kind || again.flags != p.flags || !bytes.Equal(again.body, p.body) {
			t.Errorf("%v became %v, %v", p, again, err)
		}
		if p.kind == typePublish && p.flags&8 == 0 {
			if m, id, err := p.publish(); err == nil && !bytes.Equal(appendPublish(nil, m, id), appendPacket(nil, p.kind, p.flags, p.body)) {
				t.Errorf("the message %+v is written in another way than %q", m, b)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	base := errors.New("why")
	for _, tc := range []struct {
		err  *Error
		want string
	}{
		{&Error{Err: base}, "the broker is not reached: why"},
		{&Error{Sent: true, Err: base}, "the broker has not acknowledged the message: why"},
	} {
		if tc.err.Error() != tc.want || !errors.Is(tc.err, base) {
			t.Errorf("%v, want %s", tc.err, tc.want)
		}
	}
}
