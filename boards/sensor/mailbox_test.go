package sensor

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

// fakeMailbox answers as a firmware does.
type fakeMailbox struct {
	narrow  bool              // passes on commands only, as /dev/vcio_gencmd
	texts   map[string]string // answers to commands
	words   [3]uint32         // throttled, m°C, Hz
	status  uint32
	spoil   func(msg []uint32)
	cleared bool // a request would have cleared the bits since boot
	closed  int
}

func (f *fakeMailbox) Close() error { f.closed++; return nil }

func (f *fakeMailbox) Property(msg []uint32) error {
	if int(msg[0]) != 4*len(msg) || msg[1] != 0 || msg[len(msg)-1] != 0 {
		return errors.New("malformed")
	}
	msg[1] = f.status
	if f.status == 0 {
		return nil
	}
	for i := 2; msg[i] != 0; i += 3 + int(msg[i+1])/4 {
		tag, value := msg[i], msg[i+3:i+3+int(msg[i+1])/4]
		if f.narrow && tag != tagCommand {
			return syscall.EPERM
		}
		switch tag {
		case tagThrottled:
			f.cleared = f.cleared || value[0] != 0
			value[0] = f.words[0]
			msg[i+2] = answered | 4
		case tagTemperature:
			value[1] = f.words[1]
			msg[i+2] = answered | 8
		case tagClock:
			if value[0] == clockARM {
				value[1] = f.words[2]
			}
			msg[i+2] = answered | 8
		case tagCommand:
			b := make([]byte, 4*len(value))
			for j, w := range value {
				binary.LittleEndian.PutUint32(b[4*j:], w)
			}
			// word 0 of the buffer is the command's error, text follows
			what, _, _ := strings.Cut(string(b[4:]), "\x00")
			text, ok := f.texts[what]
			if !ok {
				text = `error=1 error_msg="Command not registered"`
			}
			clear(b)
			copy(b[4:], text)
			for j := range value {
				value[j] = binary.LittleEndian.Uint32(b[4*j:])
			}
			msg[i+2] = answered | uint32(len(text))
		}
	}
	if f.spoil != nil {
		f.spoil(msg)
	}
	return nil
}

