package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const copyrightHead = `Bi-Mamba Edge: bimamba and bimambad

Copyright of the bimamba authors. Licensed under the Apache License, Version 2.0,
which is in /usr/share/common-licenses/Apache-2.0 of Debian systems, and at
http://www.apache.org/licenses/LICENSE-2.0.

The default model, default.bimamba, is under the same licence. It was trained
with data of others: home-assistant/intents (CC BY 4.0), sonos/nlu-benchmark
(CC0 1.0; arXiv 1805.10190), clinc/oos-eval (CC BY 3.0), HWU64 (CC BY 4.0;
arXiv 1903.05566), acon96/home-llm (MIT) and WordNet 3.0 (Princeton University,
WordNet licence).

The programs have parts of the following in them, under these licences.
`

// copyright is who made what the programs are linked of, and on which terms. Programs' contents name the modules, the module cache has their licences.
func (p *product) copyright(programs ...[]byte) (string, error) {
	linked := map[string]bool{}
	for _, b := range programs {
		info, err := buildinfo.Read(bytes.NewReader(b))
		if err != nil {
			return "", err
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			linked[m.Path+" "+m.Version] = true
		}
	}
	list := func(args ...string) ([]string, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stderr = p.root, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
	}
	modules, err := list("list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}", "all")
	if err != nil {
		return "", err
	}
	goroot, err := list("env", "GOROOT")
	if err != nil {
		return "", err
	}
	dirs := map[string]string{"Go's standard library": goroot[0]}
	for _, line := range modules {
		if name, dir, _ := strings.Cut(line, "\t"); linked[name] {
			dirs[name] = dir
			delete(linked, name)
		}
	}
	for name := range linked {
		return "", fmt.Errorf("a program has %s in it, and go.mod does not; scripts/boards.sh builds it again", name)
	}
	var b strings.Builder
	b.WriteString(copyrightHead)
	names := []string{}
	for name := range dirs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := licence(dirs[name])
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", strings.Repeat("-", 78), name, text)
	}
	return b.String(), nil
}

// apache begins the text of the licence that Debian's systems and our image have a copy of.
var apache = regexp.MustCompile(`(?s)^\s*Apache License\s+Version 2\.0, January 2004`)

// holder is a line that names who holds a copyright; the example in the Apache licence has no year.
var holder = regexp.MustCompile(`(?m)^\s*Copyright .*[0-9]{4}.*$`)

// licence is the text of the files in a module's folder that are named as licences and notices are; of the Apache licence, who holds the copyright.
func licence(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n"))
		if apache.MatchString(text) {
			lines := []string{"Apache License, Version 2.0, as above."}
			for _, l := range holder.FindAllString(text, -1) {
				lines = append(lines, strings.TrimSpace(l))
			}
			text = strings.Join(lines, "\n")
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return "", fmt.Errorf("%s has no licence", dir)
	}
	return strings.Join(texts, "\n\n"), nil
}
