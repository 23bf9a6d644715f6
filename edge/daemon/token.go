package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"bimamba/edge/daemon/config"
	"bimamba/internal/atomicfile"
)

// needsToken tells whether requests from there have to show the token.
func needsToken(c *config.Config, from reach) bool {
	return c.Auth == config.AuthAlways || c.Auth == config.AuthAuto && from == fromNetwork
}

// readToken reads the token file, which it makes if it is missing.
func readToken(path string) (token string, made bool, err error) {
	if path == "" {
		return "", false, errors.New("an address that other machines reach needs a token, and there is no place for it: give token_file or state_dir")
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = rand.Text()
		if err := writeSecret(path, []byte(token+"\n")); err != nil {
			return "", false, fmt.Errorf("making the token file: %w", err)
		}
		return token, true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("the token file: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", false, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", false, fmt.Errorf("%s: others can read the token (mode %o): chmod 600 it", path, info.Mode().Perm())
	}
	token = strings.TrimSpace(string(b))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", false, fmt.Errorf("%s: the token has to be one word of at least 16 characters; remove the file, and a new one is made", path)
	}
	return token, false, nil
}

// writeSecret makes a file that only its owner can read.
func writeSecret(path string, b []byte) error {
	f, err := atomicfile.Create(path, atomicfile.Options{})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Commit()
}
