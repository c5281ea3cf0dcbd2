"""Word lists of C4's line rules by language: phrases of policies, closing quotes, abbreviations.

English is as published (Raffel et al. 2020, arXiv:1910.10683, and datatrove's C4QualityFilter). The other languages
say the same things in the words that consent banners and page feet use; phrases are lower case and NFC.
"""

#: A line that holds one of these is taken out.
POLICY_PHRASES: dict[str, tuple[str, ...]] = {
    "en": ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
    "de": ("nutzungsbedingungen", "datenschutzerklärung", "cookie-richtlinie", "verwendet cookies",
           "verwendung von cookies", "verwenden cookies", "nutzt cookies", "nutzung von cookies"),
    "fr": ("conditions d'utilisation", "conditions d’utilisation", "politique de confidentialité",
           "politique de cookies", "politique en matière de cookies", "utilise des cookies", "utilisation de cookies",
           "utilisons des cookies"),
    "es": ("condiciones de uso", "términos de uso", "política de privacidad", "política de cookies",
           "utiliza cookies", "uso de cookies", "usa cookies", "utilizamos cookies"),
    "it": ("condizioni d'uso", "termini di utilizzo", "informativa sulla privacy", "politica sui cookie",
           "informativa sui cookie", "utilizza cookie", "utilizza i cookie", "uso dei cookie", "utilizzo dei cookie"),
    "pt": ("termos de uso", "termos de utilização", "política de privacidade", "política de cookies",
           "utiliza cookies", "usa cookies", "uso de cookies", "utilizamos cookies"),
    "nl": ("gebruiksvoorwaarden", "privacybeleid", "privacyverklaring", "cookiebeleid", "maakt gebruik van cookies",
           "gebruikt cookies", "gebruik van cookies", "gebruiken cookies"),
    "pl": ("warunki korzystania", "regulamin serwisu", "polityka prywatności", "polityka cookies",
           "polityka plików cookie", "używa plików cookie", "wykorzystuje pliki cookie", "korzysta z plików cookie"),
}  # fmt: skip

#: C4's ends of a line in English; elsewhere also every mark that ends a sentence in any script, and these quotes.
ENGLISH_LINE_ENDS = ".?!\"'"
CLOSING_QUOTES = "»«”“’›‹」』"

#: A full stop after one of these ends no sentence. English: the single words of spaCy's exceptions, which datatrove
#: counts with; elsewhere the commonest abbreviations of running text. Separated by blanks.
ABBREVIATIONS: dict[str, str] = {
    "en": (
        "Adm Ak Ala Apr Ariz Ark Aug Bros Calif Co Colo Conn Corp Dec Del Dr Feb Fla Ga Gen Gov Ia Id Ill Inc Ind Jan "
        "Jr Jul Jun Kan Kans Ky La Ltd Mar Mass Md Messrs Mich Minn Miss Mo Mont Mr Mrs Ms Mt Neb Nebr Nev Nov Oct "
        "Okla Ore Pa Prof Rep Rev Sen Sep Sept St Tenn Va Wash Wis co vs"
    ),
    "de": "Abb Abs Bd Bsp bzw ca Co Dr etc evtl ggf Hrsg inkl max min Mio Mrd Nr Prof S St usw vgl Vgl",
    "fr": "Dr MM Mme Mlle Mr No St Ste Vol av cf déc etc ex févr janv juill nov oct pp sept",
    "es": "Av Avda Cía Dr Dra Ing Lic Prof Sr Sra Srta Ud Uds aprox ej etc fig núm pág vol",
    "it": "Art Avv Dott Ing Prof Sig St art avv ecc es etc fig pag prof sig ss tel",
    "pt": "Art Av Cia Dr Dra Prof Sr Sra art av ed ex etc fig pág sr sra tel vol",
    "nl": "Dhr Dr Ing Mevr Mr Prof St bijv blz ca dhr enz etc incl max mevr min nr resp",
    "pl": "dr inż im itd itp mgr np nr ok prof r str tj tys tzw ul ww zob",
}
