// Package mosquittotest starts Mosquitto, a real MQTT broker, for tests.
package mosquittotest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Broker is a Mosquitto of a test's own.
type Broker struct {
	Port int

	t    *testing.T
	conf string
	cmd  *exec.Cmd
	ran  chan struct{}
}

// Start starts one that listens at 127.0.0.1, with further lines of its configuration: those of its listener, and allow_anonymous unless there is a password file. It skips
// the test where there is no Mosquitto. The broker ends with the test.
func Start(t *testing.T, lines ...string) *Broker {
	t.Helper()
	find(t, "mosquitto")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{Port: l.Addr().(*net.TCPAddr).Port, t: t, conf: filepath.Join(t.TempDir(), "mosquitto.conf")}
	l.Close()
	conf := fmt.Sprintf("user root\npersistence false\nlistener %d 127.0.0.1\n%s\n", b.Port, strings.Join(lines, "\n"))
	if !strings.Contains(conf, "password_file") {
		conf += "allow_anonymous true\n"
	}
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Run()
	t.Cleanup(b.Stop)
	return b
}

// find is where a program is, also for users whose path has no sbin.
func find(t *testing.T, name string) string {
	for _, name := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("no %s here: install Debian's package mosquitto", name)
	return ""
}

// Passwords makes a file of passwords with one user.
func Passwords(t *testing.T, user, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command(find(t, "mosquitto_passwd"), "-b", "-c", path, user, password).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	return path
}

// Run starts the broker again after Stop, at the same port, and waits until it listens.
func (b *Broker) Run() {
	b.t.Helper()
	b.cmd = exec.Command(find(b.t, "mosquitto"), "-c", b.conf)
	var out strings.Builder
	b.cmd.Stdout, b.cmd.Stderr = &out, &out
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.ran = make(chan struct{})
	go func(cmd *exec.Cmd, ran chan struct{}) { cmd.Wait(); close(ran) }(b.cmd, b.ran)
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-b.ran:
			b.t.Fatalf("mosquitto ended: %s", out.String())
		default:
		}
		if time.Since(start) > 20*time.Second {
			b.t.Fatal("mosquitto does not listen")
		}
	}
}

// Stop ends the broker.
func (b *Broker) Stop() {
	b.cmd.Process.Kill()
	<-b.ran
}

// Pause makes the broker answer nothing, or go on, as a machine does that hangs.
func (b *Broker) Pause(on bool) {
	b.t.Helper()
	sig := syscall.SIGCONT
	if on {
		sig = syscall.SIGSTOP
	}
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
}

// URL is where a client finds it.
func (b *Broker) URL() string { return fmt.Sprintf("mqtt://127.0.0.1:%d", b.Port) }
