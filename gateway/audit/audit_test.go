package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/audit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	borne  gateway.PeerID = "00000099000000147000"
	hof    gateway.PeerID = "00000099000000163000"
	twente gateway.PeerID = "00000099900000001000"
	tid                   = gateway.TransactionID("0190b6a2-7c11-7d3e-9a55-3f5c0b1e2d44")
)

var (
	now   = time.Date(2026, 1, 1, 0, 6, 41, 50e6, time.UTC)
	trace = gateway.Trace{TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "5e3c8a4f9b2d1e07", Parent: "893e1b2ac52d712f"}
	grant = gateway.Grant{
		Hash: gateway.GrantHash("$1$3$" + strings.Repeat("a", 86)), Type: gateway.ServiceConnection,
		Outway: twente, ServicePeer: borne, Service: "clientgegevens",
	}
	delegated = gateway.Grant{
		Hash: gateway.GrantHash("$1$4$" + strings.Repeat("b", 86)), Type: gateway.DelegatedServiceConnection,
		Outway: twente, Delegator: hof, ServicePeer: borne, ServiceDelegator: hof, Service: "clientgegevens",
	}
	permit = gateway.Decision{
		Allow:     true,
		Velden:    gateway.Velden{"uitkering": {"ingangsdatum", "loopt"}},
		Onthouden: map[gateway.Reason]gateway.Velden{gateway.GrondslagDektElementNiet: {"uitkering": {"bedrag"}, "persoon": {"telefoon"}}},
		Reasons:   []gateway.Reason{gateway.GrondslagDektElementNiet},
		Rule:      "federatie/toegestaan", Revision: "sha256:6266d07750c4",
	}
	deny = gateway.Decision{Reasons: []gateway.Reason{gateway.GeenContract}, Rule: "federatie/contract", Revision: "sha256:6266d07750c4"}
)

func question(dienst gateway.Dienst) audit.EvaluationItem {
	return audit.EvaluationItem{
		Subject:  audit.Entity{Type: "peer", ID: string(twente), Properties: map[string]any{"rollen": []string{"verwerker-college"}}},
		Action:   audit.Action{Name: "lezen", Properties: map[string]any{"doel": "pw-reintegratie"}},
		Resource: audit.Entity{Type: "dienst", ID: "clientgegevens/" + string(dienst), Properties: map[string]any{"velden": []string{"loopt", "bedrag"}}},
		Context:  map[string]any{"zaak": "Z-2026-1", "geheimhouding": false},
		Dienst:   dienst,
	}
}

