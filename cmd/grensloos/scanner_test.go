package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bsnScanner looks for the BSNs of a loaded population in whatever a gateway leaves behind. It reads through JSON escapes, base64 and
// hexadecimal, and it finds a BSN only as nine digits by itself, so that a timestamp is no find.
type bsnScanner map[string]bool

var (
	jsonEscape = regexp.MustCompile(`\\u00[0-9a-fA-F]{2}`)

	digits      = class("0123456789")
	hexDigits   = class("0123456789abcdefABCDEF")
	base64Chars = class("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
)

func class(chars string) (in [256]bool) {
	for _, c := range []byte(chars) {
		in[c] = true
	}
	return in
}

// runs yields the longest stretches of data within a class of at least least bytes.
func runs(data []byte, in *[256]bool, least int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 0; i < len(data); i++ {
			from := i
			for i < len(data) && in[data[i]] {
				i++
			}
			if i-from >= least && !yield(data[from:i]) {
				return
			}
		}
	}
}

// find returns the BSNs in data, each with the form in which it stands there.
func (s bsnScanner) find(data []byte) []string {
	var found []string
	plain := func(form string, text []byte) {
		for run := range runs(text, &digits, 9) {
			if len(run) == 9 && s[string(run)] {
				found = append(found, form+" "+string(run))
			}
		}
	}
	plain("plain", data)
	if bytes.Contains(data, []byte(`\u00`)) {
		plain("escaped", jsonEscape.ReplaceAllFunc(data, func(e []byte) []byte {
			b, _ := hex.DecodeString(string(e[4:]))
			return b
		}))
	}
	for run := range runs(data, &base64Chars, 12) {
		std := strings.NewReplacer("-", "+", "_", "/").Replace(string(run))
		for skip := range 4 { // the text before may have shifted it
			if decoded := decodeBase64(std, skip); decoded != nil {
				plain("base64", decoded)
			}
		}
	}
	for run := range runs(data, &hexDigits, 18) {
		for skip := range 2 {
			part := run[skip:]
			if decoded, err := hex.DecodeString(string(part[:len(part)&^1])); err == nil {
				plain("hex", decoded)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// decodeBase64 decodes the whole groups of s after skip characters.
func decodeBase64(s string, skip int) []byte {
	if len(s) < skip+4 {
		return nil
	}
	s = s[skip:]
	whole := s[:len(s)&^3]
	decoded, err := base64.RawStdEncoding.DecodeString(whole)
	if err != nil {
		return nil
	}
	if tail, err := base64.RawStdEncoding.DecodeString(s[len(whole):]); err == nil {
		decoded = append(decoded, tail...)
	}
	return decoded
}

// scanTree scans every file below dir but those in except. A SQLite file is also read as a database, where a number is not text.
func (s bsnScanner) scanTree(ctx context.Context, dir string, except ...string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || slices.Contains(except, filepath.Base(path)) {
			return err
		}
		for _, f := range s.find([]byte(filepath.Base(path))) {
			found = append(found, "file name: "+f)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(data, []byte("SQLite format 3\x00")) {
			dump, err := dumpSQLite(ctx, path)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			data = append(append(data, '\n'), dump...)
		}
		for _, f := range s.find(data) {
			found = append(found, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)+": "+f)
		}
		return nil
	})
	return found, err
}

// dumpSQLite writes every value of every table as text.
func dumpSQLite(ctx context.Context, file string) ([]byte, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var tables []string
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var dump bytes.Buffer
	for _, table := range tables {
		if err := dumpTable(ctx, db, table, &dump); err != nil {
			return nil, err
		}
	}
	return dump.Bytes(), nil
}

func dumpTable(ctx context.Context, db *sql.DB, table string, dump *bytes.Buffer) error {
	rows, err := db.QueryContext(ctx, `SELECT * FROM "`+strings.ReplaceAll(table, `"`, `""`)+`"`)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return err
		}
		for _, v := range values {
			if raw, ok := (*v.(*any)).([]byte); ok {
				fmt.Fprintf(dump, "%s\n", raw)
				continue
			}
			fmt.Fprintln(dump, *v.(*any))
		}
	}
	return rows.Err()
}

// The scanner is worth nothing until it is seen to find what is planted.
func TestScannerFindsWhatIsPlanted(t *testing.T) {
	const bsn = "999993653"
	s := bsnScanner{bsn: true}
	escaped := ""
	for _, c := range bsn {
		escaped += fmt.Sprintf(`\u%04x`, c)
	}
	asJSON, err := json.Marshal(map[string]string{"bsn": bsn})
	if err != nil {
		t.Fatal(err)
	}
	for name, planted := range map[string]string{
		"plain":           "client " + bsn + " asked",
		"json":            string(asJSON),
		"escaped in json": `{"x":"` + escaped + `"}`,
		"partly escaped":  `{"x":"\u0039` + bsn[1:] + `"}`,
		"base64":          "x " + base64.StdEncoding.EncodeToString([]byte("{\"bsn\":\""+bsn+"\"}")) + " y",
		"base64 shifted":  base64.RawURLEncoding.EncodeToString([]byte("a: " + bsn)),
		"base64 shifted2": base64.RawURLEncoding.EncodeToString([]byte("ab: " + bsn + ".")),
		"in a jwt":        "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+bsn+`"}`)) + ".c2ln",
		"hex":             hex.EncodeToString([]byte("bsn " + bsn)),
		"panic message":   "panic: no row for " + bsn + "\n\ngoroutine 7 [running]:\nmain.main()\n",
		"url":             "GET /clienten/" + bsn + "?x=1",
	} {
		if got := s.find([]byte(planted)); len(got) == 0 {
			t.Errorf("%s: nothing found in %q", name, planted)
		}
	}
	for name, clean := range map[string]string{
		"another number":    "999990019",
		"part of a longer":  "1" + bsn,
		"an OIN":            "00000099000000147000",
		"a hash of nothing": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
	} {
		if got := s.find([]byte(clean)); len(got) != 0 {
			t.Errorf("%s: found %v", name, got)
		}
	}
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (999993653)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.scanTree(t.Context(), dir); err != nil || len(got) == 0 {
		t.Errorf("a number in a database: got %v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, bsn+".log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.scanTree(t.Context(), dir, "x.db"); len(got) != 1 {
		t.Errorf("a file name: got %v", got)
	}
}
