package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const mib = 1 << 20

// Board is a board as it is sold. What the table of Boards says was measured by those whom the sources name.
type Board struct {
	Name   string // as in `--board pi-4` or `--board pi-4-8gb`
	Title  string
	Memory Memory

	core      *core
	cores     int
	hertz     float64
	bandwidth []bandwidth
	card      *card
}

// Memory is what a board has and what a program gets of it, in bytes.
type Memory struct {
	RAM    int64  `json:"ram"`
	Total  int64  `json:"total"`  // MemTotal: RAM without what firmware, GPU and kernel set aside
	System int64  `json:"system"` // what the system itself needs: MemTotal less MemAvailable where nothing else runs
	Source string `json:"source"`
}

// Available is what is left for the daemon.
func (m Memory) Available() int64 { return m.Total - m.System }

// bandwidth is a published measurement of how fast one thread moves memory.
type bandwidth struct {
	rate   float64 // bytes a second, reads and writes counted
	what   string
	source string
}

// card is the bus of the memory card.
type card struct {
	rate float64 // bytes a second, without what its protocol takes
	mode string
}

// Modes of four data lines (SD Physical Layer Specification, section 3.9).
var (
	highSpeed = &card{25e6, "high speed, 50 MHz"}
	ddr50     = &card{50e6, "DDR50, 50 MHz on both edges"}
	sdr104    = &card{104e6, "SDR104, 208 MHz"}
)

// cardPart is what good cards reach of their bus at the least when they read large pieces in order: assumed.
const cardPart = 0.8

// storageRate is how fast the board reads its card, or what was measured.
func (b *Board) storageRate(measured float64) *Rate {
	if measured > 0 {
		return &Rate{Low: measured, High: measured, Basis: "measured", Source: fmt.Sprintf("%.1f MB/s", measured/1e6)}
	}
	return &Rate{
		Low: cardPart * b.card.rate, High: b.card.rate, Basis: "modelled",
		Source: fmt.Sprintf("an SD card's bus in this board (%s) carries %.0f MB/s, of which cards are assumed to reach %.0f %%", b.card.mode, b.card.rate/1e6, 100*cardPart),
	}
}

// boardModel is one kind of board in its sizes.
type boardModel struct {
	name, title string
	core        *core
	cores       int
	hertz       float64
	sizes       []size // the first is what the name alone means
	system      int64  // MiB
	source      string // of sizes and system
	bandwidth   []bandwidth
	card        *card
}

// size is RAM and MemTotal in MiB.
type size struct{ ram, total int64 }

// Sources. sbc-bench's logs have the output of tinymembench, free and 7-zip; its copies count a byte once, and moved it twice.
const (
	sbcBench = "github.com/ThomasKaiser/sbc-bench results/"
	zeroTwo  = "github.com/ThomasKaiser/Knowledge articles/Quick_Review_of_RPi_Zero_2_W.md"
	sciPi    = "sci-pi.org.uk/bench/stream.html"
	// A system on a Pi of one GB or less: MemTotal 959 MiB less MemAvailable 828 MiB, Raspberry Pi OS of 64 bits without desktop.
	piSystem = sbcBench + "3F9C.txt (system)"
)

