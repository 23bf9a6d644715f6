package fat

import "io"

// Reader reads a file from its start to its end.
type Reader struct {
	v     *Volume
	chain []uint32
	size  int64
	at    int64
}

// Size is the number of bytes in the file.
func (r *Reader) Size() int64 { return r.size }

// Read reads at most what is left of a cluster.
func (r *Reader) Read(b []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	in := r.at % r.v.cluster
	n := min(int64(len(b)), r.v.cluster-in, r.size-r.at)
	m, err := r.v.f.ReadAt(b[:n], r.v.offset(r.chain[r.at/r.v.cluster])+in)
	r.at += int64(m)
	if m > 0 && err == io.EOF {
		err = nil
	}
	return m, err
}
