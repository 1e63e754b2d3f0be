//go:build !linux

package journal

import "os"

// datasync makes what was written to f durable; on macOS Sync is F_FULLFSYNC, which also empties the cache of the drive.
func datasync(f *os.File) error { return f.Sync() }
