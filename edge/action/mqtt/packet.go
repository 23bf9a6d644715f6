package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Types of packets (section 2.2.1).
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
	protocolLevel   = 4 // MQTT 3.1.1
	subscribeRefuse = 0x80
)

const (
	maxPacket = 256 << 10 // bytes of a packet behind its fixed header, either way; the format has 256 MB
	maxTopic  = 1024      // bytes of a topic or a filter; the format has 65,535
	firstBody = 4 << 10   // memory that a length alone is given
)

// packet is one as it came: its type, the four flags of its first byte, and what is behind the fixed header.
type packet struct {
	kind, flags byte
	body        []byte
}

// readPacket reads one. The length it claims takes no memory before the bytes are there.
func readPacket(r *bufio.Reader) (packet, error) {
	first, err := r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	n, err := readLength(r)
	if err != nil {
		return packet{}, unexpected(err)
	}
	if n > maxPacket {
		return packet{}, fmt.Errorf("a packet of type %d with %d bytes: at most %d are taken", first>>4, n, maxPacket)
	}
	body := make([]byte, 0, min(n, firstBody))
	for len(body) < n {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(2*cap(body), n)), body...)
		}
		m, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+m]
		if err != nil && len(body) < n {
			return packet{}, unexpected(err)
		}
	}
	return packet{first >> 4, first & 15, body}, nil
}

// readLength reads the remaining length (section 2.2.3).
func readLength(r io.ByteReader) (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(b&127) << shift
		if b < 128 {
			if b == 0 && shift > 0 {
				return 0, errors.New("a length with a needless byte")
			}
			return n, nil
		}
	}
	return 0, errors.New("a length of more than four bytes")
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// connack is the answer to CONNECT: nil if it was accepted.
func (p packet) connack() error {
	if p.kind != typeConnack || p.flags != 0 || len(p.body) != 2 || p.body[0]&^1 != 0 {
		return fmt.Errorf("no CONNACK but a packet of type %d with %d bytes: is it an MQTT 3.1.1 broker?", p.kind, len(p.body))
	}
	if code := p.body[1]; code != 0 {
		return refusal(code)
	}
	return nil
}

// A refusal is a return code of CONNACK other than 0 (section 3.2.2.3).
type refusal byte

func (r refusal) Error() string {
	switch r {
	case 1:
		return "the broker does not speak MQTT 3.1.1"
	case 2:
		return "the broker refuses the client's identifier"
	case 3:
		return "the broker says that it is not available"
	case 4, 5:
		return "the broker refuses user and password"
	}
	return fmt.Sprintf("the broker refuses the connection (code %d)", byte(r))
}

// publish is the message in a PUBLISH and, of QoS 1, its identifier.
func (p packet) publish() (m Message, id uint16, err error) {
	qos := p.flags >> 1 & 3
	if qos > 1 { // nothing was subscribed with more
		return m, 0, fmt.Errorf("a message of QoS %d, which was not asked for", qos)
	}
	topic, rest, err := readString(p.body)
	if err != nil {
		return m, 0, fmt.Errorf("a message's topic: %w", err)
	}
	if err := checkTopic(topic); err != nil {
		return m, 0, fmt.Errorf("a message's topic: %w", err)
	}
	if qos == 1 {
		if len(rest) < 2 {
			return m, 0, errors.New("a message of QoS 1 without an identifier")
		}
		if id = binary.BigEndian.Uint16(rest); id == 0 {
			return m, 0, errors.New("a message with the identifier 0")
		}
		rest = rest[2:]
	}
	return Message{Topic: topic, Payload: rest, QoS: qos, Retain: p.flags&1 != 0}, id, nil
}

// ack is the identifier in a PUBACK.
func (p packet) ack() (uint16, error) {
	if p.flags != 0 || len(p.body) != 2 {
		return 0, fmt.Errorf("a PUBACK of %d bytes", len(p.body))
	}
	return binary.BigEndian.Uint16(p.body), nil
}

// suback is the identifier in a SUBACK for one filter, and whether it was accepted.
func (p packet) suback() (id uint16, ok bool, err error) {
	if p.flags != 0 || len(p.body) != 3 || p.body[2] > 2 && p.body[2] != subscribeRefuse {
		return 0, false, fmt.Errorf("a SUBACK of %d bytes that is none for one filter", len(p.body))
	}
	return binary.BigEndian.Uint16(p.body), p.body[2] != subscribeRefuse, nil
}