// made has one record of every shape that the constructors can give.
func made() map[string]audit.Record {
	return map[string]audit.Record{
		"transactie":           audit.NewTransactie(now, audit.Exchange{Transactie: tid, Richting: audit.Outgoing, Grant: grant, Trace: trace}),
		"transactie_delegated": audit.NewTransactie(now, audit.Exchange{Transactie: tid, Richting: audit.Incoming, Grant: delegated}),
		"adl": audit.NewADL(now, audit.Evaluation{
			Transactie: tid, Trace: trace, Producent: borne, Rol: "inway", Vragen: []audit.EvaluationItem{question("")}, Decision: permit,
			Betrokkene: "v1.7f0c", Informatie: map[string]any{"toestemming": map[string]any{"id": "t-1", "stand": "geldig"}},
		}),
		"adl_evaluations": audit.NewADL(now, audit.Evaluation{
			Transactie: tid, Trace: trace, Producent: borne, Rol: "clientgegevens", Event: audit.AccessEvaluations,
			Vragen: []audit.EvaluationItem{question("uitkering"), question("persoon")}, Decision: permit, Betrokkene: "v1.7f0c",
		}),
		"adl_geen_contract": audit.NewADL(now, audit.Evaluation{
			Transactie: tid, Lokaal: true, Trace: trace, Producent: twente, Rol: "bevraging",
			Vragen: []audit.EvaluationItem{question("")}, Decision: deny,
		}),
		"adl_mislukt": audit.NewADL(now, audit.Evaluation{
			Transactie: tid, Trace: trace, Producent: borne, Rol: "inway", Vragen: []audit.EvaluationItem{question("")}, Mislukt: true,
		}),
		"ldv": audit.NewLDV(now, audit.Processing{
			Transactie: tid, Trace: trace, Naam: "Verstrekken clientgegevens pw-reintegratie", Start: now, Eind: now.Add(70 * time.Millisecond),
			Activiteit: "https://register.borne.example/va/pw-reintegratie", Betrokkene: "v1.7f0c", Afnemer: twente,
			Velden: gateway.Velden{"uitkering": {"loopt"}}, Bron: "suite", Dienst: "clientgegevens",
		}),
		"ldv_geen_gegevens": audit.NewLDV(now, audit.Processing{
			Trace: trace, Naam: "Verstrekken clientgegevens", Start: now, Eind: now, Activiteit: "https://register.borne.example/va/pw-uitkering",
			Betrokkene: "v1.7f0c", Dienst: "clientgegevens", Fout: true,
		}),
		"afloop": audit.NewAfloop(now, audit.Outcome{
			Transactie: tid, Richting: audit.Incoming, Trace: trace, Grant: grant.Hash, Afnemer: twente, Bron: borne, Dienst: "clientgegevens",
			Status: 200, Uitkomst: audit.Beantwoord, Duur: 12 * time.Millisecond, BytesIn: 100, BytesOut: 2000,
		}),
		"afloop_ongezien": audit.NewAfloop(now, audit.Outcome{
			Richting: audit.Incoming, Status: 401, Uitkomst: audit.Geweigerd, Reden: gateway.GeenContract, Fout: "ERROR_CODE_ACCESS_TOKEN_MISSING",
		}),
		"kwitantie": audit.NewKwitantie(now, audit.Receipt{
			Transactie: tid, Trace: trace, Grant: grant.Hash, Afnemer: twente, Bron: borne, Dienst: "clientgegevens", Doel: "pw-reintegratie",
			Besluit: true, Uitkomst: map[gateway.Dienst]string{"uitkering": "beantwoord", "persoon": "geen-gegevens"},
			VeldenDigest: strings.Repeat("d", 43), Aantal: 2, Afgegeven: now, JWS: "e30.e30.c2ln",
		}),
		"kwitantie_inway": audit.NewKwitantie(now, audit.Receipt{
			Transactie: tid, Grant: delegated.Hash, Afnemer: twente, Bron: borne, Dienst: "taken", Doel: "wmo-advies", Besluit: true, Afgegeven: now, JWS: "e30.e30.c2ln",
		}),
		"beheer": audit.NewBeheer(now, audit.Act{
			Handeling: "contract-aanvaard", Door: "m1.abc", Object: "$1$1$abc", Details: map[string]string{"peer": string(twente)},
		}),
	}
}

