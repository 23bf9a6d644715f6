package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// OpenFile opens a regular file. A pipe or a device, which might block or never end, is refused.
func OpenFile(path string) (f *os.File, size int64, err error) {
	// Stat first: opening a pipe waits for its other end.
	st, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s: not a regular file", path)
	}
	if f, err = os.Open(path); err != nil {
		return nil, 0, err
	}
	if st, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// ReadFile reads a regular file of limit bytes at most.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, size, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, more than %d", path, size, limit)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Recognise says of a file that is not of the format it was opened as what it is instead and what to do, or nil if that is not known.
func Recognise(r io.ReaderAt, size int64) error {
	head := make([]byte, min(512, size))
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	text := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))))
	for _, k := range known {
		at := head
		if k.text {
			at = text
		}
		if len(at) >= k.offset && bytes.HasPrefix(at[k.offset:], []byte(k.magic)) {
			return errors.New(k.what)
		}
	}
	if size == 0 {
		return errors.New("the file is empty; copy or download it again")
	}
	return nil
}

// known is what lies in place of checkpoints.
var known = []struct {
	offset int
	magic  string
	text   bool // compared without white space in front and in lower case
	what   string
}{
	{0, "version https://git-lfs", true, "a Git LFS pointer, not the file itself; run git lfs pull where it was cloned"},
	{0, "<!doctype", true, "a web page, not a checkpoint: the download went wrong; download the file itself"},
	{0, "<html", true, "a web page, not a checkpoint: the download went wrong; download the file itself"},
	// The pickled magic number 0x1950a86a20f9469cfc6c.
	{2, "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", false, "PyTorch's format of before 1.6; load it in a newer PyTorch and torch.save it again"},
	{257, "ustar", false, "a tar archive, perhaps PyTorch's oldest format; load it in a newer PyTorch and torch.save it again, or unpack it"},
	{0, "PK\x03\x04", false, "a zip archive; if PyTorch wrote it, its name has to end in .bin or .pt"},
	{8, `{"`, false, "a safetensors file; its name has to end in .safetensors"},
	{0, "GGUF", false, "a GGUF file of llama.cpp, already quantized; convert the original checkpoint"},
	{0, "\x1f\x8b", false, "compressed with gzip; unpack it"},
	{0, "\x28\xb5\x2f\xfd", false, "compressed with zstd; unpack it"},
	{0, "\x80\x02", false, "a bare pickle, not a checkpoint of torch.save; save the state_dict with PyTorch 1.6 or newer"},
	{0, "\x80\x03", false, "a bare pickle, not a checkpoint of torch.save; save the state_dict with PyTorch 1.6 or newer"},
	{0, "\x80\x04", false, "a bare pickle, not a checkpoint of torch.save; save the state_dict with PyTorch 1.6 or newer"},
	{0, "\x80\x05", false, "a bare pickle, not a checkpoint of torch.save; save the state_dict with PyTorch 1.6 or newer"},
}