// readString reads a string with its length in front (section 1.5.3).
func readString(b []byte) (s string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, errors.New("a string without a length")
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return "", nil, fmt.Errorf("a string of %d bytes in a packet with %d left", n, len(b))
	}
	return string(b[:n]), b[n:], nil
}

// checkTopic says why s cannot be a message's topic.
func checkTopic(s string) error {
	if err := checkString(s); err != nil {
		return err
	}
	if strings.ContainsAny(s, "+#") {
		return errors.New("+ and # stand for other topics and cannot be in one")
	}
	return nil
}

// checkFilter says why s cannot be a filter of topics (section 4.7.1).
func checkFilter(s string) error {
	if err := checkString(s); err != nil {
		return err
	}
	levels := strings.Split(s, "/")
	for i, l := range levels {
		if len(l) > 1 && strings.ContainsAny(l, "+#") || l == "#" && i < len(levels)-1 {
			return fmt.Errorf("level %d: + stands for a whole level, # for all that are left", i+1)
		}
	}
	return nil
}

func checkString(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > maxTopic:
		return fmt.Errorf("it has %d bytes, more than %d", len(s), maxTopic)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return errors.New("it is not UTF-8 without NUL")
	}
	return nil
}

// match tells whether a topic is one that a filter stands for.
func match(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") != strings.HasPrefix(filter, "$") {
		return false
	}
	for {
		f, fs, fmore := strings.Cut(filter, "/")
		t, ts, tmore := strings.Cut(topic, "/")
		switch {
		case f == "#":
			return true
		case f != "+" && f != t:
			return false
		case !tmore:
			return !fmore || fs == "#" // "a/#" is also "a"
		case !fmore:
			return false
		}
		filter, topic = fs, ts
	}
}

// appendPacket appends a packet whose body is in parts.
func appendPacket(b []byte, kind, flags byte, body ...[]byte) []byte {
	n := 0
	for _, p := range body {
		n += len(p)
	}
	b = append(b, kind<<4|flags)
	for n >= 128 {
		b = append(b, byte(n)|128)
		n >>= 7
	}
	b = append(b, byte(n))
	for _, p := range body {
		b = append(b, p...)
	}
	return b
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendConnect appends the first packet of a connection (section 3.1).
func appendConnect(b []byte, o *Options) []byte {
	flags := byte(1 << 1) // a clean session
	if o.User != "" {
		flags |= 1 << 7
		if o.Password != "" {
			flags |= 1 << 6
		}
	}
	if o.Will != nil {
		flags |= 1<<2 | o.Will.QoS<<3
		if o.Will.Retain {
			flags |= 1 << 5
		}
	}
	head := appendString(nil, "MQTT")
	head = append(head, protocolLevel, flags)
	head = binary.BigEndian.AppendUint16(head, uint16(o.KeepAlive.Seconds()))
	body := appendString(nil, o.ClientID)
	if o.Will != nil {
		body = appendString(body, o.Will.Topic)
		body = appendString(body, o.Will.Payload)
	}
	if o.User != "" {
		body = appendString(body, o.User)
		if o.Password != "" {
			body = appendString(body, o.Password)
		}
	}
	return appendPacket(b, typeConnect, 0, head, body)
}

// appendPublish appends a message; id counts with QoS 1.
func appendPublish(b []byte, m Message, id uint16) []byte {
	flags := m.QoS << 1
	if m.Retain {
		flags |= 1
	}
	head := appendString(nil, m.Topic)
	if m.QoS > 0 {
		head = binary.BigEndian.AppendUint16(head, id)
	}
	return appendPacket(b, typePublish, flags, head, m.Payload)
}

func appendPuback(b []byte, id uint16) []byte {
	return appendPacket(b, typePuback, 0, binary.BigEndian.AppendUint16(nil, id))
}

// appendSubscribe asks for one filter, QoS 1.
func appendSubscribe(b []byte, filter string, id uint16) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	return appendPacket(b, typeSubscribe, 2, append(appendString(body, filter), 1))
}
