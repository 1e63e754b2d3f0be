package beheer_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/beheer"
	"github.com/grensloos/grensloos/gateway/contract"
)

const directory gateway.PeerID = "00000099000000009000"

func (w *world) Renew(_ context.Context, hash gateway.ContentHash, until time.Time, door string) (gateway.ContentHash, error) {
	if _, err := w.Show(context.Background(), hash); err != nil {
		return "", err
	}
	return hash, w.act("renew until " + until.Format(time.DateOnly) + " by " + door[:3])
}

func (w *world) Predecessor(_ context.Context, hash gateway.ContentHash) (contract.Summary, error) {
	all, err := w.List(context.Background())
	for _, s := range all {
		if s.Hash != hash {
			return s, err
		}
	}
	return contract.Summary{}, gateway.Errorf(gateway.NotFound, "contract: no other")
}

var (
	haaksbergen = contract.KnownPeer{
		Peer: gateway.Peer{ID: "00000099000000158000", Name: "Gemeente Haaksbergen"}, Address: "https://haaksbergen.example:8443",
		Gemeentecode: "0158", Origin: contract.Listed,
	}
	partner = contract.KnownPeer{Peer: gateway.Peer{ID: uwi, Name: "UWI"}, Address: "https://uwi.example:8443", Origin: contract.Told, Announced: now}
)

func (w *world) Known(context.Context) ([]contract.KnownPeer, error) {
	return []contract.KnownPeer{haaksbergen, partner}, w.err
}

func (w *world) Listings(context.Context) ([]contract.Listing, error) {
	return []contract.Listing{{
		Peer: haaksbergen, Service: "clientgegevens", Protocol: contract.ProtocolHTTP1, Gemeentecode: "0158", Directory: directory, Confirmed: true,
	}}, w.err
}

func (w *world) Directories() []contract.DirectoryState {
	return []contract.DirectoryState{{ID: directory, Address: "https://directory.example:8443", Read: now, Problem: "not reached"}}
}

func (w *world) Rejoin(_ context.Context, door string) error { return w.act("rejoin by " + door[:3]) }

func (w *world) Leave(_ context.Context, door string) error { return w.act("leave by " + door[:3]) }
func (w *world) Left(context.Context) (time.Time, error)    { return time.Time{}, w.err }

