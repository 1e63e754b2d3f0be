package gemeenten_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/gemeenten"
)

func dag(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

var now = time.Date(2026, 11, 23, 15, 4, 5, 0, time.UTC)

func TestParseCode(t *testing.T) {
	for in, want := range map[string]gemeenten.Code{
		"0147": "0147", "GM0147": "0147", "1980": "1980",
		"": "", "147": "", "GM147": "", "00147": "", "gm0147": "", "GMGM0147": "", "01a7": "", "0000": "", " 0147": "", "٠١٤٧": "", "999990019": "",
	} {
		got, err := gemeenten.ParseCode(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseCode(%q): got %q, %v, want %q", in, got, err, want)
		}
		if err != nil && in == "999990019" && strings.Contains(err.Error(), in) {
			t.Errorf("the error repeats %q: %v", in, err)
		}
	}
}

func TestRules(t *testing.T) {
	r := gemeenten.Ingebouwd()
	for _, tt := range []struct {
		code     gemeenten.Code
		dag      string
		geldig   bool
		opvolger gemeenten.Code // "": an error
	}{
		{"0398", "2021-12-31", true, "0398"},
		{"0398", "2022-01-01", false, "1980"},
		{"0416", "1941-07-31", false, "0416"}, // not begun; nobody took over from it either
		{"0416", "1941-08-01", true, "0416"},
		{"0416", "2026-11-23", false, "1980"},
		{"1980", "2021-12-31", false, "1980"},
		{"1980", "2022-01-01", true, "1980"},
		{"0545", "2018-12-31", true, "0545"},
		{"0545", "2019-01-01", false, "1961"},
		{"0707", "2026-11-23", false, "1961"},
		{"0248", "2026-11-23", false, "1876"},
		{"0164", "2026-11-23", true, "0164"},
		{"0147", "1900-01-01", true, "0147"},
		{"4321", "2026-11-23", false, ""},
		{"", "2026-11-23", false, ""},
	} {
		if got := r.GeldigOp(tt.code, dag(tt.dag)); got != tt.geldig {
			t.Errorf("GeldigOp(%s, %s): got %v, want %v", tt.code, tt.dag, got, tt.geldig)
		}
		got, err := r.Opvolger(tt.code, dag(tt.dag))
		if got != tt.opvolger || (err != nil) != (tt.opvolger == "") {
			t.Errorf("Opvolger(%s, %s): got %q, %v, want %q", tt.code, tt.dag, got, err, tt.opvolger)
		}
		if err != nil && gateway.KindOf(err) != gateway.NotFound {
			t.Errorf("Opvolger(%s): kind %v, want not found", tt.code, gateway.KindOf(err))
		}
	}
	evening := time.Date(2021, 12, 31, 23, 59, 0, 0, time.FixedZone("CET", 3600))
	if !r.GeldigOp("0398", evening) {
		t.Error("the last evening of Heerhugowaard: want it valid by the calendar of the one who asks")
	}
}

func TestResolve(t *testing.T) {
	r := gemeenten.Ingebouwd()
	dijkEnWaard := gemeenten.Gevonden{Gevraagd: "0398", Code: "1980", Per: dag("2022-01-01")}
	for _, tt := range []struct {
		name      string
		code      gemeenten.Code
		peildatum string // "": none
		now       time.Time
		want      gemeenten.Gevonden
		wantErr   string
	}{
		{"an ended code, now", "0398", "", now, dijkEnWaard, ""},
		{"an ended code, a day before it ended", "0398", "2021-06-01", now, dijkEnWaard, ""},
		{"an ended code, a day after it ended", "0398", "2025-06-01", now, dijkEnWaard, ""},
		{"before the herindeling it is itself", "0398", "", dag("2021-12-31"), gemeenten.Gevonden{Gevraagd: "0398", Code: "0398"}, ""},
		{"on the day it is the successor", "0398", "2021-12-31", dag("2022-01-01"), dijkEnWaard, ""},
		{"the successor about a day before it began", "1980", "2021-06-01", now, gemeenten.Gevonden{Gevraagd: "1980", Code: "1980"}, ""},
		{"a code that lives", "0147", "2020-01-01", now, gemeenten.Gevonden{Gevraagd: "0147", Code: "0147"}, ""},
		{"a day on which nobody of it existed", "1640", "2006-12-31", now, gemeenten.Gevonden{}, "begins on 2007-01-01"},
		{"tomorrow", "0147", "2026-11-24", now, gemeenten.Gevonden{}, "future"},
		{"today, later", "0147", "2026-11-23", now, gemeenten.Gevonden{Gevraagd: "0147", Code: "0147"}, ""},
		{"unknown", "4321", "", now, gemeenten.Gevonden{}, "not in table 33"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var peildatum time.Time
			if tt.peildatum != "" {
				peildatum = dag(tt.peildatum)
			}
			got, err := r.Resolve(tt.code, peildatum, tt.now)
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) || tt.wantErr == "" && err != nil {
				t.Fatalf("got %v, want %q", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.IsOpgevolgd() != (got.Gevraagd != got.Code) {
				t.Error("IsOpgevolgd does not say what the codes say")
			}
		})
	}
}

func TestZoekKnowsWhoHasJoined(t *testing.T) {
	r := gemeenten.Ingebouwd()
	for _, tt := range []struct {
		bekend string
		want   gemeenten.Code
	}{{"0398 0416 1980", "1980"}, {"0398 0416", "0398"}, {"1980", "1980"}, {"0416", ""}} {
		got, err := r.Zoek("0398", time.Time{}, now, func(c gemeenten.Code) bool { return strings.Contains(tt.bekend, string(c)) })
		if got.Code != tt.want || (gateway.KindOf(err) == gateway.NotFound) != (tt.want == "") {
			t.Errorf("known %s: got %+v, %v, want %q", tt.bekend, got, err, tt.want)
		}
		if got.IsOpgevolgd() == got.Per.IsZero() {
			t.Errorf("known %s: since %v goes with another code only", tt.bekend, got.Per)
		}
	}
}

const kop = `"92.10 Gemeentecode","92.11 Omschrijving","92.12 Nieuwe code","99.98 Datum ingang","99.99 Datum einde"` + "\n"

func TestParse(t *testing.T) {
	good := kop + `"0000","Onbekend","","",""` + "\n" + `"0001","Adorp","0053","","19900101"` + "\n" + `"0053","Winsum","","",""` + "\n"
	for name, in := range map[string]string{"plain": good, "with BOM": "\ufeff" + good, "CRLF": strings.ReplaceAll(good, "\n", "\r\n")} {
		r, err := gemeenten.Parse(strings.NewReader(in))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, ok := r.Gemeente("0001")
		want := gemeenten.Gemeente{Code: "0001", Naam: "Adorp", Opvolger: "0053", Einde: dag("1990-01-01")}
		if diff := cmp.Diff(want, got); diff != "" || !ok || r.Len() != 2 {
			t.Errorf("%s: %d codes (-want +got):\n%s", name, r.Len(), diff)
		}
	}
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "no gemeente"},
		{"header only", kop, "no gemeente"},
		{"another header", strings.Replace(kop, "92.12 Nieuwe code", "Opvolger", 1) + `"0001","A","","",""`, "line 1: want the columns"},
		{"BOM in the middle", kop + "\ufeff\"0001\",\"A\",\"\",\"\",\"\"\n", "line 2"},
		{"a column short", kop + `"0001","A","",""`, "line 2"},
		{"a column long", kop + `"0001","A","","","",""`, "line 2"},
		{"an open quote", kop + `"0001","A","",","`, "line 2"},
		{"no code", kop + `"1","A","","",""`, "line 2: 92.10 Gemeentecode: give four digits"},
		{"GM", kop + `"GM0001","A","","",""`, "line 2: 92.10"},
		{"no name", kop + `"0001","","","",""`, "line 2: 92.11"},
		{"control character", kop + "\"0001\",\"A\x1b[2J\",\"\",\"\",\"\"", "line 2: 92.11"},
		{"Latin-1", kop + "\"0001\",\"S\xfadwest\",\"\",\"\",\"\"", "line 2: 92.11"},
		{"long name", kop + `"0001","` + strings.Repeat("é", 81) + `","","",""`, "line 2: 92.11"},
		{"successor no code", kop + `"0001","A","53","","19900101"`, "line 2: 92.12"},
		{"a day that is none", kop + `"0001","A","","19900230",""`, "line 2: 99.98"},
		{"half a day", kop + `"0001","A","","","19900100"`, "line 2: 99.99"},
		{"twice", kop + `"0001","A","","",""` + "\n" + `"0002","B","","",""` + "\n" + `"0001","C","","",""`, "line 4: code 0001 stands in line 2"},
		{"unknown successor", kop + `"0001","A","0053","","19900101"`, "code 0001: its successor 0053"},
		{"successor of who did not end", kop + `"0001","A","0002","",""` + "\n" + `"0002","B","","",""`, "code 0001: has successor 0002"},
		{"circle", kop + `"0001","A","0002","","19900101"` + "\n" + `"0002","B","0001","","19900101"`, "circle"},
		{"own successor", kop + `"0001","A","0001","","19900101"`, "circle"},
		{"ends before it begins", kop + `"0001","A","","19900101","19890101"`, "code 0001: ends before"},
		{"too large", kop + strings.Repeat("x", 4<<20), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gemeenten.Parse(strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) || gateway.KindOf(err) != gateway.Invalid {
				t.Errorf("got %v, want an error of kind invalid with %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(kop + `"0001","Adorp","0053","","19900101"` + "\n" + `"0053","Winsum","","",""` + "\n")
	f.Add("\ufeff" + kop + `"0001","A","0001","","19900101"`)
	f.Fuzz(func(t *testing.T, in string) {
		r, err := gemeenten.Parse(strings.NewReader(in))
		if err != nil {
			return
		}
		for i := range 10_000 {
			code := gemeenten.Code(fmt.Sprintf("%04d", i))
			if next, err := r.Opvolger(code, now); err == nil {
				if g, ok := r.Gemeente(next); !ok || !g.Einde.IsZero() && !g.Einde.After(now) {
					t.Fatalf("successor %s of %s has ended", next, code)
				}
			}
		}
	})
}

// The official table, when the machine has it.
func TestOfficialTable(t *testing.T) {
	dir := os.Getenv("GRENSLOOS_TESTPERSONEN")
	if dir == "" {
		t.Skip("GRENSLOOS_TESTPERSONEN does not name the folder with tabel33-gemeenten.csv")
	}
	official, err := gemeenten.Open(gemeenten.Config{Tabel: filepath.Join(dir, "tabel33-gemeenten.csv")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := official.Len(), 1477; got != want {
		t.Errorf("codes: got %d, want %d", got, want)
	}
	actueel, builtIn := 0, 0
	for i := range 10_000 {
		code := gemeenten.Code(fmt.Sprintf("%04d", i))
		want, ok := official.Gemeente(code)
		if ours, has := gemeenten.Ingebouwd().Gemeente(code); has {
			builtIn++
			if diff := cmp.Diff(want, ours); diff != "" {
				t.Errorf("the built-in %s differs from the official one (-official +built-in):\n%s", code, diff)
			}
		}
		if !ok {
			continue
		}
		if official.GeldigOp(code, now) {
			actueel++
		}
		next, err := official.Opvolger(code, now)
		if want.Opvolger == "" && !want.Einde.IsZero() { // left the country's registers
			if gateway.KindOf(err) != gateway.NotFound {
				t.Errorf("%s %s ended without successor: got %q, %v", code, want.Naam, next, err)
			}
			continue
		}
		if err != nil || !official.GeldigOp(next, now) {
			t.Errorf("%s %s: got %q, %v, want a code that is valid now", code, want.Naam, next, err)
		}
	}
	if builtIn != gemeenten.Ingebouwd().Len() {
		t.Errorf("compared %d built-in codes of %d", builtIn, gemeenten.Ingebouwd().Len())
	}
	if actueel < 342 || actueel > 350 { // 342 gemeenten and a few registers that are none
		t.Errorf("codes valid now: got %d", actueel)
	}
	for code, want := range map[gemeenten.Code]string{ // by hand from the table: one step, several steps, three on one day
		"0398": "0398 1980", "0894": "0894 0963 0881 1954", "0013": "0013 0006 1661 1895",
	} {
		keten, err := official.Keten(code, now)
		if got := strings.Trim(fmt.Sprint(keten), "[]"); err != nil || got != want {
			t.Errorf("chain of %s: got %s, %v, want %s", code, got, err, want)
		}
	}
}
