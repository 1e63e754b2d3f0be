//go:build unix

package kafka

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/grensloos/grensloos/gateway"
)

// lock takes the broker's folder for this process: kfake has no lock, and two brokers on one folder destroy it. The lock ends
// with the process, also by kill -9.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, &gateway.Error{
			Kind:    gateway.Conflict,
			Message: "kafka: folder " + dir + " of the embedded broker is in use by another process: stop that one, or give this one a folder of its own",
			Cause:   err,
		}
	}
	return f, nil
}
