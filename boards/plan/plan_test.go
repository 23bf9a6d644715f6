package plan

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"bimamba/boards/tuning"
	"bimamba/edge/model"
	"bimamba/memmap"
)

func mustShape(t testing.TB, size string, head memmap.DType) *memmap.Manifest {
	t.Helper()
	m, err := Shape(size, head)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustPlan(t testing.TB, board, size string, opt Options) *Plan {
	t.Helper()
	b, err := Find(board)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(b, mustShape(t, size, memmap.I8), opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// serving is the daemon's defaults.
var serving = model.Options{Sessions: 2, Prefixes: 8}

// TestBoards pins every board and size, as the daemon serves them by default: MB that it takes, tokens per second, prompts' tokens per second.
func TestBoards(t *testing.T) {
	want := strings.Fields(`
pi-zero-2w,assistant,true,37.5,143.4-305.9,641.4-792.2,
pi-zero-2w,780M,false,567.8,5.5-11.7,25.0-28.9,--checkpoints,1
pi-zero-2w,1.3B,false,788.5,3.6-7.8,16.0-18.3,--head,int4,--sessions,1,--checkpoints,0
pi-zero-2w,2.7B,false,1335.3,2.0-4.4,8.3-9.5,--size,1.3B,--head,int4,--sessions,1,--checkpoints,0
pi-3,assistant,true,37.5,158.7-262.1,754.0-950.7,
pi-3,780M,true,567.8,6.1-10.1,29.6-34.7,
pi-3,1.3B,true,788.5,4.0-6.7,18.9-21.9,
pi-3,2.7B,false,1335.3,2.2-3.8,9.9-11.4,--checkpoints,2
pi-4,assistant,true,37.5,292.5-656.6,1309.2-1628.1,
pi-4,780M,true,567.8,11.2-25.2,52.2-60.8,
pi-4,1.3B,true,788.5,7.4-16.8,33.8-39.1,
pi-4,2.7B,false,1335.3,4.1-9.4,17.9-20.5,--checkpoints,2
pi-5,assistant,true,37.5,837.4-1756.3,3698.4-4588.2,
pi-5,780M,true,567.8,32.0-67.4,146.8-170.6,
pi-5,1.3B,true,788.5,21.2-44.8,95.2-109.7,
pi-5,2.7B,true,1335.3,11.8-25.2,50.3-57.6,
jetson-nano,assistant,true,37.5,396.8-1047.4,1346.8-1552.1,
jetson-nano,780M,true,567.8,15.2-40.2,52.5-58.0,
jetson-nano,1.3B,true,788.5,10.0-26.7,34.0-37.3,
jetson-nano,2.7B,true,1335.3,5.6-15.0,17.9-19.6,
xavier-nx,assistant,true,37.5,1201.8-2181.3,2854.2-3077.1,
xavier-nx,780M,true,567.8,45.9-83.7,109.1-114.9,
xavier-nx,1.3B,true,788.5,30.3-55.7,70.4-73.9,
xavier-nx,2.7B,true,1335.3,16.8-31.3,37.0-38.8,
orin-nano,assistant,true,37.5,891.3-2389.5,3589.2-4330.1,
orin-nano,780M,true,567.8,34.0-91.6,141.3-161.0,
orin-nano,1.3B,true,788.5,22.5-61.0,91.6-103.6,
orin-nano,2.7B,true,1335.3,12.6-34.3,48.3-54.4,
orin-nx,assistant,true,37.5,933.6-2409.9,4024.9-4955.2,
orin-nx,780M,true,567.8,35.7-92.4,159.4-184.2,
orin-nx,1.3B,true,788.5,23.6-61.5,103.4-118.5,
orin-nx,2.7B,true,1335.3,13.2-34.6,54.6-62.2,
`)
	var got []string
	for _, b := range Boards() {
		for _, s := range Sizes() {
			p := mustPlan(t, b.Name, s, Options{Model: serving})
			_, would, _ := strings.Cut(p.Reason, "would fit: ")
			got = append(got, fmt.Sprintf("%s,%s,%t,%.1f,%.1f-%.1f,%.1f-%.1f,%s", b.Name, s, p.Fits, float64(p.Resident)/1e6,
				p.Decode.Low, p.Decode.High, p.Prefill.Low, p.Prefill.High, strings.ReplaceAll(would, " ", ",")))
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d lines are pinned, and there are %d", len(want), len(got))
	}
	for i, line := range got {
		if i >= len(want) || line != want[i] {
			t.Errorf("line %d is not the pinned one:\n%s", i+1, line)
		}
	}
}

func TestPartsAddUp(t *testing.T) {
	for _, s := range Sizes() {
		for _, head := range []memmap.DType{memmap.I8, memmap.I4, memmap.F16} {
			p := mustPlan(t, "pi-5", s, Options{Model: serving, Head: head})
			x := p.Parts
			if x.Total() != p.Resident || x.Weights+x.Head+x.Tokenizer+x.Padding != p.Mapped {
				t.Errorf("%s, %s: parts %+v, resident %d, mapped %d", s, head, x, p.Resident, p.Mapped)
			}
			if x.Padding < 0 || x.Padding > 64<<10*70 { // less than a page of 64 KiB for each section
				t.Errorf("%s, %s: padding %d", s, head, x.Padding)
			}
		}
	}
}

// TestNearest takes the advice of every plan that does not fit, which then fits, and would not with one checkpoint more.
func TestNearest(t *testing.T) {
	advised := 0
	for _, board := range []string{"pi-zero-2w", "pi-3", "pi-4"} {
		for _, size := range Sizes() {
			for _, opt := range []model.Options{serving, {Sessions: 2, Prefixes: 8, State: model.StateF32}, {Sessions: 64}, {Sessions: 1, Prefixes: 1000}} {
				p := mustPlan(t, board, size, Options{Model: opt})
				if p.Fits {
					continue
				}
				name := fmt.Sprintf("%s, %s, %+v: %s", board, size, opt, p.Reason)
				_, advice, ok := strings.Cut(p.Reason, "what would fit: ")
				if !ok {
					t.Errorf("no advice: %s", name)
					continue
				}
				advised++
				o, of := Options{Model: opt}, size
				fields := strings.Fields(advice)
				for i := 0; i < len(fields); i += 2 {
					n, err := strconv.Atoi(fields[i+1])
					switch {
					case fields[i] == "--size":
						of = fields[i+1]
					case fields[i] == "--head" && fields[i+1] == "int4":
						o.Head = memmap.I4
					case fields[i] == "--state" && fields[i+1] == "f16":
						o.Model.State = model.StateF16
					case fields[i] == "--sessions" && err == nil:
						o.Model.Sessions = n
					case fields[i] == "--checkpoints" && err == nil:
						o.Model.Prefixes = n
					default:
						t.Fatalf("%q in %s", fields[i], name)
					}
				}
				if q := mustPlan(t, board, of, o); !q.Fits {
					t.Errorf("bad advice: %s: then %s", name, q.Reason)
				}
				if o.Model.Prefixes < opt.Prefixes {
					o.Model.Prefixes++
					if q := mustPlan(t, board, of, o); q.Fits {
						t.Errorf("one checkpoint more would do: %s: %s", name, q.Reason)
					}
				}
			}
		}
	}
	if advised < 10 {
		t.Errorf("%d pieces of advice", advised)
	}
	b := Boards()[0]
	b.Memory.Total = b.Memory.System
	if p, err := New(b, mustShape(t, "780M", memmap.I8), Options{}); err != nil || p.Fits || !strings.Contains(p.Reason, "no model that we know") {
		t.Errorf("%v, %+v", err, p)
	}
}

// TestRates holds rates to what they have to obey whatever the tables say.
func TestRates(t *testing.T) {
	tuned := &tuning.File{Board: "pi-4", Read: []tuning.ReadRate{{Threads: 1, Rate: 3e9}, {Threads: 2, Rate: 5e9}, {Threads: 4, Rate: 4e9}}}
	for _, b := range Boards() {
		at := func(size string, opt Options) *Plan { return mustPlan(t, b.Name, size, opt) }
		p := at("780M", Options{Model: serving})
		for _, r := range []*Rate{p.Decode, p.Prefill} {
			if !(r.Low > 0 && r.Low <= r.High && r.High < 1e5) || r.Basis != "modelled" || !strings.Contains(r.Source, "published") {
				t.Errorf("%s: %+v", b.Name, r)
			}
		}
		if p.Prefill.High <= p.Decode.High {
			t.Errorf("%s: prompts are no faster than answers: %+v, %+v", b.Name, p.Prefill, p.Decode)
		}
		if q := at("1.3B", Options{Model: serving}); q.Decode.High >= p.Decode.High {
			t.Errorf("%s: 1.3B is faster than 780M", b.Name)
		}
		if q := at("780M", Options{Model: model.Options{Precision: model.Fast}}); q.Decode.Low <= p.Decode.Low || q.Decode.High < p.Decode.High {
			t.Errorf("%s: fast is slower", b.Name)
		}
		if q := at("780M", Options{Model: model.Options{Precision: model.Exact}}); q.Decode != nil || q.Prefill != nil {
			t.Errorf("%s: exact has a speed: %+v", b.Name, q.Decode)
		}
		q := at("780M", Options{Model: serving, Tuned: tuned})
		if own := b.Name == "pi-4"; own != strings.Contains(q.Decode.Source, "bandwidth measured: 5.00 GB/s with 2 threads") {
			t.Errorf("%s: %s", b.Name, q.Decode.Source)
		}
	}
	if p, err := New(Boards()[0], mustShape(t, "780M", memmap.I8), Options{Tuned: &tuning.File{Board: "x86"}}); p != nil || err == nil || !strings.Contains(err.Error(), `there is no board "x86"`) {
		t.Errorf("a tuning of a PC: %v", err)
	}
	// A token of 780M moves 221 MB (README): at 5 GB/s that is the most.
	if p := mustPlan(t, "pi-4-8gb", "780M", Options{Model: serving, Tuned: tuned}); p.Decode.High < 22 || p.Decode.High > 23 {
		t.Errorf("%+v", p.Decode)
	}
}

// TestStorage plans with less and less memory: what stays is within it, what does not is read, and takes its time.
func TestStorage(t *testing.T) {
	one := model.Options{Sessions: 1, Batch: 8}
	all := mustPlan(t, "pi-4-2gb", "2.7B", Options{Model: one})
	if all.Storage != nil || all.Streamed != 0 || all.Parts.Buffers != 0 {
		t.Errorf("without a limit: %+v", all)
	}
	before := all
	for memory := all.Resident; ; memory -= 20e6 {
		one.Memory = memory - all.Parts.Heap - all.Parts.Program
		p := mustPlan(t, "pi-4-2gb", "2.7B", Options{Model: one})
		if !p.Fits {
			if p.Streamed < 300e6 || !strings.Contains(p.Reason, "at the least") || p.Decode != nil || p.Storage != nil {
				t.Errorf("%d bytes do not do: %s", memory, p.Reason)
			}
			break
		}
		if p.Resident > memory || p.Resident != p.Parts.Total() || p.Mapped+p.Streamed != all.Mapped {
			t.Errorf("%d bytes: %+v", memory, p)
		}
		if p.Decode.High > before.Decode.High || p.Decode.Low > before.Decode.Low || p.Prefill.High > before.Prefill.High {
			t.Errorf("%d bytes make it faster: %+v, before %+v", memory, p.Decode, before.Decode)
		}
		if p.Streamed > 0 && (p.Decode.High > 50.001e6/float64(p.Streamed) || p.Storage.High != 50e6 || p.Storage.Basis != "modelled") {
			t.Errorf("%d bytes: %+v from %+v", memory, p.Decode, p.Storage)
		}
		before = p
	}
	if q := mustPlan(t, "pi-4-2gb", "2.7B", Options{Model: model.Options{Sessions: 1, Batch: 8, Memory: before.Resident}, Storage: 400e6}); q.Storage.Basis != "measured" || q.Decode.High <= before.Decode.High {
		t.Errorf("a faster storage: %+v", q.Decode)
	}
	for i := range boardModels {
		if c := boardModels[i].card; c == nil || c.rate < 20e6 {
			t.Errorf("%s has no memory card", boardModels[i].name)
		}
	}
}

// TestNearestMemory takes the advice of plans that do not fit their memory.
func TestNearestMemory(t *testing.T) {
	for _, tt := range []struct {
		memory int64
		want   string
	}{{230e6, "what would fit: --head int4 --sessions 1 --checkpoints 0"}, {300e6, "what would fit: --checkpoints 0"}, {600e6, "what would fit: --checkpoints 3"}} {
		o := model.Options{Sessions: 2, Prefixes: 8, Memory: tt.memory}
		p := mustPlan(t, "pi-5", "2.7B", Options{Model: o})
		if p.Fits || !strings.Contains(p.Reason, tt.want) {
			t.Errorf("%d bytes: %v, %s", tt.memory, p.Fits, p.Reason)
		}
	}
}

func TestFind(t *testing.T) {
	for _, x := range []struct {
		name, want string
		gb         float64
	}{
		{"pi-4", "pi-4", 1}, {"pi-4-1gb", "pi-4", 1}, {"pi-4-8gb", "pi-4-8gb", 8}, {"pi-zero-2w", "pi-zero-2w", 0.5}, {"pi-zero-2w-512mb", "pi-zero-2w", 0.5},
		{"jetson-nano", "jetson-nano", 4}, {"jetson-nano-2gb", "jetson-nano-2gb", 2}, {"pi-400", "pi-400", 4}, {"pi-cm5", "pi-cm5", 2},
	} {
		b, err := Find(x.name)
		if err != nil || b.Name != x.want || float64(b.Memory.RAM) != x.gb*(1<<30) {
			t.Errorf("%s: %+v, %v", x.name, b, err)
		}
	}
	for _, name := range []string{"", "pi-", "pi-4-3gb", "pi-zero-2w-0gb", "Pi-4"} {
		if b, err := Find(name); err == nil {
			t.Errorf("%q is %+v", name, b)
		}
	}
	for i := range boardModels {
		m := &boardModels[i]
		for _, s := range m.sizes {
			b := m.board(s)
			if found, err := Find(b.Name); err != nil || found.Memory != b.Memory || found.Title != b.Title {
				t.Errorf("%s: %+v, %v", b.Name, found, err)
			}
			if x := b.Memory; !(0 < x.Available() && x.Total < x.RAM && x.Available() < x.Total) || x.Source == "" || len(b.bandwidth) == 0 {
				t.Errorf("%s: %+v", b.Name, x)
			}
		}
	}
}

func TestHere(t *testing.T) {
	for _, tt := range []struct {
		name string
		mib  int64 // MemTotal
		ram  int64 // MiB; 0: an error
	}{
		{"pi-4", 921, 1024}, {"pi-4", 1675, 2048}, {"pi-4", 3793, 4096}, {"pi-4", 7819, 8192}, {"pi-4", 9000, 0},
		{"pi-zero-2w", 416, 512}, {"pi-5", 969, 2048}, {"pi-400", 3723, 4096}, {"pi-cm4", 7819, 8192},
		{"jetson-nano", 1902, 2048}, {"jetson-nano", 3950, 4096}, {"x86", 4000, 0},
	} {
		b, err := Here(tt.name, tt.mib*mib)
		if err != nil {
			if tt.ram != 0 {
				t.Errorf("%s with %d MiB: %v", tt.name, tt.mib, err)
			}
			continue
		}
		if b.Name != tt.name || b.Memory.RAM != tt.ram*mib || b.Memory.Total != tt.mib*mib || b.Memory.System <= 0 {
			t.Errorf("%s with %d MiB: %s, %+v", tt.name, tt.mib, b.Name, b.Memory)
		}
	}
}
