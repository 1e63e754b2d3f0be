# Voorbeeld van eigen beleid van een gemeente. Zet het in de map die `beleid.lokaal` noemt.
#
# `weiger` bevat de teksten van weigeringen, `onthoud` de velden ("dienst.veld") die niet meegaan. Meer kan eigen beleid niet: wat
# het landelijke beleid en het contract niet toestaan, opent het nooit. `input` staat beschreven in rego/federatie.rego.
package grensloos.lokaal

# Borne doet heronderzoeken zelf.
weiger contains "Borne doet heronderzoeken naar bijstand zelf; vraag het de afdeling Inkomen." if {
	input.context.doel == "pw-uitkering"
	input.context.zaaktype == "pw-heronderzoek"
}
