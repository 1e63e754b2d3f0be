# Het beleid van de federatie: mag deze vraag, en welke velden gaan mee?
#
# Wat en waarom (domain.md 3.1): een doel uit de catalogus opent gegevens alleen onder een getekend contract met dezelfde betekenis
# van het doel, in een richting die het doel kent, voor een rol die het noemt, op een zaak waarvoor het geldt, en voor een persoon
# wiens toestemming, bezwaar en geheimhouding het toelaten. Alles wat hier niet staat is geweigerd.
#
# input, in de woorden van AuthZEN:
#   subject   {type: "medewerker", id, properties: {oin, rol: verzameling}}
#   action    {name: "bevragen"}
#   resource  {type: "clientgegevens", properties: {bronOin, velden: verzameling "dienst.veld"}}
#             en bij stap verstrekking ook {geheimhouding, beperkt, leeftijd (-1 onbekend)}
#   context   {stap: "uitgaand" | "inkomend" | "verstrekking", tijd, doel, richting, namensCollege, zaak, zaaktype, aantal,
#             toestemming, toestemmingVelden: verzameling}
#   grant     wat getekend is: {afnemer, bron, versie, digest, velden: verzameling, afnemerRol}
#   doel      wat nu geldt: {bekend, geldig, status, versie, digest, velden, nooit, richting, zaaktypen, afnemerRollen,
#             medewerkerRollen: verzamelingen, maxPersonen, bezwaar, toestemming ("" = geen), vanafLeeftijd}
#
# De vorm is gekozen op snelheid: de toestemmende weg is een rij voorwaarden, de keten van redenen loopt alleen na een weigering.
# De keten volgt dezelfde volgorde: wat niet van de persoon afhangt komt eerst.
package grensloos.federatie

besluit := {"velden": velden, "onthouden": onthouden, "geheim": geheim} if {
	input.context.doel != "handhaving-fraude"
	input.doel.status == "actief"
	input.doel.geldig == true
	input.doel.bekend == true
	input.grant.afnemer == input.subject.properties.oin
	input.grant.bron == input.resource.properties.bronOin
	input.grant.versie == input.doel.versie
	input.grant.digest == input.doel.digest
	input.doel.richting[input.context.richting]
	input.doel.afnemerRollen[input.grant.afnemerRol]
	input.subject.properties.rol & input.doel.medewerkerRollen != set()
	mandaat
	input.doel.zaaktypen[input.context.zaaktype]
	input.context.zaak != ""
	input.context.aantal > 0
	input.context.aantal <= input.doel.maxPersonen
	gedekt != set()
	persoon
	velden != set()
} else := {"reden": reden}

reden := "doel-niet-aangeboden" if {
	niet_aangeboden == true
} else := "doel-onbekend" if {
	input.doel.bekend == false
} else := "doel-niet-actief" if {
	actief == false
} else := "geen-contract" if {
	past == false
} else := "doel-gewijzigd" if {
	ongewijzigd == false
} else := "richting-niet-toegestaan" if {
	not input.doel.richting[input.context.richting]
} else := "afnemer-niet-bevoegd" if {
	bevoegd == false
} else := "geen-mandaat" if {
	mandaat == false
} else := "zaak-niet-open" if {
	zaak == false
} else := "te-veel-personen" if {
	aantal_past == false
} else := "klasse-verboden" if {
	gedekt == set()
	verboden != set()
	ongedekt == set()
} else := "grondslag-dekt-element-niet" if {
	gedekt == set()
} else := "beperkt-na-bezwaar" if {
	onbeperkt == false
} else := "geheimhouding" if {
	geheimhouding_past == false
} else := toestemming_reden[input.context.toestemming] if {
	toestemming_past == false
	input.context.toestemming != "geldig"
} else := "leeftijd-gezag" if {
	oud_genoeg == false
} else := "toestemming-ontbreekt" if {
	persoon
	velden == set()
}

# P29 wordt bij naam geweigerd, wat een catalogus ook zegt.
default niet_aangeboden := false

