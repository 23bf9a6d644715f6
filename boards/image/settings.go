package image

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Settings are what the board is told about itself at its first boot.
type Settings struct {
	Hostname string   // one label as in RFC 1123
	User     string   // who logs in, with a key and no password; sudo asks for none
	Keys     []string // lines of authorized_keys: at least one
	WiFi     *WiFi    // nil leaves the network as the image has it
	Timezone string   // a name such as Europe/Berlin; "" leaves it
	Locale   string   // such as de_DE.UTF-8; "" leaves it
}

// WiFi is a network with a WPA2 password.
type WiFi struct {
	SSID     string
	Password string // 8 to 63 characters, or 64 hexadecimal digits, which are the key itself
	Country  string // two letters (ISO 3166-1): without it a radio stays off
}

var (
	hostnameRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	userRE     = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`) // as useradd(8) of Debian takes it
	timezoneRE = regexp.MustCompile(`^[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}$`)
	localeRE   = regexp.MustCompile(`^([a-z]{2,3}_[A-Z]{2}(\.UTF-8)?(@[a-z]{1,16})?|C\.UTF-8)$`)
	countryRE  = regexp.MustCompile(`^[A-Z]{2}$`)
	hexKeyRE   = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// Check says what is wrong with the settings. Every value is checked for what it may hold, beside being quoted wherever it is written to.
func (s *Settings) Check() error {
	switch {
	case !hostnameRE.MatchString(s.Hostname):
		return fmt.Errorf("the host name %q is none: it has 1 to 63 letters, digits and hyphens, and no hyphen at its ends (RFC 1123)", s.Hostname)
	case !userRE.MatchString(s.User) || s.User == "root":
		return fmt.Errorf("the user name %q is none: it has up to 32 small letters, digits, - and _, starts with a letter or _, and is not root", s.User)
	case len(s.Keys) == 0:
		return errors.New("an SSH key is needed: the board gets no password, so nobody could log in")
	case s.Timezone != "" && !timezoneRE.MatchString(s.Timezone):
		return fmt.Errorf("the time zone %q is none: name it as in /usr/share/zoneinfo, such as Europe/Berlin", s.Timezone)
	case s.Locale != "" && !localeRE.MatchString(s.Locale):
		return fmt.Errorf("the locale %q is none: name it as locale(1) does, such as de_DE.UTF-8", s.Locale)
	}
	for _, k := range s.Keys {
		if err := checkKey(k); err != nil {
			return err
		}
	}
	if s.WiFi != nil {
		return s.WiFi.check()
	}
	return nil
}

func (w *WiFi) check() error {
	switch {
	case len(w.SSID) < 1 || len(w.SSID) > 32:
		return fmt.Errorf("the name of the Wi-Fi network has %d bytes, not 1 to 32", len(w.SSID))
	case !plain(w.SSID):
		return fmt.Errorf("the name of the Wi-Fi network, %q, has control characters or is no UTF-8: that cannot be set up here", w.SSID)
	case !countryRE.MatchString(w.Country):
		return fmt.Errorf("the country of the Wi-Fi, %q, is not two capital letters such as DE: without it the radio stays off", w.Country)
	case hexKeyRE.MatchString(w.Password):
		return nil
	case len(w.Password) < 8 || len(w.Password) > 63:
		return fmt.Errorf("the Wi-Fi password has %d characters, not 8 to 63", len(w.Password))
	}
	for _, c := range []byte(w.Password) {
		if c < 0x20 || c > 0x7e {
			return errors.New("the Wi-Fi password has a character that is not printable ASCII, which WPA2 does not allow")
		}
	}
	return nil
}

// PSK is the key that password and name make, in hexadecimal: so the password itself is written nowhere.
func (w *WiFi) PSK() (string, error) {
	if hexKeyRE.MatchString(w.Password) {
		return strings.ToLower(w.Password), nil
	}
	key, err := pbkdf2.Key(sha1.New, w.Password, []byte(w.SSID), 4096, 32) // IEEE 802.11-2020, J.4
	return hex.EncodeToString(key), err
}

// plain tells whether s is UTF-8 without control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\u0085' })
}

// keyTypes are those that OpenSSH takes today: DSA is gone.
var keyTypes = []string{
	"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
}

// ParseKeys reads the public keys in a file such as id_ed25519.pub or authorized_keys. Empty lines and comments are left out.
func ParseKeys(text string) ([]string, error) {
	if strings.Contains(text, "PRIVATE KEY-----") {
		return nil, errors.New("this is a private key, which stays with its owner: name the file with .pub at its end")
	}
	var keys []string
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := checkKey(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key in it")
	}
	return keys, nil
}

// checkKey checks a line: type, key in base64, which names the type again, and a comment.
func checkKey(line string) error {
	if len(line) > 8192 || !plain(line) {
		return errors.New("the line of the SSH key is longer than 8192 bytes or has control characters")
	}
	kind, rest, _ := strings.Cut(line, " ")
	known := false
	for _, k := range keyTypes {
		known = known || k == kind
	}
	if !known {
		return fmt.Errorf("the SSH key starts with %.30q, not with a type such as ssh-ed25519; options before it are not taken", kind)
	}
	data, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	b, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return fmt.Errorf("the SSH key's base64 is damaged: %w", err)
	}
	if len(b) < 4 || binary.BigEndian.Uint32(b) != uint32(len(kind)) || len(b) < 4+len(kind)+4 || string(b[4:4+len(kind)]) != kind {
		return fmt.Errorf("the SSH key says that it is %s, and its data does not", kind)
	}
	return nil
}
