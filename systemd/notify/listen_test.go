package notify

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const childVar = "NOTIFY_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) == "" {
		os.Exit(m.Run())
	}
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // what systemd sets between fork and exec
	if err := activated(); err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// activated takes the passed sockets and answers one connection on each with its name.
func activated() error {
	listeners, err := Listeners()
	if err != nil {
		return err
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, set := os.LookupEnv(name); set {
			return fmt.Errorf("%s is still set", name)
		}
	}
	if again, err := Listeners(); len(again) != 0 || err != nil {
		return fmt.Errorf("a second call: %v, %v", again, err)
	}
	for i := range listeners { // the passed descriptors themselves are closed; what is there now belongs to the listeners
		if flags, err := unix.FcntlInt(uintptr(firstFD+i), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			return fmt.Errorf("file descriptor %d leaks into children", firstFD+i)
		}
	}
	for _, l := range listeners {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintf(conn, "%s %s", l.Name, l.Addr().Network())
		conn.Close()
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// activate starts a child with the sockets; its output is what went wrong.
func activate(t *testing.T, names string, files ...*os.File) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skip("the test's own program is not known: ", err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVar+"=1", "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Skip("the test's own program does not start: ", err)
	}
	return cmd, &out
}

func TestActivation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var files []*os.File
	var addrs []net.Addr
	for _, a := range []Listener{{Name: "tcp"}, {Name: "unix"}, {Name: "abstract"}} {
		network, address := "unix", path
		switch a.Name {
		case "tcp":
			network, address = "tcp", "127.0.0.1:0"
		case "abstract":
			address = fmt.Sprintf("@bimamba-listen-test-%d", os.Getpid())
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files, addrs = append(files, f), append(addrs, l.Addr())
	}
	cmd, out := activate(t, "http:metrics:http", files...)
	for i, want := range []string{"http tcp", "metrics unix", "http unix"} {
		conn, err := net.DialTimeout(addrs[i].Network(), addrs[i].String(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		got, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || string(got) != want {
			t.Errorf("socket %d: %q, %v, want %q", i, got, err, want)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the Unix socket that systemd owns: %v", err)
	}
}

func TestActivationRefuses(t *testing.T) {
	dir := t.TempDir()
	open := func(domain, kind int, bind unix.Sockaddr) *os.File {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "socket")
		t.Cleanup(func() { f.Close() })
		if bind != nil {
			if err := unix.Bind(fd, bind); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		name string
		file *os.File
		want string
	}{
		{"regular", file, "regular (file descriptor 3): it is not a socket"},
		{"udp", open(unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{}), "udp (file descriptor 3): it is neither a TCP nor a Unix stream socket"},
		{"seqpacket", open(unix.AF_UNIX, unix.SOCK_SEQPACKET, &unix.SockaddrUnix{Name: filepath.Join(dir, "q")}), "seqpacket (file descriptor 3): it is neither"},
		{"connection", open(unix.AF_INET, unix.SOCK_STREAM, nil), "connection (file descriptor 3): it does not listen"},
	} {
		cmd, out := activate(t, tt.name, tt.file)
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: %v, %q; want %q", tt.name, err, out, tt.want)
		}
	}
}

func TestParseListen(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		pid, fds, names string
		want            string // names, or an error
	}{
		{pid, "2", "http:metrics", "[http metrics]"},
		{pid, "2", "", "[unknown unknown]"},
		{pid, "2", "http:", "[http ]"},
		{pid, "0", "", "[]"},
		{"1", "2", "http:metrics", "[]"},
		{"", "2", "", "[]"},
		{pid, "", "", "[]"},
		{pid, "2", "http", "LISTEN_FDNAMES=http has 1 names for 2 sockets"},
		{pid, "-1", "", "LISTEN_FDS=-1 is no number"},
		{pid, "99999999999", "", "LISTEN_FDS=99999999999 is no number"},
		{pid, "257", "", "from 0 to 256"},
		{"me", "1", "", "LISTEN_PID=me is no process id"},
		{"0", "1", "", "LISTEN_PID=0 is no process id"},
	} {
		names, err := parseListen(tt.pid, tt.fds, tt.names)
		got := fmt.Sprint(names)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%q %q %q: %s, want %s", tt.pid, tt.fds, tt.names, got, tt.want)
		}
	}
}

func FuzzListen(f *testing.F) {
	f.Add("2", "http:metrics")
	f.Add("1", "")
	f.Add("-1", ":::")
	f.Add("256", "a")
	pid := strconv.Itoa(os.Getpid())
	f.Fuzz(func(t *testing.T, fds, names string) {
		list, err := parseListen(pid, fds, names)
		if err != nil {
			return
		}
		if n, _ := strconv.Atoi(fds); len(list) != n || n > maxFDs {
			t.Fatalf("%d names for LISTEN_FDS=%s", len(list), fds)
		}
	})
}
