package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/jose"
)

// overname is what this peer took over from others (herindeling): pseudonym keys, each under a version of our own. It stands in
// the data folder, in overname/overname.json, beside the keys; `grensloos herindeling` writes it and nobody else does.
type overname struct {
	Sleutels []overgenomenSleutel `json:"sleutels"`
}

// overgenomenSleutel is one key. Its file is v<versie>.key.
type overgenomenSleutel struct {
	Versie    int            `json:"versie"` // ours
	Van       gateway.PeerID `json:"van"`
	VanVersie int            `json:"vanVersie"` // theirs
}

// maxSleutelVersie is the highest version that a pseudonym can have.
const maxSleutelVersie = 9999

func overnameDir(cfg *Config) string { return filepath.Join(cmp.Or(cfg.shared, cfg.Data), "overname") }

// loadOvername reads what was taken over; nothing was if the folder is not there.
func loadOvername(cfg *Config) (overname, error) {
	var o overname
	file := filepath.Join(overnameDir(cfg), "overname.json")
	raw, err := readSecret(file)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		err = jose.Decode(raw, &o)
	}
	if err != nil {
		return o, fmt.Errorf("overname: %s: %w", file, err)
	}
	seen := map[int]bool{}
	for _, s := range o.Sleutels {
		if s.Versie < 1 || s.Versie > maxSleutelVersie || seen[s.Versie] {
			return o, fmt.Errorf("overname: %s: version %d stands there twice, or is not between 1 and %d", file, s.Versie, maxSleutelVersie)
		}
		seen[s.Versie] = true
	}
	return o, nil
}

// keys reads the keys that were taken over, by our version.
func (o overname) keys(cfg *Config) (map[int][]byte, error) {
	keys := make(map[int][]byte, len(o.Sleutels))
	for _, s := range o.Sleutels {
		key, err := readSecret(filepath.Join(overnameDir(cfg), sleutelFile(s.Versie)))
		if err != nil {
			return nil, fmt.Errorf("overname: %w", err)
		}
		keys[s.Versie] = key
	}
	return keys, nil
}

func sleutelFile(versie int) string { return "v" + strconv.Itoa(versie) + ".key" }

// loadPseudonyms reads the keys of the configuration, and those that were taken over.
func loadPseudonyms(cfg *Config) (gateway.PseudonymKeys, error) {
	own, err := loadPseudonymKeys(cfg)
	if err != nil {
		return own, err
	}
	o, err := loadOvername(cfg)
	if err != nil {
		return own, err
	}
	over, err := o.keys(cfg)
	if err != nil || len(over) == 0 {
		return own, err
	}
	for version := range over {
		if _, taken := cfg.pseudonymSources()[version]; taken {
			return own, fmt.Errorf("pseudoniemen.%d: this version is of a key that was taken over (%s): give the new key the next free one", version, overnameDir(cfg))
		}
	}
	return own.With(over)
}

// allKeys reads every live pseudonym key of a peer, by its own version: what a successor takes over.
func allKeys(cfg *Config) (map[int][]byte, error) {
	o, err := loadOvername(cfg)
	if err != nil {
		return nil, err
	}
	keys, err := o.keys(cfg)
	if err != nil {
		return nil, err
	}
	own, err := ownPseudonymKeys(cfg)
	if err != nil {
		return nil, err
	}
	maps.Copy(keys, own)
	return keys, nil
}

// renumber gives every key of a peer that is taken over a version of ours: the one that it has, or the next that neither own nor what
// was taken over has. have are the keys that were taken over, nieuw those that still must be. A key that is not the one that was taken over before is an error: pseudonyms under
// the old one would not be found.
func (o overname) renumber(own map[int]string, have map[int][]byte, van gateway.PeerID, keys map[int][]byte) (versies map[int]int, nieuw []overgenomenSleutel, err error) {
	next := 1
	for version := range own {
		next = max(next, version+1)
	}
	for _, s := range o.Sleutels {
		next = max(next, s.Versie+1)
	}
	versies = map[int]int{}
	for _, version := range slices.Sorted(maps.Keys(keys)) {
		at := slices.IndexFunc(o.Sleutels, func(s overgenomenSleutel) bool { return s.Van == van && s.VanVersie == version })
		if at >= 0 {
			if there := o.Sleutels[at].Versie; !bytes.Equal(have[there], keys[version]) {
				return nil, nil, fmt.Errorf("pseudonym key v%d of %s is not the one that was taken over as v%d: give it back its old key, and the new one a new version", version, van, there)
			}
			versies[version] = o.Sleutels[at].Versie
			continue
		}
		if next > maxSleutelVersie {
			return nil, nil, fmt.Errorf("pseudonym keys: no version left below %d", maxSleutelVersie)
		}
		versies[version] = next
		nieuw = append(nieuw, overgenomenSleutel{Versie: next, Van: van, VanVersie: version})
		next++
	}
	return versies, nieuw, nil
}

// write keeps a key and then the list that names it, so that a list never names a key that is not there.
func (o *overname) write(cfg *Config, s overgenomenSleutel, key []byte) error {
	dir := overnameDir(cfg)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("overname: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, sleutelFile(s.Versie)), key); err != nil {
		return fmt.Errorf("overname: %w", err)
	}
	o.Sleutels = append(o.Sleutels, s)
	raw, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(dir, "overname.json"), append(raw, '\n')); err != nil {
		return fmt.Errorf("overname: %w", err)
	}
	return nil
}

// replaceFile writes a file that only we may read, so that after a crash it is the old one or the new one, whole.
func replaceFile(name string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".nieuw-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