func capture(t testing.TB) []byte {
	b, err := os.ReadFile("testdata/pmic_read_adc.txt")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pi5(t testing.TB) *fakeMailbox {
	return &fakeMailbox{
		status: statusDone, words: [3]uint32{0x50005, 61234, 2400000000},
		texts: map[string]string{
			"pmic_read_adc": string(capture(t)), "get_throttled": "throttled=0x50005", "measure_temp": "temp=61.2'C", "measure_clock arm": "frequency(0)=2400033792",
		},
	}
}

var raspberry = fstest.MapFS{"dev/vcio_gencmd": &fstest.MapFile{}}

// captureWatts is Σ V·A of the capture, summed up by another program.
const captureWatts = 7.239818798

func TestFirmware(t *testing.T) {
	for _, c := range []struct {
		name    string
		narrow  bool
		celsius float64
		hertz   float64
	}{{"tags", false, 61.234, 2400000000}, {"texts", true, 61.2, 2400033792}} {
		t.Run(c.name, func(t *testing.T) {
			m := pi5(t)
			m.narrow = c.narrow
			samples, _ := readAll(t, raspberry, Options{Mailbox: func() (Mailbox, error) { return m, nil }})
			s := samples["pi-firmware"]
			if s.Has != Throttle|Heat|Clock || s.Throttled != 0x50005 || s.Celsius != c.celsius || s.Hertz != c.hertz {
				t.Errorf("%+v", s)
			}
			if m.cleared {
				t.Error("the bits since boot are cleared")
			}
			s = samples["pi5-pmic"]
			if s.Has != Power|Supply || math.Abs(s.Watts-captureWatts) > 1e-8 || s.Volts != 5.09066 {
				t.Errorf("%+v", s)
			}
			if m.closed != 2 {
				t.Errorf("closed %d times", m.closed)
			}
		})
	}
}

func TestFirmwareFails(t *testing.T) {
	full := strings.Repeat("x", commandText)
	for _, c := range []struct {
		name   string
		change func(*fakeMailbox)
		reason string
	}{
		{"no answer", func(m *fakeMailbox) { m.status = 0 }, "did not answer"},
		{"malformed", func(m *fakeMailbox) { m.status = statusMalformed }, "malformed"},
		{"unknown status", func(m *fakeMailbox) { m.status = 7 }, "unknown status 0x7"},
		{"a Raspberry Pi 4", func(m *fakeMailbox) { delete(m.texts, "pmic_read_adc") }, "Command not registered"},
		{"cut off", func(m *fakeMailbox) { m.texts["pmic_read_adc"] = full }, "cut off"},
		{"empty", func(m *fakeMailbox) { m.texts["pmic_read_adc"] = "" }, "did not answer"},
		{"echo", func(m *fakeMailbox) { m.texts["pmic_read_adc"] = "pmic_read_adc" }, "did not answer"},
		{"error", func(m *fakeMailbox) { m.spoil = func(msg []uint32) { msg[5] = 1 } }, "error 1"},
		{"other tag", func(m *fakeMailbox) { m.spoil = func(msg []uint32) { msg[2] = 9 } }, "tag 0x9"},
	} {
		m := pi5(t)
		c.change(m)
		_, found := readAll(t, raspberry, Options{Mailbox: func() (Mailbox, error) { return m, nil }})
		if found[0].Sensor != nil || !strings.Contains(found[0].Reason, c.reason) {
			t.Errorf("%s: %+v", c.name, found[0])
		}
	}
	for _, c := range []struct {
		name   string
		change func(*fakeMailbox)
		reason string
	}{
		{"unknown bits", func(m *fakeMailbox) { m.words[0] = 0xffffffff }, "mean nothing"},
		{"no temperature", func(m *fakeMailbox) { m.words[1] = 0 }, "no temperature"},
		{"hot", func(m *fakeMailbox) { m.words[1] = 999999 }, "°C"},
		{"no clock", func(m *fakeMailbox) { m.words[2] = 0 }, "clock"},
		{"unanswered tag", func(m *fakeMailbox) { m.spoil = func(msg []uint32) { msg[8] = 8 } }, "did not answer tag 0x30006"},
		{"short tag", func(m *fakeMailbox) { m.spoil = func(msg []uint32) { msg[13] = answered | 4 } }, "4 bytes, not 8"},
		{"text of bits", func(m *fakeMailbox) { m.narrow = true; m.texts["get_throttled"] = "throttled=0x" }, "throttled="},
		{"text of a temperature", func(m *fakeMailbox) { m.narrow = true; m.texts["measure_temp"] = "temp=nan'C" }, "temp="},
		{"text of a clock", func(m *fakeMailbox) { m.narrow = true; m.texts["measure_clock arm"] = "frequency(48)=-1" }, "clock"},
	} {
		m := pi5(t)
		c.change(m)
		if s, err := newFirmware(m).Read(t.Context()); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %+v, %v", c.name, s, err)
		}
	}
}

func TestMailboxDevice(t *testing.T) {
	if _, err := os.Stat("/dev/vcio"); err == nil {
		t.Skip("this is a Raspberry Pi")
	}
	if m, err := OpenMailbox(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v", m, err)
	}
	if err := vcio(-1).Property(make([]uint32, 8)); err == nil || !strings.Contains(err.Error(), "8 words") {
		t.Error(err)
	}
	msg := make([]uint32, 8)
	msg[0] = 32
	if err := vcio(-1).Property(msg); err == nil { // under an emulator of programs it is another error than EBADF
		t.Error("a device that is not open answers")
	}
}

func TestThrottledString(t *testing.T) {
	for v, want := range map[Throttled]string{
		0: "not throttled", 0x50005: "now: under-voltage, throttled; since boot: under-voltage, throttled",
		0x80000: "since boot: soft temperature limit", 2: "now: frequency capped",
	} {
		if got := v.String(); got != want {
			t.Errorf("%#x: %q, not %q", uint32(v), got, want)
		}
	}
}

// The answer cut after any byte gives the same watts or none.
func TestPMICTruncated(t *testing.T) {
	text := capture(t)
	whole, volts, err := parsePMIC(text)
	if err != nil || math.Abs(whole-captureWatts) > 1e-8 || volts != 5.09066 {
		t.Fatal(whole, volts, err)
	}
	failed := 0
	for n := range text {
		watts, _, err := parsePMIC(text[:n])
		if err != nil {
			failed++
		} else if watts != whole {
			t.Errorf("%d bytes: %g W, not %g", n, watts, whole)
		}
	}
	if failed < len(text)*9/10 {
		t.Errorf("%d of %d were refused", failed, len(text))
	}
	// The order of lines means nothing.
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	slices.Reverse(lines)
	if watts, _, err := parsePMIC([]byte(strings.Join(lines, "\r\n"))); err != nil || math.Abs(watts-whole) > 1e-12 {
		t.Error(watts, err)
	}
}