// boardModels, from small to large. Where no log has a size of a board, it is RAM less the most that another size lacks.
var boardModels = []boardModel{
	{
		name: "pi-zero-2w", card: highSpeed, title: "Raspberry Pi Zero 2 W", core: cortexA53, cores: 4, hertz: 1.0e9,
		// MemTotal 426,068 kB. AnonPages, SUnreclaim, KernelStack, PageTables and Percpu are 112,816 kB, with a camera program in them.
		sizes: []size{{512, 416}}, system: 110, source: "/proc/meminfo in github.com/raspberrypi/picamera2 issue 1358",
		bandwidth: []bandwidth{{1.571e9, "fill", zeroTwo}, {2 * 1.2955e9, "copy", zeroTwo}},
	},
	{
		name: "pi-3", card: highSpeed, title: "Raspberry Pi 3 Model B", core: cortexA53, cores: 4, hertz: 1.2e9,
		sizes: []size{{1024, 921}}, system: 131, source: "a Pi 4 of 1 GB stands in: " + sbcBench + "reviews/RPi-4B-Rev1.1.md, " + piSystem,
		bandwidth: []bandwidth{{1.70e9, "fill", sbcBench + "Sorted-Results.md (4hOP)"}, {2 * 1.11e9, "copy", sbcBench + "Sorted-Results.md (4hOP)"}},
	},
	{
		name: "pi-4", card: ddr50, title: "Raspberry Pi 4 Model B", core: cortexA72, cores: 4, hertz: 1.5e9,
		sizes: []size{{1024, 921}, {2048, 1675}, {4096, 3723}, {8192, 7819}}, system: 131,
		source:    sbcBench + "reviews/RPi-4B-Rev1.1.md, github.com/geerlingguy/sbc-reviews issue 110 (8 GB), " + piSystem,
		bandwidth: []bandwidth{{3.118e9, "fill", sbcBench + "3F9C.txt"}, {2 * 2.2415e9, "copy", sbcBench + "3F9C.txt"}, {5.562e9, "STREAM scale", sciPi}},
	},
	{
		name: "pi-5", card: sdr104, title: "Raspberry Pi 5", core: cortexA76, cores: 4, hertz: 2.4e9,
		sizes: []size{{2048, 1884}, {4096, 3932}, {8192, 8049}, {16384, 16220}}, system: 467,
		source: sbcBench + "8-NK.txt (16 GB, system), " + sbcBench + "reviews/RPi-5B-Rev1.0.md (8 GB)",
		bandwidth: []bandwidth{
			{2 * 4.4478e9, "copy", sbcBench + "reviews/RPi-5B-Rev1.0.md"}, {9.985e9, "fill", sbcBench + "8-NK.txt"}, {14.877e9, "load", sbcBench + "8-NK.txt"},
		},
	},
	{
		name: "jetson-nano", card: sdr104, title: "NVIDIA Jetson Nano", core: cortexA72, cores: 4, hertz: 1.43e9,
		sizes: []size{{4096, 3950}, {2048, 1902}}, system: 468, source: sbcBench + "4rLX.txt",
		bandwidth: []bandwidth{{4.749e9, "load", sbcBench + "4rLX.txt"}, {2 * 3.7349e9, "copy", sbcBench + "4rLX.txt"}, {8.872e9, "fill", sbcBench + "4rLX.txt"}},
	},
	{
		name: "xavier-nx", card: sdr104, title: "NVIDIA Jetson Xavier NX", core: carmel, cores: 6, hertz: 1.89e9,
		sizes: []size{{8192, 7765}, {16384, 15957}}, system: 2440, source: sbcBench + "3YWp.txt (with a desktop)",
		bandwidth: []bandwidth{{2 * 9.1929e9, "copy", sbcBench + "3YWp.txt"}, {18.477e9, "fill", sbcBench + "3YWp.txt"}},
	},
	{
		name: "orin-nano", card: sdr104, title: "NVIDIA Jetson Orin Nano", core: cortexA76, cores: 6, hertz: 1.51e9,
		sizes: []size{{4096, 2384}, {8192, 6480}}, system: 950, source: sbcBench + "4vy7.txt (8 GB, with a desktop)",
		bandwidth: []bandwidth{{9.785e9, "load", sbcBench + "4vy7.txt"}, {2 * 6.7326e9, "copy", sbcBench + "4vy7.txt"}, {20.241e9, "fill", sbcBench + "4vy7.txt"}},
	},
	{
		name: "orin-nx", card: sdr104, title: "NVIDIA Jetson Orin NX", core: cortexA76, cores: 6, hertz: 1.728e9,
		sizes: []size{{8192, 7620}, {16384, 15812}}, system: 1066, source: sbcBench + "87lq.txt (8 GB, with a desktop)",
		bandwidth: []bandwidth{{10.0e9, "load", sbcBench + "87lq.txt"}, {2 * 6.8615e9, "copy", sbcBench + "87lq.txt"}, {20.414e9, "fill", sbcBench + "87lq.txt"}},
	},
}

// sizeName is the name of a model with its RAM.
func (m *boardModel) sizeName(s size) string {
	if s.ram < 1024 {
		return fmt.Sprintf("%s-%dmb", m.name, s.ram)
	}
	return fmt.Sprintf("%s-%dgb", m.name, s.ram/1024)
}

// board is a model in one of its sizes.
func (m *boardModel) board(s size) Board {
	b := Board{
		Name: m.name, Title: m.title, core: m.core, cores: m.cores, hertz: m.hertz, bandwidth: m.bandwidth, card: m.card,
		Memory: Memory{RAM: s.ram * mib, Total: s.total * mib, System: m.system * mib, Source: m.source},
	}
	if s != m.sizes[0] {
		b.Name = m.sizeName(s)
	}
	return b
}

// Boards is every kind of board in the size that its name alone means, from small to large.
func Boards() []Board {
	out := make([]Board, len(boardModels))
	for i := range boardModels {
		out[i] = boardModels[i].board(boardModels[i].sizes[0])
	}
	return out
}

// alike is boards that have the SoC and, as far as it counts here, the memory of another, by the smallest that is sold.
var alike = map[string]string{"pi-cm3": "pi-3", "pi-400": "pi-4-4gb", "pi-cm4": "pi-4", "pi-500": "pi-5-8gb", "pi-cm5": "pi-5"}

// Here is the board of a name on which a kernel runs that has total bytes of memory, MemTotal: in the smallest size that has as much RAM, with that total.
func Here(name string, total int64) (Board, error) {
	b, err := Find(name)
	if err != nil {
		return b, err
	}
	for i := range boardModels {
		m := &boardModels[i]
		if m.title != b.Title {
			continue
		}
		for _, s := range m.sizes {
			if ram := s.ram * mib; ram >= total && (b.Memory.RAM < total || ram < b.Memory.RAM) {
				b.Memory.RAM = ram
			}
		}
	}
	if b.Memory.RAM < total {
		return b, fmt.Errorf("%s is sold with up to %d MiB of RAM, and this one has more: %d MiB", name, b.Memory.RAM/mib, total/mib)
	}
	b.Memory.Total, b.Memory.Source = total, "MemTotal by this board's kernel; what the system takes: "+b.Memory.Source
	return b, nil
}

// Find is the board of a name, which may end in its RAM: pi-4, pi-4-8gb. It knows the Compute Modules and the boards in keyboards as what they are built
// like. The error lists the names that there are.
func Find(name string) (Board, error) {
	if other, ok := alike[name]; ok {
		b, err := Find(other)
		b.Name = name
		return b, err
	}
	names := slices.Sorted(maps.Keys(alike))
	for i := range boardModels {
		m := &boardModels[i]
		for _, s := range m.sizes {
			b := m.board(s)
			if name == b.Name || name == m.sizeName(s) {
				return b, nil
			}
			names = append(names, b.Name)
		}
	}
	slices.Sort(names)
	return Board{}, fmt.Errorf("there is no board %q; there are %s", name, strings.Join(names, ", "))
}
