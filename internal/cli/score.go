package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"

	"bimamba/convert/safetensors"
	"bimamba/convert/source"
	"bimamba/edge/engine"
	"bimamba/edge/model"
	"bimamba/edge/sample"
	"bimamba/internal/atomicfile"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

func (e *env) scoreCmd() *cobra.Command {
	var ids, text, logits string
	var window int
	var force bool
	c := &cobra.Command{
		Use:   "score FILE --ids IDS.jsonl | --text TEXT.txt",
		Short: "Measure how well the model predicts given tokens",
		Long: `Score feeds token ids and adds up the negative log-likelihood of each behind those before it (natural logarithm, float64).

--ids: lines {"ids":[...]}, each from an empty state, give {"tokens":n,"nll":x} with n = length-1; the last line is {"perplexity","tokens"}.
--logits also writes the logits of line K, counted from 0, as the float32 tensor logits.K (length, rows of the embedding).

--text: the file is tokenized as a whole, with BOS in front if the model wants it, and cut into non-overlapping windows; the state is reset between them,
and a rest shorter than a window is left out, as papers on quantization do. A text shorter than one window is one window.

FILE's own tokenizer is used; "-" reads standard input.`,
		Example: `  bimamba score m.bimamba --ids ids.jsonl --logits logits.safetensors
  bimamba score m.bimamba --text wiki.test.raw --window 2048`,
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			switch {
			case (ids == "") == (text == ""):
				return fmt.Errorf("%s needs either --ids or --text", c.CommandPath())
			case window < 2:
				return fmt.Errorf("--window %d: a window has at least 2 tokens", window)
			case logits != "" && ids == "":
				return fmt.Errorf("--logits goes with --ids")
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	c.Flags().StringVar(&ids, "ids", "", "JSON lines of token ids")
	c.Flags().StringVar(&text, "text", "", "a text file")
	c.Flags().IntVar(&window, "window", 2048, "tokens a window, with --text")
	c.Flags().StringVar(&logits, "logits", "", "write the logits to this safetensors file, with --ids")
	c.Flags().BoolVar(&force, "force", false, "replace the file of --logits if it exists")
	c.Flags().Bool("json", true, "the output is JSON lines always")
	c.RunE = func(c *cobra.Command, args []string) error {
		name := ids + text
		in := io.Reader(e.stdin)
		if name == "-" {
			name = "standard input"
		} else {
			file, err := os.Open(name)
			if err != nil {
				return err
			}
			defer file.Close()
			in = file
		}
		return withEngine(args[0], flags, 1, func(eng *engine.Engine) error {
			s := newScorer(c.Context(), eng.Model)
			if text != "" {
				return e.scoreText(s, eng, in, window)
			}
			return e.scoreIDs(s, in, name, logits, force)
		})
	}
	return c
}

// scorer adds up negative log-likelihoods.
type scorer struct {
	ctx    context.Context
	model  *model.Model
	logits [][]float32 // of a batch of tokens
	nll    float64
	tokens int
}

func newScorer(ctx context.Context, m *model.Model) *scorer {
	s := &scorer{ctx: ctx, model: m, logits: make([][]float32, m.Options().Batch)}
	for i := range s.logits {
		s.logits[i] = make([]float32, m.Hyper().VocabSize)
	}
	return s
}

// sequence scores ids from an empty state. each, if not nil, gets the logits behind every id.
func (s *scorer) sequence(ids []uint32, each func([]float32) error) (nll float64, err error) {
	session := s.model.Session(0)
	session.Reset()
	feed := ids
	if each == nil {
		feed = ids[:max(0, len(ids)-1)] // nobody asks what follows the last one
	}
	rows := make([]model.Row, len(s.logits))
	for at := 0; at < len(feed); at += len(rows) {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		batch := rows[:min(len(rows), len(feed)-at)]
		for i := range batch {
			batch[i] = model.Row{Session: session, ID: feed[at+i], Logits: s.logits[i]}
		}
		if err := s.model.Batch(batch); err != nil {
			return 0, err
		}
		for i := range batch {
			if each != nil {
				if err := each(s.logits[i]); err != nil {
					return 0, err
				}
			}
			if next := at + i + 1; next < len(ids) {
				if int(ids[next]) >= len(s.logits[i]) {
					return 0, fmt.Errorf("token id %d is not a row of the embedding, which has %d", ids[next], len(s.logits[i]))
				}
				nll -= sample.LogProb(s.logits[i], ids[next])
			}
		}
	}
	if math.IsNaN(nll) {
		return 0, errors.New("the logits are not numbers: the checkpoint is damaged")
	}
	s.nll += nll
	s.tokens += max(0, len(ids)-1)
	return nll, nil
}

func (s *scorer) perplexity() any {
	if s.tokens == 0 {
		return nil
	}
	return math.Exp(s.nll / float64(s.tokens))
}

// readIDs reads every line of r, so that a bad one is found before the first is scored.
func readIDs(r io.Reader, name string, rows int) (lines [][]uint32, err error) {
	err = eachLine(r, name, func(line []byte) error {
		var row struct {
			IDs *[]uint32 `json:"ids"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		if row.IDs == nil {
			return errors.New(`there is no "ids"`)
		}
		lines = append(lines, *row.IDs)
		return checkIDs(*row.IDs, rows)
	})
	return lines, err
}

func (e *env) scoreIDs(s *scorer, in io.Reader, name, logits string, force bool) error {
	lines, err := readIDs(in, name, len(s.logits[0]))
	if err != nil {
		return err
	}
	var each func([]float32) error
	commit := func() error { return nil }
	if logits != "" {
		f, err := atomicfile.Create(logits, atomicfile.Options{Force: force})
		if err != nil {
			return err
		}
		defer f.Close()
		w, err := newLogitsWriter(f, lines, len(s.logits[0]))
		if err != nil {
			return err
		}
		each = w.write
		commit = func() error { return errors.Join(w.close(), f.Commit()) }
	}
	bw := bufio.NewWriter(e.stdout)
	defer bw.Flush()
	for i, ids := range lines {
		nll, err := s.sequence(ids, each)
		if err != nil {
			return fmt.Errorf("%s, sequence %d: %w", name, i+1, err)
		}
		if err := writeJSON(bw, map[string]any{"tokens": max(0, len(ids)-1), "nll": nll}); err != nil {
			return err
		}
	}
	if err := commit(); err != nil {
		return err
	}
	return writeJSON(bw, map[string]any{"perplexity": s.perplexity(), "tokens": s.tokens})
}

func (e *env) scoreText(s *scorer, eng *engine.Engine, in io.Reader, window int) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	ids, err := eng.Encode(string(b))
	if err != nil {
		return err
	}
	n := len(ids) / window
	if n == 0 {
		n, window = 1, len(ids)
	}
	bar := newProgress(e.stderr, "scoring", int64(n), false)
	for i := range n {
		if _, err := s.sequence(ids[i*window:][:window], nil); err != nil {
			return err
		}
		bar.set(int64(i+1), int64(n))
	}
	bar.done()
	return writeJSON(e.stdout, map[string]any{
		"perplexity": s.perplexity(), "tokens": s.tokens, "windows": n, "window": window, "left_out": len(ids) - n*window, "bos": eng.Manifest().Prompt.AddBOS,
	})
}

// logitsWriter streams the tensors logits.K, one after the other, as their rows are computed.
type logitsWriter struct {
	bw  *bufio.Writer
	w   *safetensors.Writer
	row []byte
}

func newLogitsWriter(w io.Writer, lines [][]uint32, rows int) (*logitsWriter, error) {
	tensors := make([]source.Tensor, len(lines))
	for i, ids := range lines {
		tensors[i] = source.Tensor{Name: fmt.Sprintf("logits.%d", i), DType: memmap.F32, Shape: []int64{int64(len(ids)), int64(rows)}}
	}
	bw := bufio.NewWriterSize(w, 1<<20)
	sw, err := safetensors.NewWriter(bw, tensors)
	return &logitsWriter{bw: bw, w: sw, row: make([]byte, 4*rows)}, err
}

func (w *logitsWriter) write(logits []float32) error {
	layout.EncodeF32(w.row, logits)
	_, err := w.w.Write(w.row)
	return err
}

func (w *logitsWriter) close() error { return errors.Join(w.w.Close(), w.bw.Flush()) }
