package slot

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// pingTime is how often a deployer that only holds the lock says that it is there, and idleTime after how long without a word the board takes it for gone.
const (
	pingTime = 10 * time.Second
	idleTime = 60 * time.Second
)

// RemoteError is what the board said went wrong.
type RemoteError string

func (e RemoteError) Error() string { return string(e) }

// SendOptions are what Send needs beside the manifest.
type SendOptions struct {
	Who      string                                 // is named to those who find the board busy
	Open     func(name string) (io.ReaderAt, error) // a file of the manifest
	Progress func(Progress)                         // may be nil; What "sending" is this side's; called by one goroutine at a time
}

// Session holds the board's lock, so that nobody else deploys, until it is closed.
type Session struct {
	ID    string // of the version, which is whole there
	Sent  int64  // bytes of pieces
	stop  func()
	ended chan struct{}
}

// Close gives the lock back.
func (s *Session) Close() { s.stop(); <-s.ended }

// Send brings the files of a manifest to the board at the other end of r and w, where [Store.Receive] runs, as far as they are not there. After an error that
// is no [RemoteError] it can be tried again with another connection; what came whole is not sent again. w is closed at the session's end.
func Send(ctx context.Context, r io.Reader, w io.WriteCloser, m *Manifest, opt SendOptions) (*Session, error) {
	s, err := send(ctx, r, w, m, opt)
	if err != nil {
		w.Close()
	}
	return s, err
}

func send(ctx context.Context, r io.Reader, w io.WriteCloser, m *Manifest, opt SendOptions) (*Session, error) {
	tell := opt.Progress
	var telling sync.Mutex // both directions have progress
	opt.Progress = func(p Progress) {
		telling.Lock()
		defer telling.Unlock()
		if tell != nil {
			tell(p)
		}
	}
	br := bufio.NewReader(r)
	line, err := br.ReadSlice('\n')
	if err != nil && len(line) == 0 {
		return nil, fmt.Errorf("the board's program said nothing: %w", err)
	}
	if string(line) != greeting {
		return nil, RemoteError(fmt.Sprintf("%.100q is not what a board that receives says first: its shell's start-up files must print nothing, and its bimamba must be of this one's protocol, %d", line, Protocol))
	}
	if err := writeJSON(w, kindOffer, offer{opt.Who, m.encode()}); err != nil {
		return nil, orRemote(br, err)
	}
	n := new(need)
	if err := await(br, kindNeed, n, opt.Progress); err != nil {
		return nil, err
	}
	if err := n.check(m); err != nil {
		return nil, RemoteError(err.Error())
	}
	// The board can fail while pieces are still being written to it: somebody has to listen.
	answer := make(chan error, 1)
	var d done
	go func() { answer <- await(br, kindDone, &d, opt.Progress) }()
	sent, err := sendPieces(ctx, w, m, n, opt)
	var local *localError
	if errors.As(err, &local) || ctx.Err() != nil {
		return nil, err
	}
	// Where writing failed the board may have said why before it left.
	ping := time.NewTicker(pingTime)
	defer ping.Stop()
	for {
		select {
		case aerr := <-answer:
			if aerr != nil {
				return nil, aerr
			}
			if err == nil && d.ID != m.ID() {
				err = RemoteError(fmt.Sprintf("the board calls the version %.40q, and it is %s", d.ID, m.ID()))
			}
			if err != nil {
				return nil, err
			}
			return hold(w, d.ID, sent), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ping.C:
			if err == nil {
				writeFrame(w, kindPing)
			}
		}
	}
}

// orRemote is what the board said when writing to it failed, or why that failed.
func orRemote(r io.Reader, err error) error {
	var remote RemoteError
	if e := await(r, 0, nil, func(Progress) {}); errors.As(e, &remote) {
		return e
	}
	return err
}

// await reads frames up to the one of a kind, into v.
func await(r io.Reader, want byte, v any, progress func(Progress)) error {
	for {
		kind, b, err := readFrame(r, maxAnswer)
		if err != nil {
			return fmt.Errorf("the connection ended: %w", err)
		}
		switch kind {
		case kindFail:
			return RemoteError(fmt.Sprintf("%.2000s", b))
		case kindProgress:
			var p Progress
			if err := json.Unmarshal(b, &p); err != nil {
				return RemoteError("progress that is none: " + err.Error())
			}
			progress(p)
		case want:
			if err := json.Unmarshal(b, v); err != nil {
				return RemoteError(fmt.Sprintf("a frame %q: %v", kind, err))
			}
			return nil
		default:
			return RemoteError(fmt.Sprintf("a frame %q that is not expected here", kind))
		}
	}
}

// check checks that all that is asked for was offered, once.
func (n *need) check(m *Manifest) error {
	file, next := 0, 0
	var bytes int64
	for _, run := range n.Runs {
		if run[0] > file {
			file, next = run[0], 0
		}
		if run[0] < file || run[1] < next || run[2] < 1 || file >= len(m.Files) || run[1] > len(m.Files[file].Pieces) || run[2] > len(m.Files[file].Pieces)-run[1] {
			return fmt.Errorf("the board asks for pieces %v, which were not offered", run)
		}
		next = run[1] + run[2]
		for _, p := range m.Files[file].Pieces[run[1]:next] {
			bytes += p.Size
		}
	}
	n.Bytes = bytes
	return nil
}

// localError is a fault of this side.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

func sendPieces(ctx context.Context, w io.Writer, m *Manifest, n *need, opt SendOptions) (sent int64, err error) {
	buf := make([]byte, MaxPiece)
	for _, run := range n.Runs {
		f := &m.Files[run[0]]
		src, err := opt.Open(f.Name)
		if err != nil {
			return sent, &localError{err}
		}
		for i := run[1]; i < run[1]+run[2]; i++ {
			if err := ctx.Err(); err != nil {
				return sent, err
			}
			p := f.Pieces[i]
			if _, err := io.ReadFull(io.NewSectionReader(src, p.Offset, p.Size), buf[:p.Size]); err != nil {
				return sent, &localError{fmt.Errorf("%s, at %d: %w", f.Name, p.Offset, err)}
			}
			head := binary.BigEndian.AppendUint32([]byte{byte(run[0])}, uint32(i))
			if err := writeFrame(w, kindData, head, buf[:p.Size]); err != nil {
				return sent, err
			}
			sent += p.Size
			opt.Progress(Progress{"sending", sent, n.Bytes})
		}
	}
	return sent, nil
}

// hold keeps the session.
func hold(w io.WriteCloser, id string, sent int64) *Session {
	quit := make(chan struct{})
	s := &Session{ID: id, Sent: sent, stop: sync.OnceFunc(func() { close(quit) }), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		defer w.Close()
		t := time.NewTicker(pingTime)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				if writeFrame(w, kindPing) != nil {
					return
				}
			}
		}
	}()
	return s
}