niet_aangeboden if input.context.doel == "handhaving-fraude"

niet_aangeboden if input.doel.status == "niet-aangeboden"

default actief := false

actief if {
	input.doel.geldig == true
	input.doel.status == "actief"
}

# Het contract is er een tussen deze twee organisaties.
default past := false

past if {
	input.grant.afnemer == input.subject.properties.oin
	input.grant.bron == input.resource.properties.bronOin
}

# Het doel betekent nog wat is getekend.
default ongewijzigd := false

ongewijzigd if {
	input.grant.versie == input.doel.versie
	input.grant.digest == input.doel.digest
}

# De organisatie en de medewerker hebben elk een rol die het doel noemt.
default bevoegd := false

bevoegd if {
	input.doel.afnemerRollen[input.grant.afnemerRol]
	input.subject.properties.rol & input.doel.medewerkerRollen != set()
}

# Namens een college vragen kan alleen bij dat college zelf.
default mandaat := false

mandaat if {
	input.context.richting == "namens"
	input.context.namensCollege == input.resource.properties.bronOin
}

mandaat if input.context.richting == "tussen"

mandaat if input.context.richting == "partner"

# Er is een zaak, van een zaaktype waarvoor het doel geldt.
default zaak := false

zaak if {
	input.context.zaak != ""
	input.doel.zaaktypen[input.context.zaaktype]
}

default aantal_past := false

aantal_past if {
	input.context.aantal > 0
	input.context.aantal <= input.doel.maxPersonen
}

# Velden: gevraagd, getekend en nog in het doel; wat het doel nooit geeft telt niet, wat een contract ook zegt.
verboden := input.resource.properties.velden & input.doel.nooit

gedekt := ((input.resource.properties.velden & input.grant.velden) & input.doel.velden) - input.doel.nooit

ongedekt := (input.resource.properties.velden - gedekt) - verboden

# Wat de betrokkene bij de toestemming heeft beperkt gaat niet mee.
velden := gedekt & input.context.toestemmingVelden

onthouden := {} if velden == input.resource.properties.velden

else := {
	"klasse-verboden": verboden,
	"grondslag-dekt-element-niet": ongedekt,
	"toestemming-ontbreekt": gedekt - velden,
}

# De persoon is pas bekend bij de verstrekking.
default persoon := false

persoon if input.context.stap == "uitgaand"

persoon if input.context.stap == "inkomend"

persoon if {
	input.context.stap == "verstrekking"
	is_boolean(input.resource.properties.geheimhouding)
	is_boolean(input.resource.properties.beperkt)
	onbeperkt
	geheimhouding_past
	toestemming_past
	oud_genoeg
}

# Zolang over een bezwaar niet is beslist, is de verwerking beperkt (AVG art. 18 lid 1 onder d).
default onbeperkt := false

onbeperkt if input.doel.bezwaar == false

onbeperkt if input.resource.properties.beperkt == false

# Geheimhouding: een partner krijgt niets; wie namens of als college vraagt wel, met een merk (onze lezing).
default geheimhouding_past := false

geheimhouding_past if input.resource.properties.geheimhouding == false

geheimhouding_past if input.context.richting == "namens"

geheimhouding_past if input.context.richting == "tussen"

default geheim := false

geheim if input.resource.properties.geheimhouding == true

# Toestemming, voor de doelen die er om vragen.
default toestemming_past := false

toestemming_past if input.doel.toestemming == ""

toestemming_past if input.context.toestemming == "geldig"

toestemming_reden := {
	"": "toestemming-ontbreekt",
	"onbekend": "toestemming-ontbreekt",
	"voorlopig": "toestemming-voorlopig",
	"verlopen": "toestemming-verlopen",
	"ingetrokken": "toestemming-ingetrokken",
	"verkeerde-ontvanger": "toestemming-verkeerde-ontvanger",
}

default oud_genoeg := false

oud_genoeg if input.doel.vanafLeeftijd == 0

oud_genoeg if input.resource.properties.leeftijd >= input.doel.vanafLeeftijd
