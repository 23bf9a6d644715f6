package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bimamba/memmap/sign"
)

func (e *env) verifyCmd() *cobra.Command {
	var asJSON bool
	var keys []string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check every byte of a .bimamba file against its checksums",
		Long: `Verify checks the structure of FILE, the SHA-256 of its manifest and of every tensor, and that all padding is zero. With --key it also checks
FILE.minisig, the signature that bimamba sign or minisign made.

It exits with 0 if all is well; otherwise with 1 and a line that names the field or tensor and its offset.`,
		Example: "  bimamba verify m.bimamba\n  bimamba verify m.bimamba --key models.key.pub",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			// The result is printed, too, where a program waits for it.
			failed := func(err error) error {
				if asJSON {
					return errors.Join(err, writeJSON(e.stdout, map[string]any{"file": args[0], "ok": false, "error": err.Error()}))
				}
				return err
			}
			f, err := openBlob(args[0])
			if err != nil {
				return failed(err)
			}
			defer f.Close()
			var signed *sign.Checked
			if len(keys) > 0 {
				public, err := sign.ReadPublicKeys(keys...)
				if err != nil {
					return failed(fmt.Errorf("--key: %w", err))
				}
				if signed, err = sign.CheckBlob(f, public); err != nil {
					return failed(err)
				}
			}
			bar := newProgress(e.stderr, "verifying", f.Size(), true)
			err = f.Verify(c.Context(), func(done int64) { bar.set(done, f.Size()) })
			bar.done()
			if err != nil {
				return failed(err)
			}
			n := 0
			for _, s := range f.Manifest().Sections {
				n += len(s.Tensors)
			}
			if asJSON {
				out := map[string]any{"file": f.Name(), "ok": true, "tensors": n, "bytes": f.Size()}
				if signed != nil {
					out["signed"] = signed.Comment
				}
				return writeJSON(e.stdout, out)
			}
			fmt.Fprintf(e.stdout, "%s: ok, %d tensors, %s\n", f.Name(), n, mega(f.Size()))
			if signed != nil {
				fmt.Fprintf(e.stdout, "signed: %s\n", signed.Comment)
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&keys, "key", nil, "a public key, or the file of one, that has to have signed FILE; may be given several times")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}
