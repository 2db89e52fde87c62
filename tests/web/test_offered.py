"""What a form may choose of the processors in config.ini."""

import html
import re
from urllib.parse import urlencode

import pytest

from harness.books import query
from harness.site import problem

OWN = """
from processors import Option, one_by_one, per_item

@one_by_one
def add(address):
    return None

add.declared_options = (
    Option("key", per_batch=True),
    Option("most", int, 3, per_batch=True),
    Option("secret", default="hidden"),
)

@per_item
def read(item):
    return None

read.columns = ("status", "Name")
"""


@pytest.fixture
def site(serve, tmp_path):
    """A site with five processors: one can't be imported, and the section of another is wrong."""
    (tmp_path / "offered_of_tests.py").write_text(OWN)
    return serve(
        processors__check="check Check",
        processors__crm="offered_of_tests:add Add to our CRM",
        processors__read="offered_of_tests:read",
        processors__gone="nowhere_at_all:work",
        processors__wrong="offered_of_tests:add",
        wrong__most="many",
    )


def send(site, **fields):
    return site.upload(b"Name,Mail\nAnn,a@x.de\n", **fields)


def stored():
    return query("SELECT processor, options FROM batch ORDER BY id DESC LIMIT 1")[0]


def test_the_default_is_stored_by_its_name(site):
    assert send(site).status == 201
    assert stored() == ("check", {})


def test_the_only_one_needs_no_name(serve):
    assert send(serve()).status == 201
    assert stored() == (None, {})


def test_options_of_other_processors_are_ignored(site):
    fields = {"option.crm.key": "a", "option.crm.most": "", "option.most": "7"}
    assert send(site, processor="crm", **fields).status == 201
    assert stored() == ("crm", {"key": "a", "most": 7})
    assert send(site, processor="check", **{"option.crm.key": "a"}).status == 201
    assert stored() == ("check", {})


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        (
            {"processor": "wrong"},
            "broken_processor",
            "The processor wrong can't be used: [wrong] most must be a whole number, not 'many'.",
        ),
        ({"processor": "x"}, "unknown_processor", "Choose one of: check, crm, read."),
        ({"processor": "gone"}, "broken_processor", "nowhere_at_all"),
        ({"processor": "crm"}, "bad_option", "key must be given."),
        ({"processor": "crm", "option.key": "x" * 501}, "bad_option", "at most 500 characters"),
        ({"processor": "crm", "option.key": "a\0"}, "bad_option", "no NUL"),
        ({"processor": "crm", "option.key": "a", "option.most": "x"}, "bad_option", "most"),
        ({"processor": "crm", "option.key": "a", "option.secret": "x"}, "bad_option", "secret"),
        ({"option.key": "a"}, "bad_option", "key"),
    ],
)
def test_what_cannot_be_is_a_problem_with_a_sentence(site, fields, code, said):
    assert said in problem(send(site, **fields), 422, code)["detail"]
    assert query("SELECT count(*) FROM batch") == [(0,)]


def test_what_is_not_on_offer_is_logged(site, caplog):
    logged = [record.getMessage() for record in caplog.get_records("setup")]
    errors = [each for each in logged if each.startswith("a processor can't be loaded")]
    assert len(errors) == 2
    assert "processor=gone" in errors[0]
    assert "processor=wrong" in errors[1]
    assert "[wrong] most must be a whole number, not 'many'" in errors[1]


def test_columns_are_a_line_of_csv(site):
    document = problem(send(site, columns='Name,"x'), 400, "bad_parameter")
    assert document["parameter"] == "columns"


def test_batches_are_listed_by_processor(site):
    send(site)
    send(site, processor="crm", **{"option.key": "a"})
    query("UPDATE batch SET processor = NULL WHERE id = 1 RETURNING 1")
    for name, ids in (("check", [1]), ("crm", [2]), ("x", []), ("", [2, 1])):
        listed = site.get(f"/api/batches?processor={name}").json["batches"]
        assert [batch["id"] for batch in listed] == ids


def test_only_a_batch_that_has_ended_is_processed_again(site):
    send(site)
    problem(site.request("POST", "/api/batches/1/again"), 409, "wrong_state")
    site.request("POST", "/api/batches/1/cancel")
    form = "application/x-www-form-urlencoded"
    body = b"processor=crm&option.crm.key=a"
    answer = site.request("POST", "/api/batches/1/again", body, Content_Type=form)
    assert (answer.status, answer.headers["Location"]) == (201, "/api/batches/2")
    assert stored() == ("crm", {"key": "a"})
    query("UPDATE batch SET format = NULL WHERE id = 1 RETURNING 1")
    problem(site.request("POST", "/api/batches/1/again"), 404, "file_not_kept")


def test_the_form_for_processing_again_asks_for_the_same_columns_however_long_their_names(site):
    names = [f"Überschrift {number} {'ё' * 15}" for number in range(150)]
    header = ",".join(["Mail", *names, '"Two\nlines"'])
    content = f"{header}\na@x.de\n".encode()
    chosen = ",".join([*names, '"Two lines"'])
    assert site.upload(content, columns=chosen).status == 201
    assert site.upload(content, columns="*").status == 201
    for batch_id in (1, 2):
        site.request("POST", f"/api/batches/{batch_id}/cancel")
        page = site.get(f"/batches/{batch_id}").body.decode()
        (field,) = re.findall(r'name="columns" value="([^"]*)"', page)
        assert (html.unescape(field) == "*") == (batch_id == 2)
        body = urlencode({"processor": "check", "columns": html.unescape(field)}).encode()
        assert len(body) > 15_000 or batch_id == 2
        form = "application/x-www-form-urlencoded"
        answer = site.request("POST", f"/batches/{batch_id}/again", body, Content_Type=form)
        assert answer.status == 303
    columns = query("SELECT columns FROM batch ORDER BY id")
    assert columns[:2] == columns[2:]
    much = b"columns=" + b"a" * 100_000
    problem(
        site.request("POST", "/api/batches/1/again", much, Content_Type=form),
        413,
        "content_too_large",
    )


def test_two_processors_are_refused_so_that_no_batch_gets_another_than_was_meant(site):
    send(site)
    site.request("POST", "/api/batches/1/cancel")
    form = "application/x-www-form-urlencoded"
    body = b"processor=&processor=check&processor="
    for more, status in ((b"check", 201), (b"read", 400)):
        answer = site.request("POST", "/api/batches/1/again", body + more, Content_Type=form)
        assert answer.status == status
    assert problem(answer, 400, "bad_parameter")["parameter"] == "processor"


def test_rows_of_results_that_are_processed_again_lack_what_a_processor_takes_of_those(site):
    send(site, processor="check")
    site.request("POST", "/api/batches/1/cancel")
    results = site.get("/api/batches/1/results.csv").body
    assert site.upload(results, processor="read").status == 201
    site.request("POST", "/api/batches/2/cancel")
    form = "application/x-www-form-urlencoded"
    for path in ("/api/batches/2/again", "/api/batches/2/again?status=pending"):
        answer = site.request("POST", path, b"processor=read", Content_Type=form)
        assert answer.status == 201, answer.body
    columns = query("SELECT columns FROM batch ORDER BY id")
    assert columns == [([],), (["Name", "status"],), (["Name", "status"],), (["Name"],)]