func TestGroup(t *testing.T) {
	w := newWorld(t)
	got := good[beheer.GroepJSON](w, http.StatusOK, "Groep", "privacy-officer", http.MethodGet, "/groep", "")
	read := now
	want := beheer.GroepJSON{
		OIN: borne, Naam: "Borne", Peers: 2, Services: 1,
		Directories: []beheer.DirectoryJSON{{OIN: directory, Adres: "https://directory.example:8443", GelezenOp: &read, Probleem: "not reached"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, act := range map[string]string{"/groep/_hervatten": "rejoin by", "/groep/_verlaten": "leave by"} {
		w.acts = nil
		good[beheer.GroepJSON](w, http.StatusOK, "Groep", "beheer", http.MethodPost, path, "")
		if len(w.acts) != 1 || !strings.HasPrefix(w.acts[0], act) {
			t.Errorf("%s: did %v", path, w.acts)
		}
	}
	type peers struct{ Peers []beheer.GroepspeerJSON }
	for query, want := range map[string]int{"": 2, "?zoek=HAAKS": 1, "?zoek=0158": 1, "?zoek=nobody": 0} {
		list := good[peers](w, http.StatusOK, "", "beheer", http.MethodGet, "/peers"+query, "")
		if len(list.Peers) != want {
			t.Errorf("peers%s: %d, want %d", query, len(list.Peers), want)
		}
	}
	type services struct{ Services []beheer.ServiceJSON }
	list := good[services](w, http.StatusOK, "", "beheer", http.MethodGet, "/services?zoek=Client", "")
	if len(list.Services) != 1 || list.Services[0].Gemeentecode != "0158" || !list.Services[0].Bevestigd {
		t.Errorf("services %+v", list)
	}
	if status, _ := w.call("beheer", http.MethodGet, "/peers?zoek="+strings.Repeat("a", 101), ""); status != http.StatusBadRequest {
		t.Errorf("a long search: %d", status)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	const span = `"geldigVanaf":"2026-11-23T00:00:00Z","geldigTot":"2027-11-23T00:00:00Z","grants":`
	got := good[beheer.ContractJSON](w, http.StatusCreated, "Contract", "beheer", http.MethodPost, "/contracten",
		`{`+span+`[{"directory":"`+string(directory)+`","service":"clientgegevens","gemeentecode":"0147"}]}`)
	g := got.Grants[0]
	if g.Soort != gateway.ServicePublication || g.Aanbieder != borne || g.Directory != directory || g.Gemeentecode != "0147" {
		t.Errorf("grant %+v", g)
	}
	for name, grant := range map[string]string{
		"no OIN":                        `{"directory":"x","service":"clientgegevens"}`,
		"no service":                    `{"directory":"` + string(directory) + `"}`,
		"no code":                       `{"directory":"` + string(directory) + `","service":"clientgegevens","gemeentecode":"147"}`,
		"a code that is JSON":           `{"directory":"` + string(directory) + `","service":"clientgegevens","gemeentecode":"0147\",\"a\":\"b"}`,
		"a purpose":                     `{"directory":"` + string(directory) + `","service":"clientgegevens","doel":"pw-uitkering"}`,
		"a protocol of nobody":          `{"directory":"` + string(directory) + `","service":"clientgegevens","protocol":"x"}`,
		"a connection with a code":      `{"aanbieder":"` + string(borne) + `","service":"clientgegevens","gemeentecode":"0147"}`,
		"a connection with a delegator": `{"aanbieder":"` + string(borne) + `","service":"clientgegevens","delegator":"` + string(uwi) + `"}`,
	} {
		if status, body := w.call("beheer", http.MethodPost, "/contracten", `{`+span+`[`+grant+`]}`); status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", name, status, body)
		}
	}
}

func TestRenewAndDiff(t *testing.T) {
	w := newWorld(t)
	first := good[beheer.ContractJSON](w, http.StatusCreated, "Contract", "beheer", http.MethodPost, "/contracten", voorstel)
	path := "/contracten/" + string(first.Hash)
	if got := good[beheer.VerschilJSON](w, http.StatusOK, "Verschil", "beheer", http.MethodGet, path+"/verschil", ""); got.Met != "" {
		t.Errorf("it takes the place of %s, want nothing", got.Met)
	}
	w.acts = nil
	good[beheer.ContractJSON](w, http.StatusCreated, "Contract", "beheer", http.MethodPost, path+"/_vernieuwen", `{"geldigTot":"2028-11-23T00:00:00Z"}`)
	if len(w.acts) != 1 || !strings.HasPrefix(w.acts[0], "renew until 2028-11-23") {
		t.Errorf("did %v", w.acts)
	}
	if status, _ := w.call("beheer", http.MethodPost, path+"/_vernieuwen", `{"geldigTot":"2020-11-23T00:00:00Z"}`); status != http.StatusBadRequest {
		t.Errorf("a renewal that ended: %d", status)
	}
	wider := strings.NewReplacer(`["loopt"]`, `["loopt","soort"]`, "2027-11-23", "2028-11-23").Replace(voorstel)
	second := good[beheer.ContractJSON](w, http.StatusCreated, "Contract", "beheer", http.MethodPost, "/contracten", wider)
	want := []string{"gewijzigd  geldigTot", "toegevoegd velden.uitkering.soort"}
	for _, query := range []string{"", "?met=" + string(first.Hash)} {
		diff := good[beheer.VerschilJSON](w, http.StatusOK, "Verschil", "beheer", http.MethodGet, "/contracten/"+string(second.Hash)+"/verschil"+query, "")
		if diff.Met != first.Hash || len(diff.Wijzigingen) != 2 || diff.Wijzigingen[0].Veld != "geldigTot" ||
			diff.Wijzigingen[1].Soort != contract.Added || diff.Wijzigingen[1].Veld != "velden.uitkering.soort" {
			t.Errorf("%+v, want %v", diff, want)
		}
	}
	if status, _ := w.call("beheer", http.MethodGet, path+"/verschil?met=x", ""); status != http.StatusBadRequest {
		t.Errorf("met=x: %d", status)
	}
}
