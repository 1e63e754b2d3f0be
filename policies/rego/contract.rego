# Wat een getekende grant en de catalogus samen toelaten, los van wie er vraagt en over wie. Dit wordt een keer per grant en revisie
# uitgerekend en bewaard; besluit.rego beslist daarmee over elke vraag.
#
# input
#   grant     wat getekend is: {doel, afnemer, bron, versie, digest, richting, afnemerRol, namensCollege, velden: verzameling}
#   doel      wat nu geldt: {bekend, geldig, status, versie, digest, velden, nooit, richting, zaaktypen, afnemerRollen,
#             medewerkerRollen: verzamelingen, nooitRichting: verzameling per richting, maxPersonen, bezwaar,
#             toestemmingRichting: verzameling van de richtingen die toestemming eisen, vanafLeeftijd}
package grensloos.federatie

# reden is "" als het contract iets opent; velden is dan wat, en de rest is wat van de persoon wordt geeist.
contract := {
	"reden": "",
	"velden": (input.grant.velden & input.doel.velden) - nooit,
	"nooit": nooit,
	"beperkt": mag_beperkt,
	"geheim": mag_geheim,
	"toestemming": mag_toestemming,
	"vanafLeeftijd": vanaf_leeftijd,
} if {
	input.grant.doel != "handhaving-fraude"
	input.doel.geldig == true
	input.doel.status == "actief"
	input.doel.versie == input.grant.versie
	input.doel.digest == input.grant.digest
	input.doel.richting[input.grant.richting]
	input.doel.afnemerRollen[input.grant.afnemerRol]
	mandaat
} else := {"reden": contract_reden, "velden": set()}

# De keten van redenen loopt alleen na een weigering.
contract_reden := "doel-niet-aangeboden" if {
	niet_aangeboden
} else := "doel-onbekend" if {
	input.doel.bekend == false
} else := "doel-niet-actief" if {
	not actief
} else := "doel-gewijzigd" if {
	not ongewijzigd
} else := "richting-niet-toegestaan" if {
	not input.doel.richting[input.grant.richting]
} else := "afnemer-niet-bevoegd" if {
	not input.doel.afnemerRollen[input.grant.afnemerRol]
} else := "geen-mandaat" if {
	not mandaat
}

# P29 wordt bij naam geweigerd, wat een catalogus ook zegt.
niet_aangeboden if input.grant.doel == "handhaving-fraude"

niet_aangeboden if input.doel.status == "niet-aangeboden"

actief if {
	input.doel.geldig == true
	input.doel.status == "actief"
}

# Het doel betekent nog wat is getekend.
ongewijzigd if {
	input.doel.versie == input.grant.versie
	input.doel.digest == input.grant.digest
}

# Namens een college vragen kan alleen bij dat college zelf.
mandaat if {
	input.grant.richting == "namens"
	input.grant.namensCollege == input.grant.bron
}

mandaat if input.grant.richting == "tussen"

mandaat if input.grant.richting == "partner"

# Zolang over een bezwaar niet is beslist is de verwerking beperkt (AVG art. 18 lid 1 onder d), voor de doelen die bezwaar kennen.
mag_beperkt := {false} if input.doel.bezwaar == true

mag_beperkt := {false, true} if input.doel.bezwaar == false

# Geheimhouding: een partner krijgt niets; wie namens of als college vraagt wel, met een merk (onze lezing).
mag_geheim := {false} if input.grant.richting == "partner"

mag_geheim := {false, true} if input.grant.richting == "namens"

mag_geheim := {false, true} if input.grant.richting == "tussen"

# Wat het doel nooit geeft, en wat het in deze richting nooit geeft.
nooit := input.doel.nooit | input.doel.nooitRichting[input.grant.richting]

# Toestemming, voor de doelen en de richtingen die er om vragen; anders doet het register er niet toe.
eist_toestemming if input.doel.toestemmingRichting[input.grant.richting]

mag_toestemming := {"geldig"} if eist_toestemming

mag_toestemming := {"geldig", "", "onbekend", "voorlopig", "verlopen", "ingetrokken", "verkeerde-ontvanger"} if {
	eisend := input.doel.toestemmingRichting
	not eisend[input.grant.richting]
}

# Een onbekende leeftijd is -1: alleen goed als er geen toestemming vanaf een leeftijd wordt gevraagd.
default vanaf_leeftijd := -1

vanaf_leeftijd := input.doel.vanafLeeftijd if {
	eist_toestemming
	input.doel.vanafLeeftijd > 0
}
