package image

import (
	"strings"
	"testing"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@laptop"

func settings() Settings {
	return Settings{Hostname: "kitchen", User: "pi", Keys: []string{key}}
}

func TestSettings(t *testing.T) {
	s := settings()
	s.WiFi, s.Timezone, s.Locale = &WiFi{"it's $(here) \"`now`\"", `pass'"$word`, "DE"}, "America/Argentina/Buenos_Aires", "de_DE.UTF-8"
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(s *Settings)
		want   string
	}{
		"no host name":      {func(s *Settings) { s.Hostname = "" }, "RFC 1123"},
		"host with a dot":   {func(s *Settings) { s.Hostname = "a.b" }, "RFC 1123"},
		"host with hyphen":  {func(s *Settings) { s.Hostname = "a-" }, "RFC 1123"},
		"host with command": {func(s *Settings) { s.Hostname = "$(reboot)" }, "RFC 1123"},
		"host of 64":        {func(s *Settings) { s.Hostname = strings.Repeat("a", 64) }, "RFC 1123"},
		"host of two lines": {func(s *Settings) { s.Hostname = "a\nb" }, "RFC 1123"},
		"root":              {func(s *Settings) { s.User = "root" }, "not root"},
		"user with a colon": {func(s *Settings) { s.User = "a:b" }, "user name"},
		"no key":            {func(s *Settings) { s.Keys = nil }, "an SSH key is needed"},
		"zone":              {func(s *Settings) { s.Timezone = "../../etc/passwd" }, "time zone"},
		"zone with quote":   {func(s *Settings) { s.Timezone = "Europe/'" }, "time zone"},
		"locale":            {func(s *Settings) { s.Locale = "de_DE;reboot" }, "locale"},
		"no SSID":           {func(s *Settings) { s.WiFi.SSID = "" }, "not 1 to 32"},
		"long SSID":         {func(s *Settings) { s.WiFi.SSID = strings.Repeat("ä", 17) }, "34 bytes, not 1 to 32"},
		"two lines":         {func(s *Settings) { s.WiFi.SSID = "a\nb" }, "control characters"},
		"no UTF-8":          {func(s *Settings) { s.WiFi.SSID = "\xff" }, "UTF-8"},
		"short password":    {func(s *Settings) { s.WiFi.Password = "1234567" }, "7 characters, not 8 to 63"},
		"password":          {func(s *Settings) { s.WiFi.Password = "pässwörd" }, "printable ASCII"},
		"no country":        {func(s *Settings) { s.WiFi.Country = "" }, "country"},
		"country":           {func(s *Settings) { s.WiFi.Country = "de" }, "country"},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings()
			s.WiFi = &WiFi{"net", "password", "DE"}
			c.change(&s)
			if err := s.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Check gave %v", err)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
}

// TestPSK has the test vectors of IEEE 802.11-2020, J.4.2.
func TestPSK(t *testing.T) {
	for _, c := range [][3]string{
		{"IEEE", "password", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"},
		{"ThisIsASSID", "ThisIsAPassword", "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"},
		{"any", strings.Repeat("Ab", 32), strings.Repeat("ab", 32)},
	} {
		if got, err := (&WiFi{SSID: c[0], Password: c[1]}).PSK(); err != nil || got != c[2] {
			t.Errorf("%s: %s, %v", c[0], got, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys("# mine\r\n\r\n" + key + "\r\n" + key + " with more words\n")
	if err != nil || len(keys) != 2 || keys[0] != key {
		t.Errorf("%q, %v", keys, err)
	}
	for text, want := range map[string]string{
		"":   "no public key",
		"# ": "no public key",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n": "private key",
		"ssh-dss AAAA":            "not with a type such as",
		`command="reboot" ` + key: "options before it are not taken",
		"ssh-ed25519":             "and its data does not",
		"ssh-ed25519 !!!":         "line 1: the SSH key's base64 is damaged",
		"\n" + strings.Replace(key, "ssh-ed25519", "ssh-rsa", 1): "line 2: the SSH key says that it is ssh-rsa",
		key + "\x1b[2J":                      "control characters",
		strings.Repeat("ssh-ed25519 ", 1000): "longer than 8192",
	} {
		if _, err := ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q gave %v", text, err)
		}
	}
}

// FuzzParseKeys has every key that is taken be one line without anything that a file of settings could misread unquoted.
func FuzzParseKeys(f *testing.F) {
	f.Add(key)
	f.Add("ssh-ed25519 AAAA\n# x\n")
	f.Add("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAA ' \" $( `")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		for _, k := range keys {
			if strings.ContainsAny(k, "\n\r\x00") || checkKey(k) != nil {
				t.Errorf("%q is taken", k)
			}
		}
	})
}
