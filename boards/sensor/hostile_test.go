package sensor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Names, labels and kinds of any content find nothing or leave every reading as it is, and nothing of them that is no text goes on into logs and reports.
func TestNamesHostile(t *testing.T) {
	hostile := []string{
		"", "\n", "\x00\n", "\x1b[2J\n", "a\rb\n", "\xff\xfe\n", "\u202e\n", "two\nlines\n", "no end", strings.Repeat("x", 127) + "\n", strings.Repeat("x", 5000) + "\n", "../../etc\n", "%s%n\n", "NC\n",
	}
	printable := func(s string) bool {
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	}
	tried := 0
	for _, name := range trees {
		tree := fixture(t, name)
		whole, _ := readAll(t, tree, Options{})
		for path := range tree {
			base := filepath.Base(path)
			if base != "name" && base != "type" && base != "status" && base != "scope" && !strings.Contains(base, "label") && !strings.Contains(base, "rail_name") {
				continue
			}
			tried++
			for _, bad := range hostile {
				part, found := readAll(t, with(tree, path, bad), Options{})
				for _, f := range found {
					if !printable(f.Name) || !printable(f.Reason) || !printable(f.Mend) || f.Sensor != nil && !printable(f.Sensor.Info().Includes) {
						t.Errorf("%s with %s = %q: %q, %q", name, path, bad, f.Name, f.Reason)
					}
				}
				if strings.Contains(path, "ina3221") || base == "name" && name != "laptop.txt" || strings.Contains(base, "label") || strings.Contains(base, "rail_name") || base == "scope" {
					continue // what belongs together is another thing then: the sum of other rails, a chip of another name
				}
				for sensor, s := range part {
					if w, ok := whole[sensor]; ok && !same(s, w) && s.Has == w.Has {
						t.Errorf("%s with %s = %q: %s reads %+v, not %+v", name, path, bad, sensor, s, w)
					}
				}
			}
		}
	}
	if tried < 10 {
		t.Errorf("only %d files were tried", tried)
	}
}

// sayingBus fails with any text, as buses of other packages may.
type sayingBus struct{ rawBus }

var errSaid = errors.New("bus:\n\tSDA is low\r\n\x1b[31m\xff " + strings.Repeat("ü", 4000))

func (b *sayingBus) Tx(uint16, []byte, []byte) error { return errSaid }

// sayingMailbox does, too.
type sayingMailbox struct{ rawMailbox }

func (m *sayingMailbox) Property([]uint32) error { return errSaid }

// What a sensor returns as an error is one printable line that fits into a log.
func TestErrorsAreLines(t *testing.T) {
	inas, err := NewINA(&rawBus{[]byte{0x3e, 0xef}}, INA{Chip: "ina219", ShuntOhms: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	inas.(*ina).bus = &sayingBus{}
	_, start := NewINA(&sayingBus{}, INA{Chip: "ina219", ShuntOhms: 0.1})
	_, open := OpenMeter(Command{Args: []string{"/no\nsuch" + strings.Repeat("x", 2000)}})
	all := map[string]error{"a chip's start": start, "a meter's start": open}
	for name, s := range map[string]Sensor{
		"ina": inas, "pmic": newPMIC(&sayingMailbox{}), "firmware": newFirmware(&sayingMailbox{}),
		"meter": shell(t, `printf 'no\nmeter\n\033[2J' >&2; exit 3`, Command{}),
	} {
		_, all[name] = s.Read(t.Context())
		if all[name] == nil || name != "meter" && !errors.Is(all[name], errSaid) {
			t.Errorf("%s: %v", name, all[name])
		}
	}
	for name, err := range all {
		msg := err.Error()
		if len(msg) > maxError || !utf8.ValidString(msg) || strings.ContainsFunc(msg, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: %q", name, msg)
		}
	}
	if got := oneLine(errors.Join(errors.New("one"), errors.New("two"))).Error(); got != "one; two" {
		t.Errorf("%q", got)
	}
	if plain := errors.New("plain"); oneLine(plain) != plain {
		t.Error("an error that is a line is wrapped")
	}
}

// rawMailbox answers a command with any words.
type rawMailbox struct{ answer []byte }

func (m *rawMailbox) Close() error { return nil }

func (m *rawMailbox) Property(msg []uint32) error {
	for i := range min(len(m.answer)/4, len(msg)) {
		msg[i] = binary.LittleEndian.Uint32(m.answer[4*i:])
	}
	return nil
}

// FuzzCommand reads any message as a firmware's answer to a command: an answer is text that the firmware wrote, or an error.
func FuzzCommand(f *testing.F) {
	var c command
	m := &echoMailbox{text: []byte("throttled=0x50005")}
	if _, err := c.request(m, "get_throttled"); err != nil {
		f.Fatal(err)
	}
	var b []byte
	for _, w := range c.msg[:16] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	f.Add(b)
	f.Add(b[:24])
	f.Add(bytes.Repeat([]byte{0xff}, 4*commandWords))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var c command
		text, err := c.request(&rawMailbox{answer}, "get_throttled")
		if err == nil && (len(text) == 0 || len(text) >= commandText || bytes.IndexByte(text, 0) >= 0 || string(text) == "get_throttled") {
			t.Errorf("%q", text)
		}
		for _, s := range []Sensor{newPMIC(&rawMailbox{answer}), newFirmware(&rawMailbox{answer})} {
			if sample, err := s.Read(context.Background()); err == nil {
				check(t, s.Info().Name, sample)
			}
		}
	})
}

