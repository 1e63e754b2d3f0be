//go:build !unix

package certs

// lock does nothing where there is no advisory lock: use the development PKI from one process at a time there.
func lock(string) (unlock func(), err error) { return func() {}, nil }

func syncDir(string) error { return nil }
