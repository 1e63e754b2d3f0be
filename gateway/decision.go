package gateway

// Reason is the internal code of why something was denied or withheld. The audit record keeps it; what the asker sees is its
// public code, and for all that depends on the person that is one and the same (policies has the table).
type Reason string

// The reasons, from domain.md 3.1 and the purpose-binding extension. The list is closed: a code that is not here is a bug.
const (
	RichtingNietToegestaan        Reason = "richting-niet-toegestaan"
	DoelOnbekend                  Reason = "doel-onbekend"
	DoelNietActief                Reason = "doel-niet-actief"
	DoelGewijzigd                 Reason = "doel-gewijzigd"
	DoelNietAangeboden            Reason = "doel-niet-aangeboden"
	GrondslagDektElementNiet      Reason = "grondslag-dekt-element-niet"
	HergebruikRichting            Reason = "hergebruik-richting"
	GeenContract                  Reason = "geen-contract"
	GeenMandaat                   Reason = "geen-mandaat"
	MandaatVerlopen               Reason = "mandaat-verlopen"
	ToestemmingOntbreekt          Reason = "toestemming-ontbreekt"
	ToestemmingIngetrokken        Reason = "toestemming-ingetrokken"
	ToestemmingVerlopen           Reason = "toestemming-verlopen"
	ToestemmingVoorlopig          Reason = "toestemming-voorlopig"
	ToestemmingVerkeerdeOntvanger Reason = "toestemming-verkeerde-ontvanger"
	LeeftijdGezag                 Reason = "leeftijd-gezag"
	BeperktNaBezwaar              Reason = "beperkt-na-bezwaar"
	Geheimhouding                 Reason = "geheimhouding"
	VierOgen                      Reason = "vier-ogen"
	ZaakNietOpen                  Reason = "zaak-niet-open"
	TeVeelPersonen                Reason = "te-veel-personen"
	AfnemerNietBevoegd            Reason = "afnemer-niet-bevoegd"
	KlasseVerboden                Reason = "klasse-verboden"
	TabelNietInCatalogus          Reason = "tabel-niet-in-catalogus"
	LokaalBeleid                  Reason = "lokaal-beleid"
	BuitenReikwijdte              Reason = "buiten-reikwijdte"
)

// Decision is what a policy says about one question at one step. The zero value denies.
type Decision struct {
	Allow     bool
	Velden    Velden            // the fields that may leave; empty when denied
	Onthouden map[Reason]Velden // fields that were asked for and are withheld, by reason
	Reasons   []Reason          // why denied, or which reasons withheld fields; never empty when denied
	Geheim    bool              // answer with the mark that the person's data is secret (geheimhouding)
	Rule      string            // the rule that matched, such as "federatie/toegestaan"
	Revision  string            // the one policy revision that the whole request was decided on
}

// ConsentState is what the register says of a person's consent for one purpose and one recipient. The zero value is none.
type ConsentState string

// The states of consent. Only Geldig opens anything.
const (
	GeenToestemming     ConsentState = ""
	Geldig              ConsentState = "geldig"
	Voorlopig           ConsentState = "voorlopig"
	Verlopen            ConsentState = "verlopen"
	Ingetrokken         ConsentState = "ingetrokken"
	AndereOntvanger     ConsentState = "verkeerde-ontvanger"
	ToestemmingOnbekend ConsentState = "onbekend" // the register could not be asked; never opens anything
)
