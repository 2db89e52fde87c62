import re

import pytest

from processors.mailboxes import ROLES, is_role

# Common given names of many languages, as they stand in addresses.
_GIVEN_NAMES = """
    aaron abdul adam adriana agnes ahmed aisha alan alba albert alberto alejandro aleksandra alex
    alexa alexander alexandra alexis alfred ali alice alicia alla alma alpha amanda amelie amina
    amir amy ana anastasia andrea andreas andrei andrew angel angela ania anita anja ann anna anne
    antoine antonio anya ariel arjun art arthur asset astrid aurora ayse barbara beata beatrice ben
    benjamin bernd berta beta bill bjorn bob brigitte bruno camille carla carlos carmen carol
    caroline cem charles charlotte chase chiara china chris christa christian christine clara claude
    claudia clemens dagmar dan dana daniel david dean deborah denis denver dev diana dieter dmitri
    dominik don dorothea edith eduardo elena elias elif elisa elizabeth ella emil emily emma emre
    enrico eric erika ernst eva fatima felix fernando filip florian france francesca frank franz
    frederic gabriel george georg gerd giorgio giulia grace greg greta guillaume gustav hamza hanna
    hans harald heidi heinz helen helga henry hilde hiroshi hope hugo hunter ian ida igor ilse india
    ines inge ingrid irina isabel ivan jack jacob james jan jana janet jasmin jean jens jennifer
    joan job joe johanna john jonas jorge jose josef joy juan julia julie jung jürgen kai karim
    karin karl kate katharina kenji kevin klaus kumar lara lars laura lea leo leon lin lina linda
    lisa louis luca lucia luis lukas magda manuel marc marco maria marie mario marion mark markus
    marta martin mary mason mateo matthias max maya mehmet mei mia michael miguel mike mila milan
    miles mohamed monika nadia natalia nicolas nina noah noel nora olaf oleg olga olivia omar oscar
    otto pablo paolo paris pascal pat patricia patrick paul paula pedro peter petra philipp pierre
    priya rafael rahul ralf raul renate rené ricardo rita rob robert rohan roland roman rosa roy
    ruth sabine sam samuel sandra sara sebastian sem sergei silvia simon sky sofia sonja stefan
    stella steve susanne sven svetlana sydney tanja tarek teresa thomas tim tina tobias tom tomasz
    ulrich ursula uwe valentina vera victor viktor virginia vivian walter wei wendy werner will
    wolfgang xavier yasmin yuki yusuf yves zoe zofia
"""
GIVEN_NAMES = tuple(_GIVEN_NAMES.split())
# Common family names, and some that are words, too.
_FAMILY_NAMES = """
    ali angels apple baker bauer becker berlin bishop bond boston brand brandt brown chan chen
    christmas church clark cook cooper cox davis day dean diaz dubois dupont english evans fischer
    fox french garcia gardner gonzalez grant green gupta hall hansen harris head hernandez hill
    hoffmann house hughes hunt jackson jensen jobs johansson johnson jones kaiser keller khan kim
    king klein koch kowalski kumar lang lee lehmann lewis li lopez major marin mayor martin martinez
    meier meyer miller moore moreau moretti morgan müller nakamura nguyen nielsen nowak page palmer
    park parker patel pereira perez pool porter price prince ramos richter ricci rivera robinson
    rossi roth russo sanchez santos sato schmidt schneider schulz schwarz shah sharma silva singh
    smith suzuki taylor thompson tran turner vogel wagner walker wang ward weber white williams
    wilson wolf wong wood wright yamamoto yilmaz young zhang zimmermann
"""
FAMILY_NAMES = tuple(_FAMILY_NAMES.split())


@pytest.mark.parametrize(
    "role",
    [
        *("info", "INFO", "postmaster", "kontakt", "buero", "rechnung", "rechnungen", "Bewerbung"),
        *("datenschutz", "vertrieb", "einkauf", "verwaltung", "contact", "compta", "facturation"),
        *("commandes", "accueil", "segreteria", "ventas", "sale", "order", "web-admin"),
        *("no-reply", "noreply", "no_reply", "No.Reply", "do-not-reply", "do.not.reply"),
        *("donotreply", "dontreply", "noresponse", "no-response", "nepasrepondre", "autoreply"),
        *("customer-service", "customer_service", "customerservice", "human-resources"),
    ],
)
def test_roles_are_known_in_any_case_and_spelling(role):
    assert is_role(role)


@pytest.mark.parametrize("local", ["info.anna", "annainfo", "s.ales", "in-fo", "a" * 60, ""])
def test_people_are_no_roles(local):
    assert not is_role(local)


def test_no_name_of_a_person_is_a_role():
    assert len(set(GIVEN_NAMES)) > 200
    # A mailbox such as jobs@ is a company's far more often than of a person with that name.
    assert [name for name in (*GIVEN_NAMES, *FAMILY_NAMES) if is_role(name)] == ["jobs"]


def test_no_initials_are_a_role():
    # Departments and companies' mailboxes everywhere, whoever has these initials.
    assert {role for role in ROLES if len(role) < 3} == {"hq", "hr", "it", "pr", "qa", "rh"}


def test_names_are_lower_case_ascii_without_dots_but_for_the_two_beginnings():
    for role in ROLES:
        assert re.fullmatch("[a-z]+(?:[_-][a-z]+)*|(?:no|do)(?:[.][a-z]+)+", role), role
