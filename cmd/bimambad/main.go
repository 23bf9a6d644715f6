// Command bimambad serves a Bi-Mamba model: the protocols of OpenAI, Ollama and Wyoming over one mapped file, in fixed memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bimamba/edge/daemon"
	"bimamba/edge/daemon/config"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// run is the program. It returns the exit status: 0, 1 for what failed, 2 for what was asked wrongly.
func run(args, env []string, stdout, stderr io.Writer) int {
	check := len(args) > 0 && args[0] == "check"
	if check {
		args = args[1:]
	}
	if len(args) == 1 && args[0] == "sample-config" {
		io.WriteString(stdout, config.Sample())
		return 0
	}
	asJSON := false
	if check {
		args, asJSON = cut(args, "--json")
	}
	load := func() (*config.Config, error) { return config.Load(args, env, os.ReadFile) }
	c, err := load()
	switch {
	case errors.Is(err, config.ErrHelp):
		io.WriteString(stdout, config.Help())
		return 0
	case errors.Is(err, config.ErrVersion):
		fmt.Fprintln(stdout, "bimambad", daemon.Version)
		return 0
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	}
	if check {
		return printCheck(c, asJSON, stdout, stderr)
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := context.AfterFunc(ctx, func() { time.AfterFunc(daemon.StopTime+lastTime, func() { giveUp(stderr) }) })
	defer ended()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	if err := daemon.Run(ctx, daemon.Options{Load: load, Reload: reload, Log: stderr}); err != nil {
		fmt.Fprintln(stderr, "bimambad:", err)
		return 1
	}
	return 0
}

// lastTime is how much longer than it should take a stop may.
const lastTime = 100 * time.Millisecond

// giveUp ends the process when a stop does not: something holds it up that cannot be cancelled, as a disk that does not answer.
func giveUp(stderr io.Writer) {
	said := make(chan struct{})
	go func() { // the log may be what does not answer
		fmt.Fprintf(stderr, "bimambad: not stopped after %v: ending at once\n", daemon.StopTime+lastTime)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(lastTime / 2):
	}
	os.Exit(1)
}

// cut removes a flag from args and tells whether it was there.
func cut(args []string, flag string) (rest []string, found bool) {
	for _, a := range args {
		if a == flag {
			found = true
		} else {
			rest = append(rest, a)
		}
	}
	return rest, found
}

// printCheck shows a configuration, where each value comes from, and what memory it takes.
func printCheck(c *config.Config, asJSON bool, stdout, stderr io.Writer) int {
	r, err := daemon.Check(c)
	if asJSON {
		out := struct {
			Options []config.Source      `json:"options"`
			Model   *daemon.CheckedModel `json:"model"`
			Error   string               `json:"error,omitempty"`
		}{c.Sources(), r, ""}
		if err != nil {
			out.Error = err.Error()
		}
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		e.Encode(out)
	} else {
		config.WriteSources(stdout, c.Sources())
		if r != nil {
			fmt.Fprintf(stdout, "\n%s\n", r)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "bimambad:", err)
		return 1
	}
	return 0
}
