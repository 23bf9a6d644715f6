package slot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Names of the units, of package bimamba/systemd/unit.
const (
	serviceUnit = "bimambad.service"
	socketUnit  = "bimambad.socket"
	timerUnit   = "bimamba-slot-expire.timer"
)

// Systemctl is the daemon's service under systemd, by the program systemctl.
type Systemctl struct {
	Context context.Context
}

// systemctlTime is more than a stop or a start of the service may take.
const systemctlTime = 3 * time.Minute

func (s Systemctl) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Context, systemctlTime)
	defer cancel()
	c := exec.CommandContext(ctx, "systemctl", args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		what := strings.TrimSpace(stderr.String())
		if what == "" {
			what = err.Error()
		}
		first, _, _ := strings.Cut(what, "\n")
		return "", fmt.Errorf("systemctl %s: %s", strings.Join(args, " "), first)
	}
	return string(out), nil
}

// Stop ends the daemon.
func (s Systemctl) Stop() error {
	_, err := s.run("stop", serviceUnit)
	if err != nil && strings.Contains(err.Error(), "not loaded") {
		return nil
	}
	return err
}

// Restart reads the units again and starts the daemon.
func (s Systemctl) Restart() error {
	if err := s.Reload(); err != nil {
		return err
	}
	s.run("reset-failed", serviceUnit) // it may have failed too often to be started; otherwise this fails, and does not matter
	_, err := s.run("restart", serviceUnit)
	return err
}

// Reload reads the units' files again.
func (s Systemctl) Reload() error { _, err := s.run("daemon-reload"); return err }

// Watch starts or stops the timer of trials.
func (s Systemctl) Watch(on bool) {
	verb := "stop"
	if on {
		verb = "start"
	}
	s.run(verb, timerUnit) // without it a trial still ends at the next boot
}

// MainPID is the daemon's process, 0 if it does not run.
func (s Systemctl) MainPID() (int, error) {
	out, err := s.run("show", "-P", "MainPID", serviceUnit)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, errors.New("systemctl show MainPID: " + err.Error())
	}
	return pid, nil
}

// State is the service's state in words: active (running).
func (s Systemctl) State() (string, error) {
	active, err := s.run("show", "-P", "ActiveState", serviceUnit)
	if err != nil {
		return "", err
	}
	sub, err := s.run("show", "-P", "SubState", serviceUnit)
	return fmt.Sprintf("%s (%s)", strings.TrimSpace(active), strings.TrimSpace(sub)), err
}

// Sockets are the addresses of the socket unit, as 127.0.0.1:11434 or a path.
func (s Systemctl) Sockets() (list []string, err error) {
	out, err := s.run("show", "-P", "Listen", socketUnit)
	for line := range strings.Lines(out) {
		if address, ok := strings.CutSuffix(strings.TrimSpace(line), " (Stream)"); ok {
			list = append(list, address)
		}
	}
	return list, err
}
