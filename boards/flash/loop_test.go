package flash

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a loop device of size bytes that a made-up /sys has be an SD card, sdz.
func loop(t *testing.T, dir string, size int64) (d Device, root fstest.MapFS, backing string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	prog, err := exec.LookPath("losetup")
	if err != nil {
		t.Skip("losetup is not here (Debian package mount)")
	}
	backing = filepath.Join(dir, "card")
	f, err := os.Create(backing)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(prog, "--find", "--show", backing).Output()
	if err != nil {
		t.Skipf("there is no loop device to be had: %v", err)
	}
	name := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(prog, "--detach", name).CombinedOutput(); err != nil {
			t.Errorf("%s stays: %v, %s", name, err, out)
		}
	})
	root = loopRoot(t, name, size)
	if d, err = Find(root, name); err != nil {
		t.Fatal(err)
	}
	return d, root, backing
}

func loopRoot(t *testing.T, name string, size int64) fstest.MapFS {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	const dir = "sys/block/sdz/"
	return fstest.MapFS{
		"sys/dev/block/" + number:        {Data: []byte("../../block/sdz"), Mode: fs.ModeSymlink | 0o777},
		dir + "dev":                      {Data: []byte(number)},
		dir + "size":                     {Data: fmt.Append(nil, size/512)},
		dir + "removable":                {Data: []byte("1")},
		dir + "diskseq":                  {Data: []byte("5")},
		dir + "queue/logical_block_size": {Data: []byte("512")},
		"proc/self/mountinfo":            {},
	}
}

// TestLoop writes through the kernel, past its page cache.
func TestLoop(t *testing.T) {
	const size = 2 * cardSize
	d, root, backing := loop(t, t.TempDir(), size)
	want := card(cardSize, 1)
	img := open(t, save(t, "a.img", want))
	rep, err := img.WriteDevice(t.Context(), root, &d, nil)
	if err != nil || rep.Written != cardSize {
		t.Fatalf("%+v, %v", rep, err)
	}
	holds(t, backing, want)
	if rep, err = img.WriteDevice(t.Context(), root, &d, nil); err != nil || rep.Written != 0 {
		t.Errorf("a second time: %+v, %v", rep, err)
	}

	// What is in use is refused by the kernel, also if /sys says nothing.
	f, err := os.OpenFile(d.file, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.WriteDevice(t.Context(), root, &d, nil); err == nil || !strings.Contains(err.Error(), "/dev/sdz is in use by something that keeps it to itself") {
		t.Errorf("an opened device: %v", err)
	}
	f.Close()

	// Another card in the same reader.
	root["sys/block/sdz/diskseq"] = &fstest.MapFile{Data: []byte("6")}
	if _, err := img.WriteDevice(t.Context(), root, &d, nil); err == nil || !strings.Contains(err.Error(), "this is another disk than a moment ago") {
		t.Errorf("another card: %v", err)
	}
}

// TestLoopFull has the kernel fail a write on the way: the card's file is on a file system with less room than it says.
func TestLoopFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 3*chunkSize)); err != nil {
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d, root, backing := loop(t, dir, cardSize)
	_, err := open(t, save(t, "a.img", card(cardSize, 1))).WriteDevice(t.Context(), root, &d, nil)
	if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/dev/sdz has no partition table now") {
		t.Fatalf("%v", err)
	}
	t.Log(err)
	b, err := os.ReadFile(backing)
	if err != nil {
		t.Fatal(err)
	}
	noTable(t, b)
}

func holds(t *testing.T, backing string, want []byte) {
	t.Helper()
	f, err := os.Open(backing)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the card holds something else; %v", err)
	}
}

// TestKilled kills processes that write to a loop device, at random times in random steps, and lets the last one finish.
func TestKilled(t *testing.T) {
	if dev := os.Getenv("FLASH_CHILD"); dev != "" {
		var size int64
		fmt.Sscan(os.Getenv("FLASH_SIZE"), &size)
		root := loopRoot(t, dev, size)
		d, err := Find(root, dev)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := open(t, os.Getenv("FLASH_IMAGE")).WriteDevice(t.Context(), root, &d, func(step string, done, total int64) {
			fmt.Println(step)
			os.Stdin.Read(make([]byte, 1)) // when the parent has seen it
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("written %d of %d\n", rep.Written, rep.Mapped)
		return
	}
	const size = 12*chunkSize + 512
	d, _, backing := loop(t, t.TempDir(), size)
	want := card(size, 1)
	image := save(t, "a.img", want)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	const kills = 8
	for try := 1; ; try++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "FLASH_CHILD="+d.file, "FLASH_IMAGE="+image, fmt.Sprintf("FLASH_SIZE=%d", size))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); errors.Is(err, unix.ENOEXEC) {
			t.Skip("emulated, on a kernel that does not start such programs")
		} else if err != nil {
			t.Fatal(err)
		}
		stop, said := 1+r.IntN(10), []string{} // there are more steps than that
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said = append(said, lines.Text())
			in.Write([]byte{1})
			if len(said) == stop && try <= kills {
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
				cmd.Process.Kill()
			}
		}
		err = cmd.Wait()
		if try > kills {
			if err != nil {
				t.Fatalf("the last attempt: %v, %q", err, said)
			}
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 { // not killed
			t.Fatalf("attempt %d ended by itself: %v, %q", try, err, said)
		}
		t.Logf("killed in %s, step %d", said[len(said)-1], len(said))
		got, err := os.ReadFile(backing)
		if err != nil {
			t.Fatal(err)
		}
		if got[511] == 0xaa && !bytes.Equal(got[chunkSize:], want[chunkSize:]) {
			t.Fatalf("killed at attempt %d, and the card has a partition table but not all else", try)
		}
	}
	holds(t, backing, want)
}

// TestFind has what is no whole disk.
func TestFind(t *testing.T) {
	d, root, _ := loop(t, t.TempDir(), 1<<20)
	number := d.number
	root["sys/dev/block/"+number] = &fstest.MapFile{Data: []byte("../../block/sdz/sdz1"), Mode: fs.ModeSymlink | 0o777}
	root["sys/block/sdz/sdz1/partition"] = &fstest.MapFile{Data: []byte("1")}
	if _, err := Find(root, d.file); err == nil || !strings.Contains(err.Error(), "is one partition, and an image is for a whole disk: name /dev/sdz") {
		t.Errorf("a partition: %v", err)
	}
	delete(root, "sys/dev/block/"+number)
	for _, test := range []struct{ path, want string }{
		{d.file, "the kernel knows no disk with the numbers " + number},
		{"/dev/null", "is no block device"},
		{filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if _, err := Find(root, test.path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.path, err)
		}
	}
}
