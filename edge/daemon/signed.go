package daemon

import (
	"fmt"

	"bimamba/edge/daemon/config"
	"bimamba/memmap"
	"bimamba/memmap/sign"
)

// checkSigned refuses a blob that none of a configuration's keys has signed.
func checkSigned(c *config.Config, f *memmap.File) (*sign.Checked, error) {
	if len(c.VerifyKey) == 0 {
		return nil, nil
	}
	var keys []sign.PublicKey
	for _, name := range c.VerifyKey {
		k, err := sign.ParsePublicKey(string(name))
		if err != nil {
			if k, err = sign.ReadPublicKey(string(name)); err != nil {
				return nil, fmt.Errorf("verify_key: %w", err)
			}
		}
		keys = append(keys, k)
	}
	return sign.CheckBlob(f, keys)
}
