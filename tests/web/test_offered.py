"""What a form may choose of the processors in config.ini."""

import html
import re
from urllib.parse import urlencode

import pytest

from harness.batches import completed
from harness.books import query
from harness.files import FORM_TYPE, form
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


def again(site, body=b"", path="/api/batches/1/again"):
    form = "application/x-www-form-urlencoded"
    return site.request("POST", path, body, Content_Type=form)


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("proccessor", "processor"),
        ("Processor", "processor"),
        ("most", "option.most"),
        ("option_most", "option.most"),
        ("colums", "columns"),
        ("startat", "start_at"),
        ("\u202ex" * 99, None),
    ],
)
def test_a_field_that_is_unknown_is_refused_with_the_one_that_is_meant(site, name, meant):
    for path in ("/api/upload", "/api/preview"):
        answer = send(site, path=path, **{name: "crm"})
        detail = problem(answer, 422, "unknown_field")["detail"]
        assert repr(name)[:50] in detail
        assert detail.endswith(f" It probably means {meant}." if meant else ", which is unknown.")
    assert query("SELECT count(*) FROM batch") == [(0,)]
    send(site)
    site.request("POST", "/api/batches/1/cancel")
    problem(again(site, f"{name}=x".encode()), 422, "unknown_field")


def test_a_parameter_that_is_unknown_is_refused(site):
    for path in ("/api/upload", "/api/preview"):
        answer = send(site, path=f"{path}?processor=crm")
        assert problem(answer, 400, "unknown_parameter")["parameter"] == "processor"
    send(site)
    site.request("POST", "/api/batches/1/cancel")
    answer = again(site, path="/api/batches/1/again?verdct=risky")  # which would be all rows
    detail = problem(answer, 400, "unknown_parameter")["detail"]
    assert detail.endswith("They are verdict, reason, status, q, kind, only.")
    assert query("SELECT count(*) FROM batch") == [(1,)]


def test_a_second_file_in_an_unknown_field_is_refused(site):
    body = form(b"a@x.de\n", "a.csv", x="y")
    more = body.replace(b'name="x"', b'name="flie"; filename="b.csv"')
    answer = site.request("POST", "/api/upload", more, Content_Type=FORM_TYPE)
    assert problem(answer, 422, "unknown_field")["field"] == "flie"


def test_the_answer_to_an_upload_says_what_is_done(site):
    fields = {"option.key": "a", "columns": "Name"}
    answer = send(site, processor="crm", **fields).json
    assert answer["processor"] == "crm"
    assert answer["options"] == {"key": "a"}
    assert answer["columns"] == ["Name"]


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
    for name, ids in (("check", [1]), ("crm", [2]), ("read", []), ("", [2, 1])):
        listed = site.get(f"/api/batches?processor={name}").json["batches"]
        assert [batch["id"] for batch in listed] == ids
    document = problem(site.get("/api/batches?processor=crmm"), 400, "bad_parameter")
    assert document["detail"] == "processor must be one of check, crm, read, gone, wrong."
    query("UPDATE batch SET processor = 'crmm' WHERE id = 2 RETURNING 1")
    assert site.get("/api/batches?processor=crmm").json["batches"][0]["id"] == 2


def test_only_a_batch_that_has_ended_is_processed_again(site):
    send(site)
    problem(again(site), 409, "wrong_state")
    site.request("POST", "/api/batches/1/cancel")
    answer = again(site, b"processor=crm&option.crm.key=a")
    assert (answer.status, answer.headers["Location"]) == (201, "/api/batches/2")
    assert stored() == ("crm", {"key": "a"})
    query("UPDATE batch SET format = NULL WHERE id = 1 RETURNING 1")
    problem(site.request("POST", "/api/batches/1/again"), 404, "file_not_kept")


def test_what_is_not_said_is_as_it_was_for_the_batch_that_is_processed_again(site):
    chosen = {"option.key": "a", "option.most": "7", "columns": "Name"}
    send(site, processor="crm", **chosen)
    site.request("POST", "/api/batches/1/cancel")
    seven, eight = ({"key": "a", "most": most} for most in (7, 8))
    for body, kept in (
        (b"", ("crm", seven, ["Name"])),
        (b"processor=crm", ("crm", seven, ["Name"])),
        (b"option.most=8&columns=", ("crm", eight, [])),
        (b"option.crm.most=&columns=Mail", ("crm", {"key": "a"}, ["Mail"])),
        (b"processor=check", ("check", {}, [])),
        (b"processor=read", ("read", {}, ["Name"])),  # which it takes
    ):
        answer = again(site, body)
        assert answer.status == 201, answer.body
        found = query("SELECT processor, options, columns FROM batch ORDER BY id DESC LIMIT 1")
        assert found == [kept]
    query("UPDATE batch SET processor = 'former' WHERE id = 1 RETURNING 1")
    problem(again(site), 422, "unknown_processor")


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
        answer = again(site, body, f"/batches/{batch_id}/again")
        assert answer.status == 303
    columns = query("SELECT columns FROM batch ORDER BY id")
    assert columns[:2] == columns[2:]
    much = b"columns=" + b"a" * 100_000
    problem(again(site, much), 413, "content_too_large")


def test_a_page_about_a_wrong_choice_says_so_and_leads_back(site):
    send(site)
    site.request("POST", "/api/batches/1/cancel")
    for path, back in (("/batches/1/again", "/batches/1"), ("/upload", "/")):
        for body, heading in (
            ({"columns": "x"}, "The list has no such column"),
            ({"processor": "gone"}, "This processor can’t be used now"),
            ({"processor": "x"}, "There is no such processor"),
            ({"option.x": "y"}, "An option can’t be like this"),
            ({"x": "y"}, "The server can't make sense of this"),
        ):
            if path == "/upload":
                answer = send(site, path=path, **body)
            else:
                answer = again(site, urlencode(body).encode(), path)
            page = html.unescape(answer.body.decode())
            assert answer.status == 422
            assert f"<h1>{heading}</h1>" in page
            assert f'href="{back}">Back to the batch' in page


def test_a_retry_is_not_called_like_what_makes_a_new_batch(site, serve):
    batch_id = completed()
    page = site.get(f"/batches/{batch_id}").body.decode()
    assert ">Retry ▾<" in page
    assert ">Process again with… ▾<" in page
    assert ">Check again ▾<" in serve().get(f"/batches/{batch_id}").body.decode()


def test_two_processors_are_refused_so_that_no_batch_gets_another_than_was_meant(site):
    send(site)
    site.request("POST", "/api/batches/1/cancel")
    body = b"processor=&processor=check&processor="
    for more, status in ((b"check", 201), (b"read", 400)):
        answer = again(site, body + more)
        assert answer.status == status
    assert problem(answer, 400, "bad_parameter")["parameter"] == "processor"


def test_rows_of_results_that_are_processed_again_lack_what_a_processor_takes_of_those(site):
    send(site, processor="check")
    site.request("POST", "/api/batches/1/cancel")
    results = site.get("/api/batches/1/results.csv").body
    assert site.upload(results, processor="read").status == 201
    site.request("POST", "/api/batches/2/cancel")
    for path in ("/api/batches/2/again", "/api/batches/2/again?status=pending"):
        answer = again(site, b"processor=read", path)
        assert answer.status == 201, answer.body
    columns = query("SELECT columns FROM batch ORDER BY id")
    assert columns == [([],), (["Name", "status"],), (["Name", "status"],), (["Name"],)]
