package flash

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxTable is the size of /proc/self/mountinfo and /proc/swaps that is read.
const maxTable = 16 << 20

// uses is what the disks are used for. The kernel has the last word, as a device that is in use cannot be opened exclusively; this says why before.
type uses struct {
	root   fs.FS
	mounts []mount
	swaps  []string // the devices' names
}

// mount is a line of mountinfo (Linux: Documentation/filesystems/proc.rst, section 3.5).
type mount struct {
	number string // MAJOR:MINOR, which is no disk's for file systems of several disks
	point  string
	source string // what was mounted
}

func readUses(root fs.FS) (*uses, error) {
	u := &uses{root: root}
	b, err := readTable(root, "proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding out what is mounted: %w", err)
	}
	u.mounts = parseMounts(b)
	if b, err = readTable(root, "proc/swaps"); err == nil { // a kernel without swap has none
		u.swaps = parseSwaps(b)
	}
	return u, nil
}

func readTable(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTable+1))
	if err == nil && len(b) > maxTable {
		err = fmt.Errorf("/%s has more than %d bytes", name, maxTable)
	}
	return string(b), err
}

func parseMounts(text string) []mount {
	var list []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 2 {
			continue
		}
		list = append(list, mount{f[2], unescape(f[4]), unescape(g[1])})
	}
	return list
}

// parseSwaps reads the names of devices; files are on what is mounted.
func parseSwaps(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "partition" {
			list = append(list, path.Base(unescape(f[0])))
		}
	}
	return list
}

// unescape undoes the \ooo of the kernel's tables.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// of says what a disk and its partitions are used for, and whether the running system is among that.
func (u *uses) of(disk string) (clauses []string, system bool) {
	add := func(name, dir string) {
		c, s := u.part(name, dir, 0)
		clauses, system = append(clauses, c...), system || s
	}
	dir := "sys/block/" + disk
	add(disk, dir)
	entries, err := fs.ReadDir(u.root, dir)
	if err != nil {
		return clauses, system
	}
	for _, e := range entries {
		if _, err := fs.Stat(u.root, path.Join(dir, e.Name(), "partition")); err == nil {
			add(e.Name(), path.Join(dir, e.Name()))
		}
	}
	return clauses, system
}

// maxDepth is how many devices are looked at that lie on each other: encryption on volumes on RAID is three.
const maxDepth = 8

// part says what one block device is used for, and what lies on it.
func (u *uses) part(name, dir string, depth int) (clauses []string, system bool) {
	number, mapped := attr(u.root, dir+"/dev"), attr(u.root, dir+"/dm/name")
	var points []string
	for _, m := range u.mounts {
		if m.number == number || m.source == "/dev/"+name || mapped != "" && m.source == "/dev/mapper/"+mapped {
			if !slices.Contains(points, m.point) {
				points = append(points, m.point)
			}
			system = system || isSystem(m.point)
		}
	}
	if len(points) > 0 {
		clauses = append(clauses, fmt.Sprintf("/dev/%s is mounted at %s", name, strings.Join(points, " and ")))
	}
	if slices.Contains(u.swaps, name) || mapped != "" && slices.Contains(u.swaps, mapped) {
		clauses = append(clauses, fmt.Sprintf("/dev/%s is swap", name))
	}
	holders, err := fs.ReadDir(u.root, dir+"/holders")
	if err != nil || depth == maxDepth {
		return clauses, system
	}
	for _, h := range holders {
		title := "/dev/" + h.Name()
		if n := attr(u.root, "sys/block/"+h.Name()+"/dm/name"); n != "" {
			title += " (" + n + ")"
		}
		clauses = append(clauses, fmt.Sprintf("/dev/%s is part of %s", name, title))
		c, s := u.part(h.Name(), "sys/block/"+h.Name(), depth+1)
		clauses, system = append(clauses, c...), system || s
	}
	return clauses, system
}

// isSystem tells whether the running system lives at a mount point.
func isSystem(point string) bool {
	return slices.Contains([]string{"/", "/usr", "/var", "/boot"}, point) || strings.HasPrefix(point, "/boot/")
}
