package sensor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// pmic sums up the rails of the Raspberry Pi 5's power chip.
type pmic struct {
	m       Mailbox
	command command
}

func newPMIC(m Mailbox) *pmic { return &pmic{m: m} }

func (p *pmic) Info() Info {
	return Info{
		Name: "pi5-pmic", Quantities: Power | Supply,
		Interval: 100 * time.Millisecond, // one reading takes the firmware about 23 ms
		Error:    0.05, ErrorSource: "assumed: the converter in the power chip has no published accuracy",
		Includes: "the rails behind the Raspberry Pi 5's power chip; without what USB, PCIe and fans take at 5 V, and without the chip's own losses",
	}
}

func (p *pmic) Close() error { return p.m.Close() }

func (p *pmic) Read(context.Context) (Sample, error) {
	start := time.Now()
	text, err := p.command.request(p.m, "pmic_read_adc")
	if err != nil {
		return Sample{}, noReading("pi5-pmic", err)
	}
	s := Sample{Time: middle(start)}
	watts, volts, err := parsePMIC(text)
	if err == nil {
		err = s.power(watts)
	}
	if err != nil {
		return Sample{}, noReading("pi5-pmic", err)
	}
	if volts > 0 {
		s.Has |= Supply
		s.Volts = volts
	}
	return s, nil
}

// rail is a current and a voltage of the same name.
type rail struct {
	name        []byte
	amps, volts float64
	has         [2]bool // current, voltage
}

const (
	maxRails = 32  // a Raspberry Pi 5 has 14
	maxRail  = 100 // amperes and volts
)

// parsePMIC sums up volts times amperes of the answer to pmic_read_adc, one value a line, such as
//
//	VDD_CORE_A current(7)=6.22421000A
//	VDD_CORE_V volt(15)=0.86173300V
//
// The numbers in parentheses tell nothing: rails are paired by name. A current without a voltage means that the text was cut off; a voltage
// without a current is one of the inputs (EXT5V, BATT). volts is EXT5V, or 0 where it is not there.
func parsePMIC(text []byte) (watts, volts float64, err error) {
	var rails [maxRails]rail
	n, at := 0, 0
	for at < len(text) {
		line := text[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		at += len(line) + 1
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		name, kind, v, ok := parseRail(line)
		if !ok {
			return 0, 0, fmt.Errorf("%s at byte %d is not NAME_A current(N)=...A or NAME_V volt(N)=...V", quoted(line), at-len(line)-1)
		}
		i := 0
		for i < n && !bytes.Equal(rails[i].name, name) {
			i++
		}
		if i == n {
			if n == maxRails {
				return 0, 0, fmt.Errorf("more than %d rails", maxRails)
			}
			rails[n].name = name
			n++
		}
		r := &rails[i]
		if r.has[kind] {
			return 0, 0, fmt.Errorf("%s is there twice", quoted(line))
		}
		r.has[kind] = true
		if kind == 0 {
			r.amps = v
		} else {
			r.volts = v
		}
	}
	pairs := 0
	for _, r := range rails[:n] {
		switch {
		case r.has[0] && !r.has[1]:
			return 0, 0, fmt.Errorf("rail %s has a current and no voltage: the answer is cut off", r.name)
		case r.has[0]:
			pairs++
			watts += r.amps * r.volts
		case bytes.Equal(r.name, []byte("EXT5V")):
			volts = r.volts
		}
	}
	if pairs == 0 {
		return 0, 0, errors.New("no rail has a current")
	}
	if watts == 0 { // single rails are 0 at idle, but never all
		return 0, 0, errors.New("all rails are 0: the firmware does not measure")
	}
	return watts, volts, nil
}

// parseRail parses one line. kind is 0 for a current, 1 for a voltage.
func parseRail(line []byte) (name []byte, kind int, v float64, ok bool) {
	name, rest, _ := bytes.Cut(line, []byte{' '})
	rest = bytes.TrimLeft(rest, " ")
	suffix, word, unit := "_A", "current(", "A"
	if bytes.HasSuffix(name, []byte("_V")) {
		kind, suffix, word, unit = 1, "_V", "volt(", "V"
	}
	name, isNamed := bytes.CutSuffix(name, []byte(suffix))
	rest, isWord := bytes.CutPrefix(rest, []byte(word))
	index, number, isIndex := bytes.Cut(rest, []byte(")="))
	number, isUnit := bytes.CutSuffix(number, []byte(unit))
	i, isInt := integer(index)
	v, isNumber := decimal(number)
	ok = isNamed && len(name) > 0 && isWord && isIndex && isInt && i >= 0 && isUnit && isNumber && v <= maxRail
	return name, kind, v, ok
}
