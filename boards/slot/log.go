package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// log adds a line to the log. That it cannot is no reason not to do what it tells of.
func (s *Store) log(format string, a ...any) {
	path := s.disk.path(logFile)
	_, up, _ := s.now()
	line := fmt.Sprintf("%s, %d s after boot: %s\n", time.Now().UTC().Format(time.RFC3339), int64(up.Seconds()), strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", "; "))
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		if b, err := os.ReadFile(path); err == nil {
			b = b[len(b)/2:]
			s.disk.replace(logFile, b[strings.IndexByte(string(b), '\n')+1:], 0o644)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(line)
	f.Sync()
}

// Log is the log, from the earliest line that is kept.
func (s *Store) Log() (string, error) {
	b, err := readLimited(s.disk.path(logFile), 2*maxLog)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// Why is why id is not on trial any more: the log's last line about its end, or else its last line.
func (s *Store) Why(id string) string {
	text, _ := s.Log()
	if i := strings.LastIndex(text, id+" rolled back"); i >= 0 {
		line, _, _ := strings.Cut(text[i:], "\n")
		return line
	}
	return s.Last()
}

// Last is the last line of the log, or says that there is none.
func (s *Store) Last() string {
	text, _ := s.Log()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "nothing was deployed here yet"
}
