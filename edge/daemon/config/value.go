package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bimamba/edge/model"
)

// set gives the option's field the values' meaning: one value, or any number for a list.
func (o *option) set(c *Config, values []string) error {
	switch p := o.field(c).(type) {
	case *[]Address:
		return setList(p, values, ParseAddress)
	case *[]Persona:
		return setList(p, values, parsePersona)
	case *[]string:
		return setList(p, values, parseOrigin)
	case *[]Key:
		return setList(p, values, parseKey)
	default:
		return o.setOne(p, values[0])
	}
}

func setList[T any](p *[]T, values []string, parse func(string) (T, error)) error {
	var list []T
	for _, s := range values {
		v, err := parse(s)
		if err != nil {
			if len(values) > 1 {
				err = fmt.Errorf("%q: %w", s, err)
			}
			return err
		}
		list = append(list, v)
	}
	*p = list
	return nil
}

func (o *option) setOne(p any, s string) (err error) {
	if o.zero != "" && s == o.zero {
		s = "0"
	}
	switch p := p.(type) {
	case *string:
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("has a control character in it")
		}
		*p = s
	case *int:
		if *p, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("is no whole number%s", o.orZero())
		}
	case *float64:
		if *p, err = strconv.ParseFloat(s, 64); err != nil {
			return fmt.Errorf("is no number%s", o.orZero())
		}
	case *bool:
		if *p, err = parseBool(s); err != nil {
			return err
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("is no time; write a number and ms, s, m or h, as 90s or 1m30s%s", o.orZero())
		}
	case *Bytes:
		*p, err = ParseBytes(s)
		return err
	case *slog.Level:
		if err := oneOf(s, logLevels); err != nil {
			return err
		}
		return p.UnmarshalText([]byte(s))
	case *model.Precision:
		*p, err = model.ParsePrecision(s)
		return err
	case *model.State:
		*p, err = model.ParseState(s)
		return err
	default:
		panic(fmt.Sprintf("config: option %s has a field of type %T", o.name, p))
	}
	return nil
}

// texts is the field's values as set takes them.
func (o *option) texts(c *Config) []string {
	switch p := o.field(c).(type) {
	case *[]Address:
		return list(*p, Address.String)
	case *[]Persona:
		return list(*p, Persona.String)
	case *[]string:
		return *p
	case *[]Key:
		return list(*p, Key.String)
	case *string:
		return []string{*p}
	case *int:
		if *p == 0 && o.zero != "" {
			return []string{o.zero}
		}
		return []string{strconv.Itoa(*p)}
	case *float64:
		if *p == 0 && o.zero != "" {
			return []string{o.zero}
		}
		return []string{strconv.FormatFloat(*p, 'g', -1, 64)}
	case *bool:
		return []string{strconv.FormatBool(*p)}
	case *time.Duration:
		if *p == 0 && o.zero != "" {
			return []string{o.zero}
		}
		return []string{duration(*p)}
	case *Bytes:
		if *p == 0 && o.zero != "" {
			return []string{o.zero}
		}
		return []string{p.String()}
	case *slog.Level:
		return []string{strings.ToLower(p.String())}
	case fmt.Stringer:
		return []string{p.String()}
	default:
		panic(fmt.Sprintf("config: option %s has a field of type %T", o.name, p))
	}
}

func list[T any](values []T, text func(T) string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

// check checks the field's range or choices.
func (o *option) check(c *Config) error {
	var v float64
	switch p := o.field(c).(type) {
	case *int:
		v = float64(*p)
	case *float64:
		v = *p
	case *time.Duration:
		v = p.Seconds()
	case *Bytes:
		v = float64(*p)
	case *string:
		if o.choices != nil {
			return oneOf(*p, o.choices)
		}
		return nil
	default:
		return nil
	}
	if v == 0 && o.zero != "" || v >= o.min && v <= o.max {
		return nil
	}
	return fmt.Errorf("is not %s%s", o.span(c), o.orZero())
}

// span is the option's range as a text.
func (o *option) span(c *Config) string {
	text := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	switch o.field(c).(type) {
	case *time.Duration:
		text = func(v float64) string { return duration(time.Duration(v * float64(time.Second))) }
	case *Bytes:
		text = func(v float64) string { return Bytes(v).String() }
	}
	return "within " + text(o.min) + " and " + text(o.max)
}

func (o *option) orZero() string {
	if o.zero == "" {
		return ""
	}
	return ", and not " + o.zero
}

func oneOf(s string, choices []string) error {
	for _, c := range choices {
		if s == c {
			return nil
		}
	}
	return fmt.Errorf("is not %s or %s", strings.Join(choices[:len(choices)-1], ", "), choices[len(choices)-1])
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("is not true or false")
}

// parseOrigin checks an origin of a web page (RFC 6454): scheme, host and port, or * for any.
func parseOrigin(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return "", errors.New("is no origin; write scheme and host as a browser sends them, as https://home.example or http://localhost:3000, or *")
	}
	return s, nil
}

// duration is d without zero parts at its end: 5m, not 5m0s.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
