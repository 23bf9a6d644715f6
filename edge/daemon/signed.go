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
	keys, err := sign.ReadPublicKeys(c.VerifyKey...)
	if err != nil {
		return nil, fmt.Errorf("verify_key: %w", err)
	}
	return sign.CheckBlob(f, keys)
}