func TestPMICHostile(t *testing.T) {
	text := string(capture(t))
	const amps = "6.22421000"
	for _, bad := range []string{"NaN", "inf", "-6.2", "+6.2", "1e999", "1e1", "0x6", "6.2.1", "", ".", "6,2", "101", strings.Repeat("9", 400), "1" + strings.Repeat("0", 29) + ".5", "6.2\x00"} {
		if watts, _, err := parsePMIC([]byte(strings.Replace(text, amps, bad, 1))); err == nil {
			t.Errorf("%q: %g W", bad, watts)
		}
	}
	zero := strings.NewReplacer("1", "0", "2", "0", "3", "0", "4", "0", "5", "0", "6", "0", "7", "0", "8", "0", "9", "0")
	var zeros, many strings.Builder
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, "=")
		zeros.WriteString(name + "=" + zero.Replace(value))
	}
	for i := range 1000 {
		many.WriteString(strings.Repeat("R", i+1) + "_A current(0)=1A\n")
	}
	for name, bad := range map[string]string{
		"all 0": zeros.String(), "many rails": many.String(), "twice": text + text, "nothing": "", "blank": "\n\n \n", "voltages only": "EXT5V_V volt(24)=5.0V\n",
		"no voltage": "VDD_CORE_A current(7)=6.2A\n", "unit": "VDD_CORE_A current(7)=6.2V\nVDD_CORE_V volt(15)=0.8V\n", "kind": "VDD_CORE_A volt(7)=6.2A\n",
		"no name": "_A current(7)=6.2A\n_V volt(1)=1V\n", "index": "B_A current(x)=6.2A\nB_V volt(1)=1V\n",
	} {
		if watts, _, err := parsePMIC([]byte(bad)); err == nil {
			t.Errorf("%s: %g W", name, watts)
		}
	}
}

func TestPMICAllocates(t *testing.T) {
	// The fake's own work allocates; what parses does not.
	text := capture(t)
	if n := testing.AllocsPerRun(100, func() { parsePMIC(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var c command
	m := &echoMailbox{text: text}
	if n := testing.AllocsPerRun(100, func() { c.request(m, "pmic_read_adc") }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// echoMailbox answers every command with the same text and allocates nothing.
type echoMailbox struct{ text []byte }

func (e *echoMailbox) Close() error { return nil }

func (e *echoMailbox) Property(msg []uint32) error {
	msg[1] = statusDone
	clear(msg[6:])
	for i, b := range e.text[:min(len(e.text), commandText-1)] {
		msg[6+i/4] |= uint32(b) << (8 * (i % 4))
	}
	return nil
}

func BenchmarkPMIC(b *testing.B) {
	p := newPMIC(&echoMailbox{text: capture(b)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzPMIC(f *testing.F) {
	text := capture(f)
	f.Add(text)
	f.Add(text[:500])
	f.Add([]byte("A_A current(0)=1A\nA_V volt(1)=1V\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := newPMIC(&echoMailbox{text: text}).Read(t.Context())
		if err == nil {
			check(t, "pmic", s)
			if s.Watts == 0 {
				t.Error("0 W")
			}
		}
	})
}

func FuzzFirmwareText(f *testing.F) {
	for _, s := range []string{"throttled=0x50005", "temp=42.8'C", "temp=-3.0'C", "frequency(48)=1500398464"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if v, err := parseThrottled(text); err == nil && v&^throttledMask != 0 {
			t.Error(v)
		}
		if v, err := parseTemperature(text); err == nil && !(v >= minCelsius && v <= maxCelsius) {
			t.Error(v)
		}
		if v, err := parseClock(text); err == nil && !(v > 0 && v <= maxHertz) {
			t.Error(v)
		}
	})
}

func FuzzMailbox(f *testing.F) {
	m := &firmware{m: &fakeMailbox{status: statusDone, words: [3]uint32{5, 50000, 1e9}}}
	if _, err := m.Read(context.Background()); err != nil {
		f.Fatal(err)
	}
	var b []byte
	for _, w := range m.msg {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		var msg [17]uint32
		for i := range min(len(b)/4, len(msg)) {
			msg[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		if s, err := parseTags(msg[:]); err == nil {
			s.Time = s.Time.AddDate(1, 0, 0)
			check(t, "tags", s)
		}
	})
}