// FuzzCounter counts any readings at any times: the joules only rise, by no more than a board can take.
func FuzzCounter(f *testing.F) {
	f.Add(uint64(1000), []byte("\x00\x00\x03\x84\x00\x00\x00\x64"))
	f.Add(uint64(0), bytes.Repeat([]byte{0xff, 0, 0, 1}, 8))
	f.Fuzz(func(t *testing.T, wrap uint64, readings []byte) {
		k := counters{of: []counter{{unit: 1e-6, wrap: wrap}}}
		now := time.Now()
		var last Sample
		for len(readings) >= 4 {
			v := binary.BigEndian.Uint32(readings)
			readings = readings[4:]
			step := time.Duration(v%2000) * time.Millisecond
			now = now.Add(step)
			s := k.sample([]uint64{uint64(v) << (v % 29)}, now)
			check(t, "counter", s)
			if s.Joules < last.Joules || s.Joules-last.Joules > maxWatts*max(step.Seconds(), 1e-3)*1.001 || s.Has&Restart != 0 && s.Joules != last.Joules {
				t.Errorf("%+v after %+v in %v", s, last, step)
			}
			last = s
		}
	})
}

// rawBus answers with any bytes.
type rawBus struct{ bytes []byte }

func (b *rawBus) String() string                  { return "raw" }
func (b *rawBus) SetSpeed(physic.Frequency) error { return nil }

func (b *rawBus) Tx(_ uint16, _, r []byte) error {
	if len(b.bytes) < len(r) {
		return errors.New("the bus is stuck")
	}
	b.bytes = b.bytes[copy(r, b.bytes):]
	return nil
}

var _ i2c.Bus = (*rawBus)(nil)

// FuzzINA reads any registers.
func FuzzINA(f *testing.F) {
	f.Add(uint8(0), []byte{0x3e, 0xef, 0x27, 0xb2, 0x17, 0xe8, 0x3e, 0xef})
	f.Add(uint8(1), []byte{0x54, 0x49, 0x45, 0x27, 0x0f, 0xf0, 0x13, 0x4a, 0x45, 0x27})
	f.Add(uint8(2), []byte{0x54, 0x49, 0x65, 0x27, 0x25, 0x80, 0x02, 0x58, 0x65, 0x27})
	f.Fuzz(func(t *testing.T, chip uint8, registers []byte) {
		s, err := NewINA(&rawBus{registers}, INA{Chip: []string{"ina219", "ina226", "ina260"}[chip%3], ShuntOhms: 0.1})
		if err != nil {
			return
		}
		for range 8 {
			if sample, err := s.Read(context.Background()); err == nil {
				if check(t, "ina", sample); sample.Watts <= 0 {
					t.Errorf("%+v", sample)
				}
			}
		}
	})
}

// FuzzIntegrate sums up any samples, at times that jump: what comes out is finite, positive, and of no more time than there is.
func FuzzIntegrate(f *testing.F) {
	f.Add(true, []byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Add(false, bytes.Repeat([]byte{1, 0x80, 200}, 30))
	f.Fuzz(func(t *testing.T, monotonic bool, steps []byte) {
		now := time.Now()
		first := now
		if !monotonic {
			now = now.Round(0)
		}
		var samples []Sample
		for ; len(steps) >= 3; steps = steps[3:] {
			d := time.Duration(int8(steps[1])) * time.Duration(1+int(steps[2])%40) * 10 * time.Millisecond
			if monotonic && d < 0 {
				d = -d
			}
			now = now.Add(d)
			s := Sample{Time: now, Has: Quantity(steps[2]), Watts: float64(steps[0]) / 8, Joules: float64(steps[0]) * 3}
			if steps[0] == 255 {
				s.Watts, s.Joules = math.NaN(), math.Inf(1)
			}
			samples = append(samples, s)
		}
		for _, to := range []time.Time{{}, now, first.Add(3 * time.Second)} {
			e, err := Integrate(samples, time.Time{}, to, Info{Interval: 100 * time.Millisecond, Error: 0.05})
			if err != nil {
				if e != nil {
					t.Errorf("%+v beside %v", e, err)
				}
				continue
			}
			if !(e.Joules > 0 && e.Joules < 1e12) || !(e.Uncertainty >= 0 && e.Uncertainty < 1e12) || e.Covered <= 0 || e.Samples < MinSamples || monotonic && e.Covered > e.Window+200*time.Millisecond {
				t.Errorf("%+v", e)
			}
		}
	})
}
