package daemon

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a service manager's socket.
func manager(t *testing.T) (path string, messages chan string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	messages = make(chan string, 1000)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			messages <- string(b[:n])
		}
	}()
	return path, messages
}

// expect waits for a message that has all of some lines' beginnings.
func expect(t *testing.T, messages <-chan string, want ...string) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
	var seen []string
	for {
		select {
		case m := <-messages:
			ok := true
			for _, w := range want {
				ok = ok && (strings.HasPrefix(m, w) || strings.Contains(m, "\n"+w))
			}
			if ok {
				return m
			}
			seen = append(seen, m)
		case <-timeout:
			t.Fatalf("no message %q; there were %q", want, seen)
		}
	}
}

func TestNotify(t *testing.T) {
	path, messages := manager(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "200000")
	d := newTester(t)
	d.configure()
	d.run(Options{})
	expect(t, messages, "STATUS=opening "+d.blob)
	expect(t, messages, "READY=1", "STATUS=answering at "+d.url)
	expect(t, messages, "WATCHDOG=1") // idle
	res, _ := d.stream()
	for len(messages) > 0 {
		<-messages
	}
	for range 4 {
		expect(t, messages, "WATCHDOG=1") // busy
	}
	res.Body.Close()
	d.sighup()
	expect(t, messages, "RELOADING=1", "MONOTONIC_USEC=")
	expect(t, messages, "READY=1")
	expect(t, messages, "WATCHDOG=1")
	os.WriteFile(d.file(), []byte("x"), 0o644)
	d.sighup()
	expect(t, messages, "RELOADING=1")
	expect(t, messages, "READY=1") // the old configuration goes on
	d.stop()
	expect(t, messages, "STOPPING=1")
}

// child is the built program.
type child struct {
	*tester
	cmd *exec.Cmd
}

// spawn starts the program and waits until it answers; passed are sockets for it.
func (d *tester) spawn(passed ...*os.File) *child {
	d.t.Helper()
	before := strings.Count(d.log.String(), "msg=ready")
	c := d.launch(nil, passed...)
	eventually(d.t, "the program is ready", func() bool { return strings.Count(d.log.String(), "msg=ready") > before })
	log := d.log.String()
	_, line, _ := strings.Cut(log[strings.LastIndex(log, "msg=ready"):], "listen=")
	d.url = strings.Fields(strings.Trim(line, `"`))[0]
	return c
}

// launch starts the program with more environment.
func (d *tester) launch(env []string, passed ...*os.File) *child {
	d.t.Helper()
	c := &child{tester: d}
	// A shell becomes the program, so that the process knows its own id.
	c.cmd = exec.Command("/bin/sh", "-c", `[ -z "$LISTEN_FDS" ] || export LISTEN_PID=$$; exec "$0" "$@"`, program(d.t), "--config", d.file())
	c.cmd.Stderr, c.cmd.ExtraFiles = &d.log, passed
	c.cmd.Env = append(os.Environ(), "JOURNAL_STREAM=")
	if len(passed) > 0 {
		names := strings.Repeat(":bimambad.socket", len(passed))[1:]
		c.cmd.Env = append(c.cmd.Env, fmt.Sprint("LISTEN_FDS=", len(passed)), "LISTEN_FDNAMES="+names)
	}
	c.cmd.Env = append(c.cmd.Env, env...)
	if err := c.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		c.kill()
		if d.t.Failed() {
			d.t.Logf("log:\n%s", &d.log)
		}
	})
	return c
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.client.CloseIdleConnections()
}

// wait is the program's exit status, -1 if it does not end.
func (c *child) wait() int {
	done := make(chan int, 1)
	go func() {
		c.cmd.Wait()
		done <- c.cmd.ProcessState.ExitCode()
	}()
	select {
	case status := <-done:
		return status
	case <-time.After(10 * time.Second):
		return -1
	}
}

// TestProgram: signals, and a second start beside the first.
func TestProgram(t *testing.T) {
	d := newTester(t)
	d.configure()
	c := d.spawn()
	c.lives()
	copyDefault(t, d.blob)
	c.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "a reload", func() bool { return strings.Contains(d.log.String(), "msg=reloaded") })
	c.lives()
	c.cmd.Process.Signal(syscall.SIGTERM)
	if status := c.wait(); status != 0 {
		t.Errorf("SIGTERM: status %d", status)
	}
}

