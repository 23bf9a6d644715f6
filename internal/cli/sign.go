package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bimamba/memmap/sign"
)

func (e *env) keygenCmd() *cobra.Command {
	var out, passwordFile string
	var open, force bool
	c := &cobra.Command{
		Use:   "keygen -o KEY",
		Short: "Make a pair of keys to sign models with",
		Long: `Keygen writes a secret key to KEY and its public key to KEY.pub, in minisign's format (Ed25519).

The secret key is encrypted with a password, which is asked for, or is the first line of --password-file; --no-password leaves it open to whoever reads the file.
The public key goes to the boards: bimambad's option verify_key takes the file or its second line, and then serves nothing that was not signed.`,
		Example: "  bimamba keygen -o ~/models.key\n  bimamba sign m.bimamba --key ~/models.key",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return fmt.Errorf("name the file of the secret key: -o KEY")
			}
			if open && passwordFile != "" {
				return fmt.Errorf("--no-password goes without --password-file")
			}
			var password []byte
			var err error
			if !open {
				if password, err = e.newPassword(passwordFile); err != nil {
					return err
				}
			}
			k, err := sign.Generate()
			if err != nil {
				return err
			}
			text, err := k.Seal(password)
			if err != nil {
				return err
			}
			// The public key comes last: where it is, the secret one is, too.
			if err := writeFile(out, text, 0o600, force); err != nil {
				return err
			}
			if err := writeFile(out+".pub", k.Public().File(), 0o644, force); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: secret, keep it away from the boards\n%s.pub: public, %s\n", out, out, k.Public())
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "", "the file of the secret key; the public one is beside it, with .pub behind its name")
	f.StringVar(&passwordFile, "password-file", "", "take the password from the first line of this file")
	f.BoolVar(&open, "no-password", false, "do not encrypt the secret key")
	f.BoolVar(&force, "force", false, "replace files that exist")
	return c
}

func (e *env) signCmd() *cobra.Command {
	var key, out, passwordFile string
	var force bool
	c := &cobra.Command{
		Use:   "sign FILE --key KEY",
		Short: "Sign a .bimamba file",
		Long: `Sign writes FILE.minisig: a signature of the preamble and the manifest of FILE, which hold the SHA-256 of every tensor, so that a daemon need not read the whole
file to check it. All of FILE is read here first and compared with its checksums, and the signature's comment carries its fs-verity digest: on a file system that has fs-verity
a board then checks every page as it is read.

minisign itself checks the same bytes: head -c N FILE > head; minisign -Vm head -x FILE.minisig -p KEY.pub, with the N that this command prints.`,
		Example: "  bimamba sign m.bimamba --key ~/models.key\n  bimamba verify m.bimamba --key ~/models.key.pub",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			if key == "" {
				return fmt.Errorf("name the secret key: --key KEY, which bimamba keygen makes")
			}
			if out == "" {
				out = args[0] + sign.Ext
			}
			k, err := e.secretKey(key, passwordFile)
			if err != nil {
				return err
			}
			f, err := openBlob(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			bar := newProgress(e.stderr, "reading", 2*f.Size(), true)
			defer bar.done()
			if err := f.Verify(c.Context(), func(done int64) { bar.set(done, 2*f.Size()) }); err != nil {
				return err
			}
			file, err := os.Open(f.Name())
			if err != nil {
				return err
			}
			defer file.Close()
			digest, err := sign.Digest(&counting{file, f.Size(), func(done int64) { bar.set(done, 2*f.Size()) }}, f.Size())
			if err != nil {
				return err
			}
			text, err := sign.Blob(k, f, filepath.Base(args[0]), time.Now(), digest)
			if err != nil {
				return err
			}
			if err := writeFile(out, text, 0o644, force); err != nil {
				return err
			}
			bar.done()
			fmt.Fprintf(e.stdout, "%s: the first %d bytes of %s, by the key %s\n", out, len(f.Head()), args[0], k.Public().ID())
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&key, "key", "", "the secret key")
	f.StringVarP(&out, "output", "o", "", "the file of the signature (default: FILE"+sign.Ext+", where it is looked for)")
	f.StringVar(&passwordFile, "password-file", "", "take the key's password from the first line of this file")
	f.BoolVar(&force, "force", false, "replace a signature that exists")
	return c
}

// secretKey reads a secret key, and the password for it if there is one.
func (e *env) secretKey(name, passwordFile string) (k sign.PrivateKey, err error) {
	text, err := readShort(name)
	if err != nil {
		return k, err
	}
	encrypted, err := sign.Encrypted(text)
	if err != nil {
		return k, fmt.Errorf("%s: %w", name, err)
	}
	var password []byte
	if encrypted {
		if password, err = e.password("password of "+name+": ", passwordFile); err != nil {
			return k, err
		}
	}
	if k, err = sign.Open(text, password); err != nil {
		return k, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

// newPassword is a password that was typed twice, or is in a file.
func (e *env) newPassword(file string) ([]byte, error) {
	password, err := e.password("password for the secret key: ", file)
	if err != nil {
		return nil, err
	}
	if len(password) == 0 {
		return nil, errors.New("the password is empty; --no-password makes a key without one")
	}
	if file == "" && e.typed {
		again, err := e.password("once more: ", "")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(password, again) {
			return nil, errors.New("the two passwords differ")
		}
	}
	return password, nil
}

// password asks for a password at a terminal, or reads the first line of a file.
func (e *env) password(prompt, file string) ([]byte, error) {
	if file != "" {
		b, err := readShort(file)
		if err != nil {
			return nil, err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
	if !e.typed {
		return nil, errors.New("there is no terminal to ask for the password at: --password-file names a file with it")
	}
	fmt.Fprint(e.stderr, prompt)
	defer fmt.Fprintln(e.stderr)
	return term.ReadPassword(int(os.Stdin.Fd()))
}

// maxShort is the size of the small files that people name: keys, passwords.
const maxShort = 64 << 10

// readShort reads such a file.
func readShort(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxShort+1))
	if err == nil && len(b) > maxShort {
		err = fmt.Errorf("%s: more than %d bytes", name, maxShort)
	}
	return b, err
}