func TestConstructorsFollowTheSchemas(t *testing.T) {
	for name, r := range made() {
		t.Run(name, func(t *testing.T) {
			if err := r.Validate(); err != nil {
				t.Errorf("Validate: %v\n%s", err, r.Body)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, r.Body, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			golden := filepath.Join("testdata", name+".golden.json")
			if *update {
				if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
				t.Errorf("body (-want +got), rewrite with -update:\n%s", diff)
			}
			if r.Soort != audit.Beheer && name != "afloop_ongezien" && name != "ldv_geen_gegevens" && r.Transactie != tid {
				t.Errorf("Transactie = %q, want %q", r.Transactie, tid)
			}
			if !r.Tijd.Equal(now) {
				t.Errorf("Tijd = %v, want %v", r.Tijd, now)
			}
			if id, err := gateway.ParseTransactionID(r.ID); err != nil || !id.Time().Equal(now.Truncate(time.Millisecond)) {
				t.Errorf("ID = %q, want a UUIDv7 of %v", r.ID, now)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	all := made()
	edit := func(name string, f func(m map[string]any)) audit.Record {
		r := all[name]
		var m map[string]any
		if err := json.Unmarshal(r.Body, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		r.Body, _ = json.Marshal(m)
		return r
	}
	with := func(name string, f func(*audit.Record)) audit.Record {
		r := all[name]
		f(&r)
		return r
	}
	sub := func(m map[string]any, key string) map[string]any { return m[key].(map[string]any) }
	cases := map[string]struct {
		rec  audit.Record
		want string // in the message
	}{
		"zero record":       {audit.Record{}, "soort"},
		"unknown kind":      {with("ldv", func(r *audit.Record) { r.Soort = "notitie" }), "soort"},
		"id of version 4":   {with("ldv", func(r *audit.Record) { r.ID = "0190b6a2-7c11-4d3e-9a55-3f5c0b1e2d44" }), "id"},
		"transaction id":    {with("ldv", func(r *audit.Record) { r.Transactie = "x" }), "transactie"},
		"no time":           {with("ldv", func(r *audit.Record) { r.Tijd = time.Time{} }), "tijd"},
		"not JSON":          {with("ldv", func(r *audit.Record) { r.Body = []byte("{") }), "body"},
		"no grant hash":     {audit.NewTransactie(now, audit.Exchange{Transactie: tid, Richting: audit.Outgoing}), "transactie record"},
		"no direction":      {audit.NewTransactie(now, audit.Exchange{Transactie: tid, Grant: grant}), "direction"},
		"unknown member":    {edit("transactie", func(m map[string]any) { m["bsn"] = "999990019" }), "transactie record"},
		"delegator, plain":  {edit("transactie", func(m map[string]any) { sub(m, "source")["delegator_peer_id"] = string(hof) }), "source"},
		"policies twice":    {edit("adl", func(m map[string]any) { sub(m, "body")["adl.core.policies"] = map[string]any{} }), "adl record"},
		"no response":       {edit("adl", func(m map[string]any) { delete(sub(m, "body"), "adl.core.response") }), "adl record"},
		"one for several":   {edit("adl_evaluations", func(m map[string]any) { m["event_name"] = "adl.access_evaluation" }), "adl record"},
		"no question":       {audit.NewADL(now, audit.Evaluation{Trace: trace, Producent: borne, Rol: "inway"}), "adl record"},
		"bsn as betrokkene": {edit("adl", func(m map[string]any) { sub(m, "attributes")["dpl.core.data_subject_id"] = "999990019" }), "data_subject_id"},
		"bsn in LDV":        {edit("ldv", func(m map[string]any) { sub(m, "attributes")["dpl.core.data_subject_id"] = "999990019" }), "data_subject_id"},
		"value for a field": {edit("ldv", func(m map[string]any) {
			sub(sub(m, "resource"), "attributes")["grensloos.velden"] = map[string]any{"persoon": []any{"Jansen, P."}}
		}), "velden"},
		"no activity":         {edit("ldv", func(m map[string]any) { delete(sub(m, "attributes"), "dpl.core.processing_activity_id") }), "attributes"},
		"activity no URI":     {edit("ldv", func(m map[string]any) { sub(m, "attributes")["dpl.core.processing_activity_id"] = "va 1" }), "processing_activity_id"},
		"LDV without trace":   {audit.NewLDV(now, audit.Processing{Trace: gateway.Trace{SpanID: trace.SpanID}, Naam: "x", Start: now, Eind: now, Activiteit: "urn:a:b", Betrokkene: "v1.x", Dienst: "d"}), "trace_id"},
		"receipt of nothing":  {audit.NewKwitantie(now, audit.Receipt{}), "kwitantie record"},
		"receipt that denies": {edit("kwitantie", func(m map[string]any) { m["besluit"] = false }), "besluit"},
		"receipt unsigned":    {edit("kwitantie", func(m map[string]any) { delete(m, "jws") }), "kwitantie record"},
		"count of no fields":  {edit("kwitantie", func(m map[string]any) { delete(m, "veldenDigest") }), "kwitantie record"},
		"outcome with a name": {edit("kwitantie", func(m map[string]any) { sub(m, "uitkomst")["persoon"] = "zag Jansen" }), "uitkomst"},
		"fields in a receipt": {edit("kwitantie", func(m map[string]any) { m["velden"] = []any{"naam"} }), "kwitantie record"},
		"afloop without end":  {audit.NewAfloop(now, audit.Outcome{Richting: audit.Incoming}), "uitkomst"},
		"beheer without who":  {audit.NewBeheer(now, audit.Act{Handeling: "x"}), "door"},
		"beheer with a bsn":   {audit.NewBeheer(now, audit.Act{Handeling: "x", Door: "systeem", Details: map[string]string{"wie": "999990019"}}), "wie"},
		"object that is bsn":  {audit.NewBeheer(now, audit.Act{Handeling: "x", Door: "systeem", Object: "999990019"}), "object"},
		"name in an act":      {audit.NewBeheer(now, audit.Act{Handeling: "Zag Jansen", Door: "systeem"}), "handeling"},
		"response, all lists": {edit("adl_evaluations", func(m map[string]any) { sub(m, "body")["adl.core.response"] = map[string]any{"decision": true} }), "adl record"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.rec.Validate()
			if gateway.KindOf(err) != gateway.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Validate = %v, want kind invalid naming %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "999990019") || strings.Contains(err.Error(), "Jansen") {
				t.Errorf("the error repeats a value: %v", err)
			}
		})
	}
}

func TestADLAnswersPerDienst(t *testing.T) {
	var body struct {
		Body struct {
			Response struct {
				Evaluations []struct {
					Decision bool
					Context  struct {
						Redenen   []string
						Velden    gateway.Velden
						Onthouden map[string]gateway.Velden
					}
				}
			} `json:"adl.core.response"`
		}
		Attributes map[string]any
	}
	if err := json.Unmarshal(made()["adl_evaluations"].Body, &body); err != nil {
		t.Fatal(err)
	}
	got := body.Body.Response.Evaluations
	if len(got) != 2 || !got[0].Decision || got[1].Decision {
		t.Fatalf("decisions = %+v, want uitkering permitted and persoon denied", got)
	}
	if diff := cmp.Diff(gateway.Velden{"uitkering": {"ingangsdatum", "loopt"}}, got[0].Context.Velden); diff != "" {
		t.Errorf("velden of uitkering (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]gateway.Velden{"grondslag-dekt-element-niet": {"persoon": {"telefoon"}}}, got[1].Context.Onthouden); diff != "" {
		t.Errorf("onthouden of persoon (-want +got):\n%s", diff)
	}
}

func TestLocalDecisionHasNoTransactionID(t *testing.T) {
	all := made()
	const key = `"adl.fsc.transaction_id"`
	if bytes.Contains(all["adl_geen_contract"].Body, []byte(key)) {
		t.Error("a decision that crosses no inway or outway has " + key)
	}
	if !bytes.Contains(all["adl"].Body, []byte(key)) {
		t.Error("a decision at the inway has no " + key)
	}
}

func TestBSNCannotEnter(t *testing.T) {
	bsn, err := gateway.ParseBSN("999990019")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a BSN in a record's context was encoded")
		}
	}()
	audit.NewADL(now, audit.Evaluation{Vragen: []audit.EvaluationItem{{Context: map[string]any{"persoon": bsn}}}})
}

func chain(n int) []audit.Entry {
	const journal = "0190b6a2-0000-7000-8000-000000000001"
	prev := audit.Genesis(journal)
	var all []audit.Entry
	for i := range n {
		r := audit.NewBeheer(now.Add(time.Duration(i)*time.Second), audit.Act{Handeling: "x", Door: audit.Systeem})
		prev = audit.Link(prev, uint64(i+1), r)
		all = append(all, audit.Entry{Journal: journal, Seq: uint64(i + 1), Hash: prev, Record: r})
	}
	return all
}

func TestCheckChain(t *testing.T) {
	cases := map[string]struct {
		edit func([]audit.Entry) []audit.Entry
		want string // "" means whole
	}{
		"whole":            {func(e []audit.Entry) []audit.Entry { return e }, ""},
		"from the middle":  {func(e []audit.Entry) []audit.Entry { return e[4:] }, ""},
		"empty":            {func([]audit.Entry) []audit.Entry { return nil }, ""},
		"one gone":         {func(e []audit.Entry) []audit.Entry { return slices.Delete(e, 3, 4) }, "entry 5 follows 3"},
		"one twice":        {func(e []audit.Entry) []audit.Entry { return slices.Insert(e, 3, e[2]) }, "entry 3 follows 3"},
		"swapped":          {func(e []audit.Entry) []audit.Entry { e[3], e[4] = e[4], e[3]; return e }, "entry 5 follows 3"},
		"no sequence":      {func(e []audit.Entry) []audit.Entry { e[3].Seq = 0; return e }, "without a sequence"},
		"of another":       {func(e []audit.Entry) []audit.Entry { e[3].Journal = "other"; return e }, "is of journal other"},
		"first is altered": {func(e []audit.Entry) []audit.Entry { e[0].Record.ID = "x"; return e }, "breaks at entry 1"},
		"body altered":     {func(e []audit.Entry) []audit.Entry { e[5].Record.Body = []byte(`{}`); return e }, "breaks at entry 6"},
		"time altered":     {func(e []audit.Entry) []audit.Entry { e[5].Record.Tijd = now; return e }, "breaks at entry 6"},
		"kind altered":     {func(e []audit.Entry) []audit.Entry { e[5].Record.Soort = audit.LDV; return e }, "breaks at entry 6"},
		"transactie set":   {func(e []audit.Entry) []audit.Entry { e[5].Record.Transactie = tid; return e }, "breaks at entry 6"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := audit.CheckChain(slices.Values(tc.edit(chain(8))))
			if tc.want == "" && err != nil {
				t.Fatalf("CheckChain = %v, want nil", err)
			}
			if tc.want != "" && (gateway.KindOf(err) != gateway.Conflict || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("CheckChain = %v, want kind conflict with %q", err, tc.want)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	ctx := context.Background()
	recs := []audit.Record{made()["transactie"], made()["afloop"]}
	boom := errors.New("disk full")
	onAfloop := func(r audit.Record) error {
		if r.Soort == audit.Afloop {
			return boom
		}
		return nil
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	cases := map[string]struct {
		log  *audit.Memory
		ctx  context.Context
		kept int
		fail bool
	}{
		"kept":                   {&audit.Memory{}, ctx, 2, false},
		"failed":                 {&audit.Memory{Fail: onAfloop}, ctx, 0, true},
		"failed but persisted":   {&audit.Memory{FailPersisted: onAfloop}, ctx, 2, true},
		"context ended":          {&audit.Memory{}, ended, 0, true},
		"checked against schema": {&audit.Memory{Validate: true}, ctx, 2, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := tc.log.Append(tc.ctx, recs...)
			if tc.fail && (gateway.KindOf(err) != gateway.Unavailable || gateway.CodeOf(err) != audit.WriteError) {
				t.Errorf("Append = %v, want kind unavailable and code %s", err, audit.WriteError)
			}
			if !tc.fail && err != nil {
				t.Errorf("Append = %v", err)
			}
			if got := len(tc.log.Records()); got != tc.kept {
				t.Errorf("%d records kept, want %d", got, tc.kept)
			}
			if got := tc.log.Count(audit.Transactie, tid); got != tc.kept/2 {
				t.Errorf("Count = %d, want %d", got, tc.kept/2)
			}
		})
	}
	if err := (&audit.Memory{Validate: true}).Append(ctx, audit.Record{}); gateway.KindOf(err) != gateway.Invalid {
		t.Errorf("an invalid record: %v, want kind invalid", err)
	}
}

func BenchmarkNewADL(b *testing.B) {
	e := audit.Evaluation{Transactie: tid, Trace: trace, Producent: borne, Rol: "inway", Vragen: []audit.EvaluationItem{question("")}, Decision: permit}
	for b.Loop() {
		audit.NewADL(now, e)
	}
}

func BenchmarkValidate(b *testing.B) {
	r := made()["adl"]
	for b.Loop() {
		if err := r.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
