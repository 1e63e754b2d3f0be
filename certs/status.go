package certs

import (
	"cmp"
	"crypto/x509"
	"slices"
	"time"
)

// RevocationList says which revocation list counts for an issuer at this moment.
type RevocationList struct {
	File       string
	Issuer     string // common name of the issuer
	Number     string
	ThisUpdate time.Time
	NextUpdate time.Time // from then on every certificate of the issuer is refused
}

// CRLs lists the newest revocation list of each issuer, as they are in force now, by file.
func (g *Group) CRLs() []RevocationList {
	var all []RevocationList
	for _, lists := range g.trust.Load().crls {
		seen := map[string]bool{}
		for _, l := range lists { // the newest number first
			if key := string(l.list.AuthorityKeyId); !seen[key] {
				seen[key] = true
				all = append(all, RevocationList{
					File: l.file, Issuer: l.list.Issuer.CommonName, Number: l.number.String(),
					ThisUpdate: l.list.ThisUpdate, NextUpdate: l.next,
				})
			}
		}
	}
	slices.SortFunc(all, func(a, b RevocationList) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Issuer, b.Issuer))
	})
	return all
}

// ReadCerts reads all certificates of a PEM file, in order; at least one. The error names the file.
func ReadCerts(file string) ([]*x509.Certificate, error) { return readCerts(file) }
