package config

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		text  string
		want  Address
		local bool
		err   string
	}{
		{"127.0.0.1:11434", Address{"tcp", "127.0.0.1:11434"}, true, ""},
		{"[::1]:11434", Address{"tcp", "[::1]:11434"}, true, ""},
		{"[::ffff:127.0.0.1]:1", Address{"tcp", "[::ffff:127.0.0.1]:1"}, true, ""},
		{"[fe80::1%eth0]:1", Address{"tcp", "[fe80::1%eth0]:1"}, false, ""},
		{":11434", Address{"tcp", ":11434"}, false, ""},
		{"0.0.0.0:0", Address{"tcp", "0.0.0.0:0"}, false, ""},
		{"LocalHost:80", Address{"tcp", "LocalHost:80"}, true, ""},
		{"board.local:80", Address{"tcp", "board.local:80"}, false, ""},
		{"127.0.0.1.example:80", Address{"tcp", "127.0.0.1.example:80"}, false, ""},
		{"unix:/run/s", Address{"unix", "/run/s"}, true, ""},
		{"unix:@s", Address{"unix", "@s"}, true, ""},
		{"unix:s", Address{}, false, "absolute path"},
		{"unix:", Address{}, false, "absolute path"},
		{"unix:/" + strings.Repeat("a", 107), Address{}, false, "at most 107 bytes, this one has 108"},
		{"11434", Address{}, false, "is not unix:PATH or HOST:PORT"},
		{"::1:80", Address{}, false, "is not unix:PATH or HOST:PORT"},
		{"localhost", Address{}, false, "is not unix:PATH or HOST:PORT"},
		{"localhost:http", Address{}, false, `port "http" is no number`},
		{"localhost:65536", Address{}, false, `port "65536" is no number`},
		{"localhost:-1", Address{}, false, `port "-1" is no number`},
		{"[http://a]:80", Address{}, false, "is no host name"},
	} {
		got, err := ParseAddress(tt.text)
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.err)
			continue
		}
		if err == nil && (got != tt.want || got.Local() != tt.local || got.String() != tt.text) {
			t.Errorf("%s: %+v, local %v, text %s", tt.text, got, got.Local(), got)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Bytes
		out  string // "" is an error
	}{
		{"0", 0, "0"}, {"1", 1, "1B"}, {"256MB", 256e6, "256MB"}, {"256mb", 256e6, "256MB"}, {"1 GiB", 1 << 30, "1GiB"}, {"1024", 1024, "1KiB"},
		{"1000", 1000, "1KB"}, {"2kb", 2000, "2KB"}, {"1023B", 1023, "1023B"}, {"9223372036854775807", 1<<63 - 1, "9223372036854775807B"},
		{"", 0, ""}, {"MB", 0, ""}, {"-1", 0, ""}, {"1.5GB", 0, ""}, {"1TB", 0, ""}, {"1M", 0, ""}, {"9223372036854775808", 0, ""}, {"9223372037GB", 0, ""}, {"0x10", 0, ""},
	} {
		got, err := ParseBytes(tt.text)
		if (err != nil) != (tt.out == "") || err == nil && (got != tt.want || got.String() != tt.out) {
			t.Errorf("%q: %d, %q, %v", tt.text, got, got.String(), err)
		}
	}
}
