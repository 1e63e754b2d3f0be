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
#   grant, doel   zie contract.rego
# Bij uitgaand en inkomend ziet dit beleid van subject.id en context.tijd niets en van context.zaak alleen of er een is: zo'n besluit
# hangt van geen persoon af en wordt bewaard (bewaard.go). Eigen beleid ziet ze wel.
#   contract      wat de regel contract daarover zegt
#
# De vorm is gekozen op snelheid: de toestemmende weg is een rij voorwaarden, de keten van redenen loopt alleen na een weigering.
# De keten volgt dezelfde volgorde: wat niet van de persoon afhangt komt eerst.
package grensloos.federatie

besluit := {"velden": velden, "onthouden": onthouden, "geheim": object.get(input.resource.properties, "geheimhouding", false)} if {
	input.contract.reden == ""
	input.grant.afnemer == input.subject.properties.oin
	input.grant.bron == input.resource.properties.bronOin
	input.subject.properties.rol & input.doel.medewerkerRollen != set()
	input.doel.zaaktypen[input.context.zaaktype]
	input.context.zaak != ""
	input.context.aantal > 0
	input.context.aantal <= input.doel.maxPersonen
	persoon
	velden != set()
} else := {"reden": reden}

reden := input.contract.reden if {
	input.contract.reden != ""
} else := "geen-contract" if {
	not past
} else := "afnemer-niet-bevoegd" if {
	input.subject.properties.rol & input.doel.medewerkerRollen == set()
} else := "zaak-niet-open" if {
	not zaak
} else := "te-veel-personen" if {
	not aantal_past
} else := "klasse-verboden" if {
	gedekt == set()
	verboden != set()
	ongedekt == set()
} else := "grondslag-dekt-element-niet" if {
	gedekt == set()
} else := "beperkt-na-bezwaar" if {
	not input.resource.properties.beperkt in input.contract.beperkt
} else := "geheimhouding" if {
	not input.resource.properties.geheimhouding in input.contract.geheim
} else := toestemming_reden[input.context.toestemming] if {
	not input.context.toestemming in input.contract.toestemming
} else := "leeftijd-gezag" if {
	input.resource.properties.leeftijd < input.contract.vanafLeeftijd
} else := "toestemming-ontbreekt" if {
	velden == set()
}

# Het contract is er een tussen deze twee organisaties.
past if {
	input.grant.afnemer == input.subject.properties.oin
	input.grant.bron == input.resource.properties.bronOin
}

# Er is een zaak, van een zaaktype waarvoor het doel geldt.
zaak if {
	input.doel.zaaktypen[input.context.zaaktype]
	input.context.zaak != ""
}

aantal_past if {
	input.context.aantal > 0
	input.context.aantal <= input.doel.maxPersonen
}

# De persoon is pas bekend bij de verstrekking; wat het contract van hem eist staat in contract.rego.
persoon if input.context.stap == "uitgaand"

persoon if input.context.stap == "inkomend"

persoon if {
	input.context.stap == "verstrekking"
	input.resource.properties.beperkt in input.contract.beperkt
	input.resource.properties.geheimhouding in input.contract.geheim
	input.contract.toestemming[input.context.toestemming]
	input.resource.properties.leeftijd >= input.contract.vanafLeeftijd
}

# Velden: gevraagd, getekend en nog in het doel. Wat de betrokkene bij de toestemming heeft beperkt gaat niet mee.
gedekt := input.resource.properties.velden & input.contract.velden

velden := gedekt & input.context.toestemmingVelden

# Wat gevraagd is en niet meegaat, met de reden.
onthouden := {} if {
	velden == input.resource.properties.velden
} else := {
	"klasse-verboden": verboden,
	"grondslag-dekt-element-niet": ongedekt,
	"toestemming-ontbreekt": gedekt - velden,
}

verboden := input.resource.properties.velden & input.contract.nooit

ongedekt := (input.resource.properties.velden - gedekt) - verboden

toestemming_reden := {
	"": "toestemming-ontbreekt",
	"onbekend": "toestemming-ontbreekt",
	"voorlopig": "toestemming-voorlopig",
	"verlopen": "toestemming-verlopen",
	"ingetrokken": "toestemming-ingetrokken",
	"verkeerde-ontvanger": "toestemming-verkeerde-ontvanger",
}
