package image

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

//go:embed text
var texts embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"quote": shellQuote, "yaml": yamlString, "toml": tomlString,
}).ParseFS(texts, "text/*"))

// shellQuote makes one word of s for a shell, whatever is in it.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// yamlString writes s in double quotes: a string of JSON is one of YAML, too.
func yamlString(s string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// tomlString writes s, which has no control characters, in double quotes. rpi-preseed's reader knows these two escapes and no others.
func tomlString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// maxCmdline leaves the firmware some of the 2048 characters of arm64's COMMAND_LINE_SIZE.
const maxCmdline = 1536

// plan is what a first boot is made of.
type plan struct {
	texts   map[string]string // files of the boot partition
	cmdline string            // its cmdline.txt, without the line's end
	cgroup  bool              // cgroup_enable=memory was added
}

// vars are what the templates know.
type vars struct {
	*Settings
	ID       string   // of the payload
	Enable   []string // units
	Secret   []string // files of the boot partition with lines that are secret
	Firmware string
	Args     string // of the kernel, as firstrun.sh removes them: a pattern of sed
	Install  string // the command that runs install.sh if it is there
	SSID     []byte // a keyfile has it as the numbers of its bytes, so no character in it means anything
	SSIDText string
	PSK      string
	Country  string
}

// prepare renders the files of a format.
func (s *System) prepare(f Format, set *Settings, id string, enable []string) (*plan, error) {
	v := &vars{Settings: set, ID: id, Enable: enable, Firmware: s.Firmware}
	script := s.Firmware + "/bimamba/install.sh"
	v.Install = fmt.Sprintf("[ ! -f %[1]s ] || sh %[1]s start", script)
	if w := set.WiFi; w != nil {
		var err error
		if v.PSK, err = w.PSK(); err != nil {
			return nil, err
		}
		v.SSID, v.SSIDText, v.Country = []byte(w.SSID), w.SSID, w.Country
	}
	if set.Timezone != "" && !s.has("usr/share/zoneinfo/"+set.Timezone) {
		return nil, fmt.Errorf("%s has no time zone %q in /usr/share/zoneinfo", s.Name, set.Timezone)
	}
	p := &plan{texts: map[string]string{}}
	var args []string
	add := func(path string, name string) error {
		text, err := render(name, v)
		p.texts[path] = text
		return err
	}
	run := []string{"systemd.run=" + s.Firmware + "/firstrun.sh", "systemd.run_success_action=reboot", "systemd.unit=kernel-command-line.target"}
	var err error
	switch f {
	case Firstrun, Custom:
		args = run
		v.Args = strings.NewReplacer("/", `\/`, ".", `\.`).Replace(" " + strings.Join(run, " "))
		if f == Custom {
			if set.Locale != "" {
				return nil, fmt.Errorf("custom.toml sets no locale: leave it out, or use another format (%s)", formatList(s.Formats))
			}
			if err := add("custom.toml", "custom.toml"); err != nil {
				return nil, err
			}
			v.Settings = nil // firstrun.sh has nothing to set then
		} else if set.WiFi != nil && !s.has("usr/sbin/NetworkManager") {
			return nil, fmt.Errorf("%s has no NetworkManager, so the Wi-Fi cannot be set up by firstrun.sh: use the cable, or another image", s.Name)
		}
		if f == Firstrun && set.WiFi != nil {
			if err := add("bimamba-wifi.nmconnection", "wifi.nmconnection"); err != nil {
				return nil, err
			}
		}
		err = add("firstrun.sh", "firstrun.sh")
	case CloudInit:
		instance := "bimamba-" + id[:16]
		args = []string{"ds=nocloud;i=" + instance}
		if !s.seeded {
			// Nothing in the image says where the files are: this does, and cloud-init itself mounts the partition.
			if s.label == "" {
				return nil, fmt.Errorf("the boot partition of %s has no label by which cloud-init could find it: use another format (%s)", s.Name, formatList(s.Formats))
			}
			label, err := yamlString(s.label)
			if err != nil {
				return nil, err
			}
			if strings.ContainsAny(label, " %") {
				return nil, fmt.Errorf("the label %s of the boot partition cannot stand in the kernel's arguments", label)
			}
			args = append(args, `cc:{"datasource":{"NoCloud":{"fs_label":`+label+`}}}end_cc`)
		}
		p.texts["meta-data"] = "instance-id: " + instance + "\n"
		err = add("user-data", "user-data")
		if err == nil && set.WiFi != nil {
			v.Secret = []string{"network-config"}
			err = add("network-config", "network-config")
		}
	case Preseed:
		err = add("rpi-preseed.toml", "rpi-preseed.toml")
	default:
		return nil, fmt.Errorf("%q is no format: they are %s", f, formatList(Formats))
	}
	if err != nil {
		return nil, err
	}
	if err := add("bimamba/install.sh", "install.sh"); err != nil {
		return nil, err
	}
	line, words := s.Cmdline, strings.Fields(s.Cmdline)
	for _, w := range words {
		if f == CloudInit && strings.HasPrefix(w, "ds=nocloud") { // of an earlier instance
			line = strings.TrimSpace(strings.Replace(line, w, "", 1))
		}
	}
	if s.PiKernel && !slices.Contains(words, "cgroup_enable=memory") {
		args = append([]string{"cgroup_enable=memory"}, args...)
		p.cgroup = true
	}
	p.cmdline = strings.Join(append([]string{line}, args...), " ")
	if len(p.cmdline) > maxCmdline {
		return nil, fmt.Errorf("cmdline.txt would be %d characters long, and the kernel takes no more than %d with what the firmware adds", len(p.cmdline), maxCmdline)
	}
	return p, nil
}

func render(name string, v *vars) (string, error) {
	var b strings.Builder
	err := templates.ExecuteTemplate(&b, name, v)
	return b.String(), err
}

func formatList(formats []Format) string {
	var names []string
	for _, f := range formats {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}
