package sensor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is an external meter: a program that prints watts, one number a line. It goes on printing, or prints one number and ends;
// then it is started for each reading.
//
// A program that prints more often than it is read loses nothing: a reading is the mean of the lines since the one before, and its time the middle of theirs.
type Command struct {
	Args     []string      // the program and its arguments; no shell is between
	Interval time.Duration // how often it is read, or started; 0 is 1 s
	Timeout  time.Duration // how long a line may take; 0 is 5 s
	Error    float64       // the meter's relative error, from its manual; 0 is taken as 2 %
	Includes string        // what is behind the meter; "" is the whole board with its supply
}

const (
	maxLine        = 128  // bytes
	maxLinesSecond = 1000 // a program that prints more is not a meter
)

// external reads a Command.
type external struct {
	c    Command
	info Info
	run  *run
	wait *time.Timer
}

// OpenMeter checks c and starts nothing: Read does.
func OpenMeter(c Command) (Sensor, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return nil, errors.New("meter: no command; give the program that prints watts")
	}
	if !(c.Error >= 0 && c.Error <= 1) || c.Interval < 0 || c.Timeout < 0 {
		return nil, fmt.Errorf("meter: interval %v, timeout %v and error %g must not be negative, nor the error above 1", c.Interval, c.Timeout, c.Error)
	}
	if _, err := exec.LookPath(c.Args[0]); err != nil {
		return nil, oneLine(fmt.Errorf("meter: %w", err))
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	source := "given"
	if c.Error == 0 {
		c.Error, source = 0.02, "assumed: none was given"
	}
	if c.Includes == "" {
		c.Includes = "the whole board with its supply"
	}
	e := &external{c: c, info: Info{
		Name: "meter " + c.Args[0], Quantities: Power, Interval: c.Interval, MaxGap: max(5*c.Interval, c.Timeout),
		Error: c.Error, ErrorSource: source, Includes: c.Includes,
	}}
	e.wait = time.NewTimer(c.Timeout)
	e.wait.Stop()
	return e, nil
}

func (e *external) Info() Info { return e.info }

func (e *external) Close() error {
	if e.run != nil {
		e.run.kill()
		for range e.run.unread { // until it has ended
		}
		e.run = nil
	}
	return nil
}

// Read returns the mean of the lines that were not read yet, or waits for one.
func (e *external) Read(ctx context.Context) (Sample, error) {
	e.wait.Reset(e.c.Timeout)
	defer e.wait.Stop()
	started := false
	for {
		if e.run == nil {
			if started {
				return Sample{}, noReading(e.info.Name, errors.New("it ended without a number"))
			}
			var err error
			if e.run, err = start(e.c.Args); err != nil {
				return Sample{}, noReading(e.info.Name, err)
			}
			started = true
		}
		select {
		case l, ok := <-e.run.unread:
			if !ok { // it ended after its last line: a program that prints once
				e.run = nil
				continue
			}
			s, err := l.sample()
			if err != nil {
				return Sample{}, noReading(e.info.Name, err)
			}
			return s, nil
		case <-e.wait.C:
			e.Close()
			return Sample{}, noReading(e.info.Name, fmt.Errorf("it printed no line in %v", e.c.Timeout))
		case <-ctx.Done():
			return Sample{}, noReading(e.info.Name, ctx.Err())
		}
	}
}

// run is a program that is running.
type run struct {
	cmd    *exec.Cmd
	out    *os.File
	unread chan lines // closed when the program has ended
	stderr head
}

type line struct {
	watts float64
	at    time.Time
	err   error
}

// lines are those that nobody read yet.
type lines struct {
	line  // the newest
	first time.Time
	n     int
	sum   float64 // W
}

// add makes l the newest. Of an error and what is none the newest counts.
func (ls *lines) add(l line) {
	if ls.n == 0 || ls.err != nil || l.err != nil {
		*ls = lines{line: l, first: l.at, n: 1, sum: l.watts}
		return
	}
	ls.line = l
	ls.sum += l.watts
	ls.n++
}

// sample is their mean. All weigh the same: a meter prints at a steady rate, and the times of lines that come out of a buffer at once say nothing.
func (ls *lines) sample() (Sample, error) {
	s := Sample{Time: ls.first.Add(ls.at.Sub(ls.first) / 2)}
	if ls.err != nil {
		return s, ls.err
	}
	return s, s.power(ls.sum / float64(ls.n))
}

func start(args []string) (*run, error) {
	r := &run{cmd: exec.Command(args[0], args[1:]...), unread: make(chan lines, 1)}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.out = out
	r.cmd.Stdout, r.cmd.Stderr = in, &r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that kill reaches what it started
	r.cmd.WaitDelay = time.Second                           // for what still holds stderr
	err = r.cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	go r.follow()
	return r, nil
}

// kill makes follow end the program, if it has not ended.
func (r *run) kill() { r.out.Close() }

// follow parses lines until the program ends, or prints what no meter prints.
func (r *run) follow() {
	defer close(r.unread)
	rest, err := r.scan()
	if err != nil { // here, before Wait, the number of the group is surely its own
		unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL)
	}
	r.out.Close()
	late := time.AfterFunc(time.Second, func() { r.cmd.Process.Kill() }) // a program that closed its output and stays
	werr := r.cmd.Wait()
	late.Stop()
	switch {
	case err != nil:
		r.put(line{err: err})
	case werr != nil:
		if first := r.stderr.line(); len(first) > 0 {
			werr = fmt.Errorf("%w: %s", werr, quoted(first))
		}
		r.put(line{err: werr})
	case len(rest) > 0: // whole, as the program ended well
		r.put(parseMeter(rest))
	}
}

// scan returns what follows the last newline.
func (r *run) scan() ([]byte, error) {
	b := bufio.NewReaderSize(r.out, maxLine)
	n, second := 0, time.Now()
	for {
		text, err := b.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			return nil, fmt.Errorf("a line of more than %d bytes: %s is no number of watts", maxLine, quoted(text))
		}
		if errors.Is(err, os.ErrClosed) {
			return nil, errors.New("it was stopped")
		}
		if err != nil { // it ended
			return bytes.TrimSpace(text), nil
		}
		now := time.Now()
		if now.Sub(second) >= time.Second {
			n, second = 0, now
		}
		if n++; n > maxLinesSecond {
			return nil, fmt.Errorf("more than %d lines in a second: that is no meter", maxLinesSecond)
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			r.put(parseMeter(text))
		}
	}
}

// put adds l to the lines that nobody read. follow alone calls it.
func (r *run) put(l line) {
	var ls lines
	select {
	case ls = <-r.unread:
	default:
	}
	ls.add(l)
	r.unread <- ls
}

// parseMeter reads a number of watts, with or without a W.
func parseMeter(text []byte) line {
	number, _ := bytes.CutSuffix(text, []byte("W"))
	v, ok := decimal(bytes.TrimRight(number, " "))
	switch {
	case !ok:
		return line{err: fmt.Errorf("%s is no number of watts", quoted(text))}
	case v == 0:
		return line{err: errors.New("the meter shows 0 W: this board, which is on, is not behind it")}
	}
	return line{watts: v, at: time.Now()}
}

// head keeps the beginning of what is written.
type head struct{ b []byte }

var _ io.Writer = (*head)(nil)

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), 256-len(h.b))]...)
	return len(p), nil
}

// line is the first line.
func (h *head) line() []byte {
	first, _, _ := bytes.Cut(bytes.TrimSpace(h.b), []byte{'\n'})
	return first
}
