package policies

import "github.com/grensloos/grensloos/gateway"

// Geweigerd is the one public code of everything that depends on the person. Whoever asks cannot tell from it whether a consent
// was withdrawn, an objection lodged or an address kept secret.
const Geweigerd = "geweigerd"

// geweigerdText is the one public text that goes with Geweigerd.
const geweigerdText = "Deze gegevens worden voor dit doel niet verstrekt."

// reason is a row of the table: what the own organisation reads, and what the asker gets to see.
type reason struct {
	public string // public code
	text   string // Dutch, for whoever may know the reason
}

// reasons is the table of every reason. A reason that is its own public code depends on the contract, the catalogue or the
// question; one whose public code is Geweigerd depends on the person.
var reasons = map[gateway.Reason]reason{
	gateway.GeenContract:             {string(gateway.GeenContract), "Er is geen geldig contract voor dit doel met deze organisatie."},
	gateway.DoelOnbekend:             {string(gateway.DoelOnbekend), "Dit doel staat niet in de doelencatalogus."},
	gateway.DoelNietAangeboden:       {string(gateway.DoelNietAangeboden), "Dit doel wordt niet aangeboden, ook niet met een contract."},
	gateway.DoelNietActief:           {string(gateway.DoelNietActief), "Dit doel is nu niet in werking: nog niet, niet meer of uitgezet."},
	gateway.DoelGewijzigd:            {string(gateway.DoelGewijzigd), "Het doel is gewijzigd sinds het contract is getekend; sluit een nieuw contract."},
	gateway.RichtingNietToegestaan:   {string(gateway.RichtingNietToegestaan), "Dit doel staat vragen in deze richting (namens, tussen of partner) niet toe."},
	gateway.AfnemerNietBevoegd:       {string(gateway.AfnemerNietBevoegd), "De organisatie of de medewerker heeft niet de rol die dit doel vraagt."},
	gateway.GeenMandaat:              {string(gateway.GeenMandaat), "De vrager handelt niet namens het college waarvan de gegevens zijn."},
	gateway.MandaatVerlopen:          {string(gateway.MandaatVerlopen), "Het mandaat namens dit college is verlopen."},
	gateway.ZaakNietOpen:             {string(gateway.ZaakNietOpen), "Er is geen zaak van een zaaktype waarvoor dit doel geldt."},
	gateway.TeVeelPersonen:           {string(gateway.TeVeelPersonen), "De vraag gaat over meer personen dan dit doel toestaat."},
	gateway.VierOgen:                 {string(gateway.VierOgen), "Een tweede medewerker moet hiermee instemmen."},
	gateway.GrondslagDektElementNiet: {string(gateway.GrondslagDektElementNiet), "De grondslag of het contract dekt dit gegeven niet."},
	gateway.KlasseVerboden:           {string(gateway.KlasseVerboden), "Dit soort gegevens wordt voor dit doel nooit verstrekt."},
	gateway.HergebruikRichting:       {string(gateway.HergebruikRichting), "Gegevens van deze wet mogen niet voor de andere wet worden hergebruikt."},
	gateway.TabelNietInCatalogus:     {string(gateway.TabelNietInCatalogus), "Deze tabel staat niet in de catalogus."},
	gateway.BuitenReikwijdte:         {string(gateway.BuitenReikwijdte), "Dit doel mag op deze grond niet aan deze gemeente worden gevraagd."},

	// What a gemeente's own policy looks at is its own affair, and may be the person: see Stap.PublicCode.
	gateway.LokaalBeleid: {Geweigerd, "Het eigen beleid van de gemeente staat dit niet toe."},

	gateway.ToestemmingOntbreekt:          {Geweigerd, "Er is geen toestemming van de betrokkene voor dit doel."},
	gateway.ToestemmingIngetrokken:        {Geweigerd, "De betrokkene heeft de toestemming ingetrokken."},
	gateway.ToestemmingVerlopen:           {Geweigerd, "De toestemming van de betrokkene is verlopen."},
	gateway.ToestemmingVoorlopig:          {Geweigerd, "De toestemming is voorlopig: de gemeente of de betrokkene moet haar nog bevestigen."},
	gateway.ToestemmingVerkeerdeOntvanger: {Geweigerd, "De toestemming is voor een andere ontvanger gegeven."},
	gateway.LeeftijdGezag:                 {Geweigerd, "De leeftijd is onbekend, of een ander moet voor deze persoon toestemmen."},
	gateway.BeperktNaBezwaar:              {Geweigerd, "De verwerking is beperkt zolang over een bezwaar niet is beslist."},
	gateway.Geheimhouding:                 {Geweigerd, "Op de gegevens van deze persoon rust een geheimhouding."},
}

// PublicCode is what the asker may see of r for a purpose. All that depends, or may depend, on the person has the code Geweigerd,
// the same for every purpose; a reason that is not in the table too.
func PublicCode(_ gateway.Doel, r gateway.Reason) string {
	if row, ok := reasons[r]; ok {
		return row.public
	}
	return Geweigerd
}

// PublicCode is what the asker may see of r when the decision fell at this step. Before a person is known, a refusal by local
// policy cannot depend on the person and is named; at Verstrekking it may, and is not.
func (s Stap) PublicCode(doel gateway.Doel, r gateway.Reason) string {
	if r == gateway.LokaalBeleid && (s == Uitgaand || s == Inkomend) {
		return string(gateway.LokaalBeleid)
	}
	return PublicCode(doel, r)
}

// Text is the Dutch text of a reason, for whoever may know the reason itself: the own organisation, never the asker.
func Text(r gateway.Reason) string {
	if row, ok := reasons[r]; ok {
		return row.text
	}
	return geweigerdText
}

// PublicText is the Dutch text of a public code. For a code that is not public it is the text of Geweigerd.
func PublicText(code string) string {
	r := gateway.Reason(code)
	if r == gateway.LokaalBeleid || reasons[r].public == code && code != "" {
		return reasons[r].text
	}
	return geweigerdText
}
