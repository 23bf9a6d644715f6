package unit

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

// Paths of drop-ins, which are files of the machine's administrator and not of a package.
const (
	MemoryPath  = "/etc/systemd/system/bimambad.service.d/memory.conf"
	SensorsPath = "/etc/systemd/system/bimambad.service.d/sensors.conf"
)

// User is the user and group that the service runs as.
const User = "bimamba"

// DefaultHeap is what the Go part of the daemon may take: requests, connections, compiled schemas. Idle it takes under 15 MB.
const DefaultHeap = 64 << 20

// overhead is what a process has beside all that is counted: code, stacks, the kernel's buffers of its sockets.
const overhead = 32 << 20

// Params are what the texts depend on. The zero value is a service without limits of memory but the Go heap's.
type Params struct {
	Exec         string // of the daemon; "" is /usr/bin/bimambad
	Mapped       int64  // bytes of the blob that stay in memory: model.Footprint.Mapped()
	Arena        int64  // bytes reserved for sessions and checkpoints: model.Footprint.Arena()
	Heap         int64  // bytes for the Go heap, a soft limit; 0 is DefaultHeap
	OneModel     bool   // the configuration limits memory: a reload opens no second model beside the first, and what stays in memory is locked there
	NotifyReload bool   // Type=notify-reload, for which systemd has to be 253 or newer; `systemctl reload` then waits for the reload's end
}

// File is one file to install.
type File struct {
	Path string // absolute
	Mode uint32 // permission bits
	Text string
}

// Files are what a package installs.
func Files(p Params) []File {
	return []File{
		{"/usr/lib/systemd/system/bimambad.service", 0o644, Service(p)},
		{"/usr/lib/systemd/system/bimambad.socket", 0o644, Socket()},
		{"/usr/lib/systemd/system/bimamba.slice", 0o644, Slice(p)},
		{"/usr/lib/systemd/system/bimamba-voice.service", 0o644, Voice()},
		{"/usr/lib/systemd/system/bimamba-home.service", 0o644, Home()},
		{"/usr/lib/sysusers.d/bimamba.conf", 0o644, Sysusers()},
		{"/usr/lib/tmpfiles.d/bimamba.conf", 0o644, Tmpfiles()},
	}
}

// Service is bimambad.service.
func Service(p Params) string { return p.render("bimambad.service") }

// Socket is bimambad.socket: with it systemd listens, and starts the daemon at the first request.
func Socket() string { return Params{}.render("bimambad.socket") }

// Voice is bimamba-voice.service: `bimamba voice` with the configuration /etc/bimamba/voice.toml, if there is one.
func Voice() string { return Params{}.render("bimamba-voice.service") }

// Home is bimamba-home.service: `bimamba home sync --watch` with the address in /etc/bimamba/home.env and the token in /etc/bimamba/home.token, if they are there. It
// keeps /var/lib/bimamba-home/home.toml.
func Home() string { return Params{}.render("bimamba-home.service") }

// Slice is bimamba.slice. A service's MemoryMin= protects no more than its slice's, and system.slice has none.
func Slice(p Params) string { return p.render("bimamba.slice") }

// Memory is a drop-in for the service with the limits of memory alone, for [MemoryPath]. [Slice] belongs to it.
func Memory(p Params) string { return p.render("memory.conf") }

// Sensors is a drop-in for the service that opens the devices that temperature and power are read from, for [SensorsPath].
func Sensors() string { return Params{}.render("sensors.conf") }

// Sysusers is the file of sysusers.d(5): the service's user, and the groups that own sensors' devices.
func Sysusers() string { return Params{}.render("sysusers.conf") }

// Tmpfiles is the file of tmpfiles.d(5): the directories of the configuration, of models, of snapshots and of the socket.
func Tmpfiles() string { return Params{}.render("tmpfiles.conf") }

//go:embed text
var texts embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(texts, "text/*"))

func (p Params) render(name string) string { return render(name, p.withDefaults()) }

func (p Params) withDefaults() Params {
	if p.Exec == "" {
		p.Exec = "/usr/bin/bimambad"
	}
	if p.Heap == 0 {
		p.Heap = DefaultHeap
	}
	return p
}

func render(name string, data any) string {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("unit: %s: %v", name, err)) // the texts are part of the program, and a test renders each
	}
	return b.String()
}

// Limited says whether the model's bytes are known.
func (p Params) Limited() bool { return p.Mapped > 0 }

// MemoryMin is what must not be taken away under pressure: the blob's pages, which each token reads, the states, and an idle heap.
func (p Params) MemoryMin() int64 { return p.Mapped + p.Arena + p.Heap/4 }

// MemoryMax is what the service may take at all: two models, because a reload opens the new one while requests end on the old one.
func (p Params) MemoryMax() int64 {
	models := int64(2)
	if p.OneModel {
		models = 1
	}
	return models*(p.Mapped+p.Arena) + p.Heap + overhead
}
