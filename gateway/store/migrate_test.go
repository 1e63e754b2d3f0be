package store

import (
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestNumbered(t *testing.T) {
	for in, want := range map[string]string{"": "", "SELECT 1": "SELECT 1", "a = ? AND b IN (?,?)": "a = $1 AND b IN ($2,$3)", "?": "$1"} {
		if got := numbered(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Each migration is there for both engines, under one name; and each table has a line that says what running needs of it.
func TestMigrationsOfBothEngines(t *testing.T) {
	names := func(dir string) (all []string) {
		found, err := fs.Glob(migrations, dir+"/0*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if base := path.Base(name); !strings.HasPrefix(base, "0000") {
				all = append(all, base)
			}
		}
		return all
	}
	if diff := cmp.Diff(names("migrations/sqlite"), names("migrations/postgres")); diff != "" {
		t.Errorf("(-sqlite +postgres):\n%s", diff)
	}
	all, err := steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	grants, err := fs.ReadFile(migrations, "migrations/postgres/grants.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, after := range strings.Split(m.SQL, "CREATE TABLE ")[1:] {
			table, _, _ := strings.Cut(after, " ")
			if !strings.Contains(string(grants), schemaName+"."+table) {
				t.Errorf("%s: grants.sql says nothing of table %s", m.Name, table)
			}
		}
	}
}

func TestSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // of the error
	}{
		"good":          {map[string]string{"0000_schema": "", "0001_a": "-- min_binary_schema: 1\n", "0002_b": "-- min_binary_schema: 2\n"}, ""},
		"a gap":         {map[string]string{"0001_a": "-- min_binary_schema: 1\n", "0003_b": "-- min_binary_schema: 1\n"}, "want number 2"},
		"says nothing":  {map[string]string{"0001_a": "CREATE TABLE x ()"}, "min_binary_schema"},
		"of the future": {map[string]string{"0001_a": "-- min_binary_schema: 2\n"}, "from 1 to its own"},
		"no digits":     {map[string]string{"0a": ""}, "four digits"},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, sql := range tc.files {
				files["migrations/postgres/"+name+".sql"] = &fstest.MapFile{Data: []byte(sql)}
			}
			_, err := steps(files)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	good := func() Config {
		c := Config{Driver: "postgres"}
		c.Postgres.Addresses, c.Postgres.Database, c.Postgres.User = []string{"127.0.0.1:5432"}, "grensloos", "grensloos"
		c.Postgres.Migration.User = "grensloos_migratie"
		return c
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"good":            {func(*Config) {}, ""},
		"driver":          {func(c *Config) { c.Driver = "oracle" }, "driver"},
		"of the server":   {func(c *Config) { c.Postgres.Addresses = nil }, "postgres: adressen"},
		"too few":         {func(c *Config) { c.Postgres.MaxConns = 2 }, "postgres.maxVerbindingen"},
		"one role":        {func(c *Config) { c.Postgres.Migration.User = c.Postgres.User }, "postgres.migratie.gebruiker"},
		"SQLite, nothing": {func(c *Config) { *c = Config{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			err := c.Check()
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