// TestActivation: sockets that were passed are used instead of the configured ones, stay open when the daemon ends for want of work, and start it again.
func TestActivation(t *testing.T) {
	d := newTester(t)
	d.configure(`listen = ["127.0.0.1:1"]`, `idle_exit = "1s"`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(d.dir, "s")
	u, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	uf, err := u.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer uf.Close()
	for range 2 {
		answer := make(chan string, 1)
		go func() { // before the daemon is there: the connection waits in the socket
			res, err := http.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(lights))
			if err != nil {
				answer <- err.Error()
				return
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			answer <- string(b)
		}()
		c := d.spawn(f, uf)
		if body := <-answer; !strings.Contains(body, "HassTurnOn") {
			t.Errorf("the first answer: %s", body)
		}
		if res, err := overUnix(path).Get("http://localhost/health"); err != nil || res.StatusCode != 200 {
			t.Errorf("the Unix socket: %v %v", res, err)
		}
		http.DefaultClient.CloseIdleConnections()
		if status := c.wait(); status != 0 {
			t.Errorf("the idle exit: status %d", status)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the socket's file is the service manager's: %v", err)
		}
	}
	log := d.log.String()
	for _, want := range []string{
		fmt.Sprintf("names=\"bimambad.socket=http://%s bimambad.socket=unix:%s\"", l.Addr(), path), // as they were passed
		`level=WARN msg="listen is not used`, "listen=[127.0.0.1:1]", "from=" + d.file() + ":",
	} {
		if strings.Count(log, want) != 2 {
			t.Errorf("the log does not say %q once for each start", want)
		}
	}
}

// TestSandbox: the program has given up what it does not need, and still reloads and saves.
func TestSandbox(t *testing.T) {
	d := newTester(t)
	d.configure(`sandbox = "auto"`, fmt.Sprintf("state_dir = %q", d.state()))
	c := d.spawn()
	if !strings.Contains(d.log.String(), "msg=sandbox") {
		t.Error("the log does not say so")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	if !strings.Contains(string(b), "NoNewPrivs:\t1") {
		t.Errorf("no_new_privs is not set:\n%s", b)
	}
	c.lives()
	c.saved("one")
	if strings.Contains(d.log.String(), "files are not restricted") {
		t.Skip("this kernel has no Landlock")
	}
	// A new blob in the old place is found; one elsewhere needs a start, and the log says so.
	copyDefault(t, d.blob)
	c.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "a reload", func() bool { return strings.Contains(d.log.String(), "msg=reloaded") })
	elsewhere := filepath.Join(t.TempDir(), "m.bimamba")
	copyDefault(t, elsewhere)
	d.configure(`sandbox = "auto"`, fmt.Sprintf("state_dir = %q", d.state()), fmt.Sprintf("model = %q", elsewhere))
	c.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the refusal", func() bool {
		return strings.Contains(d.log.String(), "permission denied") && strings.Contains(d.log.String(), "start the daemon again")
	})
	// A token that is needed only now can still be made.
	d.configure(`sandbox = "auto"`, fmt.Sprintf("state_dir = %q", d.state()), `auth = "always"`)
	c.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "a token is made", func() bool { return strings.Contains(d.log.String(), "a token was made") })
	token, err := os.ReadFile(filepath.Join(d.state(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is asked for", func() bool {
		status, _, _ := d.do("GET", "/v1/models", "")
		return status == 401
	})
	c.lives("Authorization: Bearer " + strings.TrimSpace(string(token)))
}

// converse makes a session of that name have a state.
func (d *tester) converse(session, text string) {
	d.t.Helper()
	status, _, body := d.do("POST", "/v1/completions", fmt.Sprintf(`{"model":"default","prompt":%q,"max_tokens":4,"prompt_cache_key":%q}`, text, session))
	if status != 200 {
		d.t.Fatalf("%d %s", status, body)
	}
}

// state asks for an operation on snapshots.
func (d *tester) stateOp(op, name, session string) (int, string) {
	d.t.Helper()
	status, _, body := d.do("POST", "/v1/state", fmt.Sprintf(`{"op":%q,"name":%q,"session":%q}`, op, name, session))
	return status, body
}

// saved makes a snapshot of that name.
func (d *tester) saved(name string) {
	d.t.Helper()
	d.converse("s", "turn on the lights")
	if status, body := d.stateOp("save", name, "s"); status != 200 {
		d.t.Fatalf("save: %d %s", status, body)
	}
}

// TestKilledWhileSaving: however the program ends, the snapshot is the old one or the new one, and nothing else stays.
func TestKilledWhileSaving(t *testing.T) {
	d := newTester(t)
	d.configure(fmt.Sprintf("state_dir = %q", d.state()))
	for round := range 8 {
		c := d.spawn()
		if round == 0 {
			c.saved("one")
		}
		_, _, body := c.do("GET", "/v1/state", "")
		if !strings.Contains(body, `"name":"one"`) || !strings.Contains(body, `"usable":true`) {
			t.Fatalf("round %d: %s", round, body)
		}
		if status, body := c.stateOp("load", "one", "back"); status != 200 {
			t.Fatalf("round %d: load: %d %s", round, status, body)
		}
		c.converse("s", "turn off the lights")
		go func() {
			for range 1000 {
				res, err := http.Post(c.url+"/v1/state", "application/json", strings.NewReader(`{"op":"save","name":"one","session":"s"}`))
				if err != nil {
					return
				}
				res.Body.Close()
			}
		}()
		time.Sleep(time.Duration(5+7*round) * time.Millisecond)
		c.kill()
	}
	c := d.spawn()
	entries, err := os.ReadDir(d.state())
	if err != nil || len(entries) != 1 || entries[0].Name() != "one.state" {
		t.Errorf("in the state directory: %v %v", entries, err)
	}
	c.lives()
}

// TestFullDisk needs a file system of its own, so it runs where it may mount one.
func TestFullDisk(t *testing.T) {
	d := newTester(t)
	if err := os.Mkdir(d.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", d.state(), "tmpfs", 0, "size=3m,mode=700"); err != nil {
		t.Skip("a small file system cannot be mounted: ", err)
	}
	t.Cleanup(func() { unix.Unmount(d.state(), unix.MNT_DETACH) })
	d.configure(fmt.Sprintf("state_dir = %q", d.state()))
	d.run(Options{})
	d.saved("one")
	before, err := os.ReadFile(filepath.Join(d.state(), "one.state"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"two", "one"} {
		if status, body := d.stateOp("save", name, "s"); status != 507 || !strings.Contains(body, "no space") {
			t.Errorf("save %s on a full disk: %d %s", name, status, body)
		}
	}
	after, err := os.ReadFile(filepath.Join(d.state(), "one.state"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the snapshot has changed: %v", err)
	}
	if status, body := d.stateOp("load", "one", "back"); status != 200 {
		t.Errorf("load: %d %s", status, body)
	}
	d.lives()
}
