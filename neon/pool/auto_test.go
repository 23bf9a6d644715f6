package pool

import (
	"runtime"
	"strconv"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }

func TestLastCache(t *testing.T) {
	for _, c := range []struct {
		sys  fstest.MapFS
		want int64
	}{
		{fstest.MapFS{}, 1 << 20},
		{fstest.MapFS{"cpu0/cache/index0/size": file("32K"), "cpu0/cache/index2/size": file("512K")}, 512 << 10},
		{fstest.MapFS{"cpu0/cache/index0/size": file("64K"), "cpu0/cache/index3/size": file("2M")}, 2 << 20},
		{fstest.MapFS{"cpu0/cache/index0/size": file("a lot")}, 1 << 20},
	} {
		if got := LastCache(c.sys); got != c.want {
			t.Errorf("%v: %d, want %d", c.sys, got, c.want)
		}
	}
}

// TestCores counts only the large cores of a machine that has both kinds.
func TestCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(64))
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	mine := set.Count()
	if got := Cores(fstest.MapFS{}); got != mine {
		t.Errorf("cores that do not differ: %d of %d", got, mine)
	}
	sys, first := fstest.MapFS{}, true
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			capacity := "446"
			if first {
				capacity, first = "1024", false
			}
			sys["cpu"+strconv.Itoa(cpu)+"/cpu_capacity"] = file(capacity)
		}
	}
	if got := Cores(sys); got != 1 {
		t.Errorf("one large core: %d", got)
	}
	runtime.GOMAXPROCS(1)
	if got := Cores(fstest.MapFS{}); got != 1 {
		t.Errorf("GOMAXPROCS 1: %d", got)
	}
}

func TestAuto(t *testing.T) {
	for _, size := range []int64{1, 1 << 40} {
		if n := Auto(AllCores(), size); n < 1 || n > runtime.NumCPU() {
			t.Errorf("%d bytes: %d workers", size, n)
		}
	}
}

func TestReadRate(t *testing.T) {
	p := newPool(t, 2)
	if r, err := p.ReadRate(2, 2, nil, make([]byte, 3*readPart+5), make([]byte, 7)); !(r > 0) || err != nil {
		t.Errorf("%v bytes a second, %v", r, err)
	}
	if _, err := p.ReadRate(2, 2, func(func() error) error { return errTest }, make([]byte, 7)); err != errTest {
		t.Errorf("a guard that fails gave %v", err)
	}
}
