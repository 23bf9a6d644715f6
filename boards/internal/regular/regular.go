// Package regular opens files of trees that others made, in which anything may lie where a file should.
package regular

import (
	"fmt"
	"io/fs"
)

// Open is root.Open for regular files, which those of /proc and sysfs are, too. It looks before it opens: opening a named pipe waits for a writer, which may never come,
// and opening a device may do something. The error is an *fs.PathError.
func Open(root fs.FS, name string) (fs.File, error) {
	st, err := fs.Stat(root, name)
	if err != nil {
		return nil, err
	}
	if kind := kind(st.Mode()); kind != "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it is %s, not a file", kind)}
	}
	return root.Open(name)
}

// kind says what is no regular file.
func kind(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return ""
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
