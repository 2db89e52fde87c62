"""The API of stored batches: their list, emails and typos."""

import json
from urllib.parse import quote

import pytest

from batches import queries
from harness.batches import ADDRESSES, MARKED, completed, store, take_turns
from harness.books import query
from harness.site import post, problem
from postgres.database import pool, session
from tabular.formats import Format
from web import batches

CODES = {number: reason for number, _, reason in MARKED}


def ids(site, batch_id, **parameters):
    """The numbers of the emails that an answer holds."""
    text = "&".join(f"{name}={value}" for name, value in parameters.items())
    response = site.get(f"/api/batches/{batch_id}/emails?{text}")
    assert response.status == 200
    return [email["id"] for email in response.json["emails"]]


class TestEmails:
    def test_each_comes_with_all_that_is_known_of_it(self, site):
        batch_id = store("Anna@GMIAL.com", "anna", "b@gmx.de").batch_id
        take_turns(batch_id, [(1, "processed", "likely_typo"), (2, "failed", "no_at_sign")])
        answer = site.get(f"/api/batches/{batch_id}/emails").json
        assert answer == {
            "emails": [
                {
                    "id": 1, "line": 1, "email": "Anna@GMIAL.com", "status": "processed",
                    "verdict": "risky", "reason": "likely_typo",
                    "explanation": "The domain is probably mistyped.",
                    "suggestion": "Anna@gmail.com", "normalized": "Anna@gmial.com",
                    "freeProvider": False, "answers": None,
                },
                {
                    "id": 2, "line": 2, "email": "anna", "status": "failed",
                    "verdict": "invalid", "reason": "no_at_sign",
                    "explanation": "There is no @-sign.", "suggestion": "", "normalized": "",
                    "freeProvider": False, "answers": None,
                },
                {
                    "id": 3, "line": 3, "email": "b@gmx.de", "status": "processed",
                    "verdict": "ok", "reason": None, "explanation": "", "suggestion": "",
                    "normalized": "b@gmx.de", "freeProvider": True,
                    "answers": None,
                },
            ],
            "next": None,
            "matching": 3,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({"status": "failed"}, [1, 2, 9]),
            ({"status": "processed"}, [3, 4, 5, 6, 7, 8, 10]),
            ({"status": "pending"}, []),
            ({"verdict": "invalid"}, [1, 2, 9]),
            ({"verdict": "ok"}, [3, 5, 6, 7, 10]),
            ({"verdict": "risky"}, [8]),
            ({"verdict": "unknown"}, [4]),
            ({"reason": "too_long"}, [1, 9]),
            ({"reason": "never_given"}, []),
            ({"q": "USER1"}, [1, 10]),
            ({"q": "user_"}, []),
            ({"q": "%25"}, []),
            ({"q": "1", "verdict": "ok"}, [10]),
            ({"status": "failed", "verdict": "ok"}, []),
            ({"after": "8"}, [9, 10]),
            ({"after": "0", "limit": "2"}, [1, 2]),
            ({"after": "10"}, []),
        ],
    )
    def test_filters(self, site, parameters, expected):
        assert ids(site, completed(), **parameters) == expected

    @pytest.mark.parametrize(
        "parameters",
        ["", "status=pending", "status=processed", "status=failed", "verdict=ok", "verdict=risky",
         "verdict=unknown", "verdict=invalid", "reason=too_long", "reason=never_given"],
    )  # fmt: skip
    def test_how_many_match_is_told_with_the_first_page(self, site, parameters):
        path = f"/api/batches/{completed()}/emails?limit=1&{parameters}"
        matching = site.get(path).json["matching"]
        assert matching == len(site.get(path.replace("limit=1", "limit=500")).json["emails"])

    @pytest.mark.parametrize("parameters", ["q=user", "verdict=ok&status=processed"])
    def test_how_many_match_is_not_told_if_only_a_search_could_tell(self, site, parameters):
        path = f"/api/batches/{completed()}/emails?{parameters}"
        assert site.get(path).json["matching"] is None

    def test_of_rare_reasons_that_are_counted_together_nobody_knows_how_many_match(self, site):
        batch_id = completed()
        query("""UPDATE batch SET reasons = '{"other_reasons": 5}' RETURNING 1""")
        answer = site.get(f"/api/batches/{batch_id}/emails?reason=too_long").json
        assert answer["matching"] is None
        (details,) = site.get(f"/api/batches/{batch_id}").json["reasonDetails"]
        assert details == {
            "reason": "other_reasons", "verdict": None, "explanation": "Other reasons.", "count": 5,
        }  # fmt: skip

    def test_of_endless_ones_the_beginning_is_told_and_searched(self, site):
        endless = ["a" * 130_000 + "@x.de", "b" + "\u0301" * 130_000 + "@x.de"]
        batch_id = store(*endless, "c@x.de").batch_id
        found = site.get(f"/api/batches/{batch_id}/emails").json["emails"]
        assert [each["email"] for each in found] == [
            *(f"{address[:511]}…" for address in endless),
            "c@x.de",
        ]
        assert [each["normalized"] for each in found] == ["", "", "c@x.de"]
        assert ids(site, batch_id, q="a" * 254) == [1]
        assert ids(site, batch_id, q="x.de") == [3]
        page = site.get(f"/batches/{batch_id}")
        assert page.status == 200
        assert len(page.body) < 60_000
        lines = site.get(f"/api/batches/{batch_id}/results.jsonl").body.splitlines()
        assert [json.loads(line)["email"] for line in lines] == [*endless, "c@x.de"]

    def test_a_teams_own_reasons_are_found_by_verdict_too(self, site):
        marked = [(2, "failed", "not_staff"), (7, "processed", "on_leave")]
        batch_id = completed(marked)
        assert ids(site, batch_id, verdict="invalid") == [2]
        assert ids(site, batch_id, verdict="risky") == [7]
        assert site.get(f"/api/batches/{batch_id}").json["reasonDetails"] == [
            {"reason": "on_leave", "verdict": "risky", "explanation": "On leave.", "count": 1},
            {"reason": "not_staff", "verdict": "invalid", "explanation": "Not staff.", "count": 1},
        ]

    def test_pending_ones(self, site):
        assert ids(site, store(*ADDRESSES).batch_id, status="pending") == list(range(1, 11))

    def test_of_a_batch_that_is_retried(self, site):
        batch_id = completed()
        post(site, f"/api/batches/{batch_id}/retry", which="failed")
        assert ids(site, batch_id, status="pending") == [1, 2, 9]
        assert ids(site, batch_id, status="failed") == []
        assert ids(site, batch_id, verdict="ok") == [3, 5, 6, 7, 10]
        assert ids(site, batch_id, verdict="risky") == [8]

    @pytest.mark.parametrize("scanned", [1, 7, 1000])
    def test_pages_together_hold_each_once(self, site, monkeypatch, scanned):
        monkeypatch.setattr(queries, "MAX_SCANNED", scanned)
        batch_id, seen, after = completed(), [], ""
        while after is not None:
            page = site.get(
                f"/api/batches/{batch_id}/emails?limit=2&status=failed{after and f'&after={after}'}"
            ).json
            assert len(page["emails"]) <= 2
            seen += [email["id"] for email in page["emails"]]
            after = page["next"]
        assert seen == [1, 2, 9]

    @pytest.mark.parametrize(
        "parameter",
        ["status=done", "verdict=good", "reason=%27;--", "limit=501", "limit=x", "after=-1",
         f"q={'a' * 255}", "q=%00"],
    )  # fmt: skip
    def test_a_bad_parameter_is_a_problem(self, site, parameter):
        batch_id = store("a@x.de").batch_id
        response = site.get(f"/api/batches/{batch_id}/emails?{parameter}")
        document = problem(response, 400, "bad_parameter")
        assert document["parameter"] == parameter.split("=")[0]

    def test_a_search_that_takes_too_long_is_told_as_that(self, site, monkeypatch, caplog):
        monkeypatch.setattr(batches, "SEARCH_SECONDS", 0.01)
        addresses = [f"{'a' * 400}{number}@x.de" for number in range(5_000)]
        batch_id = store(*addresses).batch_id
        searched = f"/api/batches/{batch_id}/emails?q={'a' * 100}b{'a' * 100}"
        document = problem(site.get(searched), 503, "took_too_long")
        assert "Search for something shorter" in document["detail"]
        assert site.get("/api/health").json["database"] == "ok"
        assert not any("unreachable" in message for message in caplog.messages)

    def test_a_search_ends_at_its_time_and_says_where_to_go_on(self, site, monkeypatch):
        monkeypatch.setattr(queries, "MAX_SECONDS", 0.0)
        monkeypatch.setattr(queries, "PIECE", 2)
        batch_id = completed()
        page = site.get(f"/api/batches/{batch_id}/emails?q=user1").json
        assert ([email["id"] for email in page["emails"]], page["next"]) == ([1], 2)
        page = site.get(f"/api/batches/{batch_id}/emails?q=user1&after=9").json
        assert ([email["id"] for email in page["emails"]], page["next"]) == ([10], None)

    def test_one_search_looks_at_all_emails(self, site, monkeypatch):
        monkeypatch.setattr(queries, "MAX_SCANNED", 1)
        monkeypatch.setattr(queries, "MAX_CHUNKS", 1)
        monkeypatch.setattr(queries, "PIECE", 3)
        batch_id = store(
            "Äx@x.de", *(f"u{n}@x.de" for n in range(9)), "äX@y.de", chunk_size=2
        ).batch_id
        for part, found in (("äx", [1, 11]), ("ÄX@", [1, 11]), ("Y.", [11]), ("U8", [10])):
            assert ids(site, batch_id, q=quote(part)) == found
        assert ids(site, batch_id, q="u%25") == ids(site, batch_id, q="u_") == []
        page = site.get(f"/api/batches/{batch_id}/emails?q=y.de").json
        assert page["next"] is None

    def test_of_no_batch(self, site):
        problem(site.get("/api/batches/7/emails"), 404, "batch_not_found")


class TestList:
    def test_is_filtered_and_tells_the_pace(self, site):
        ids = [site.upload(b"a@x.de\n", name).json["batchId"] for name in ("A.csv", "b.csv")]
        answer = site.get("/api/batches?q=a.&status=pending").json
        (batch,) = answer["batches"]
        assert (batch["id"], answer["next"]) == (ids[0], None)
        assert (batch["rate"], batch["secondsLeft"]) == (None, None)
        assert not {"rates", "elapsedSeconds"} & batch.keys()
        assert site.get("/api/batches?q=&status=&limit=1").json["next"] == ids[1]
        assert site.get("/api/batches?status=completed").json == {"batches": [], "next": None}

    @pytest.mark.parametrize("parameter", ["status=deleted", f"q={'a' * 255}", "q=%00"])
    def test_a_bad_parameter_is_a_problem(self, site, parameter):
        document = problem(site.get(f"/api/batches?{parameter}"), 400, "bad_parameter")
        assert document["parameter"] == parameter.split("=")[0]

    def test_one_batch_comes_with_its_time_and_chart(self, site):
        batch_id = store(*ADDRESSES).batch_id
        answer = site.get(f"/api/batches/{batch_id}").json
        assert answer["elapsedSeconds"] is answer["rates"] is answer["rate"] is None
        take_turns(batch_id)
        answer = site.get(f"/api/batches/{batch_id}").json
        assert 0 <= answer["elapsedSeconds"] < 20
        assert answer["secondsLeft"] is None

    def test_is_small_whatever_headers_the_files_had(self, site):
        store("a@x.de")
        # As earlier versions kept them.
        header = ["email", *["\U0001f600" * 200] * 199]
        document = Format("csv", "utf-8", ",", tuple(header), columns=200).to_json()
        query("UPDATE batch SET format = %s RETURNING 1", json.dumps(document))
        query(
            "INSERT INTO batch OVERRIDING SYSTEM VALUE"
            " SELECT (jsonb_populate_record(batch, jsonb_build_object('id', n))).*"
            " FROM batch, generate_series(2, 100) n RETURNING 1"
        )
        answer = site.get("/api/batches?limit=100")
        assert len(answer.body) < 1_000_000
        headers = [batch["format"]["header"] for batch in answer.json["batches"]]
        assert headers == [["email", *["\U0001f600" * 5 + "…"] * 199]] * 100
        assert "\U0001f600".encode() in answer.body


class TestTypos:
    def test_come_by_domain_with_what_was_meant(self, site):
        addresses = ["a@gmial.com", "b@Gmial.com", "c@hotmial.com", "d@own.example", "e@x.de"]
        batch_id = store(*addresses).batch_id
        path = f"/api/batches/{batch_id}/typos"
        assert site.get(path).json == {"typos": []}
        take_turns(batch_id, [(number, "processed", "likely_typo") for number in (1, 2, 3, 4)])
        response = site.get(path)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.json == {
            "typos": [
                {"domain": "gmial.com", "count": 2, "suggestion": "gmail.com"},
                {"domain": "hotmial.com", "count": 1, "suggestion": "hotmail.com"},
                {"domain": "own.example", "count": 1, "suggestion": ""},
            ]
        }

    def test_are_counted_once_while_nothing_changes(self, site, monkeypatch):
        batch_id = completed([(1, "processed", "likely_typo")])
        before = site.get(f"/api/batches/{batch_id}/typos").json
        monkeypatch.delattr(queries, "typo_domains")
        assert site.get(f"/api/batches/{batch_id}/typos").json == before

    def test_of_no_batch(self, site):
        problem(site.get("/api/batches/7/typos"), 404, "batch_not_found")


def test_codes_of_the_tests_are_the_catalogues():
    assert set(CODES.values()) <= set(batches.reasons.CATALOGUE)


def test_the_list_has_each_change_though_it_reads_an_unchanged_batch_only_once(site, monkeypatch):
    first, second = store("a@x.de").batch_id, store("b@x.de").batch_id
    read = []
    listed = queries.listed
    monkeypatch.setattr(
        queries, "listed", lambda ids: read.extend(ids) or listed(read[-len(ids) :])
    )

    def shown(field):
        return {each["id"]: each[field] for each in site.get("/api/batches").json["batches"]}

    assert shown("status") == {second: "pending", first: "pending"}
    take_turns(first, [(1, "processed", None)])
    assert shown("status") == {second: "pending", first: "completed"}
    assert shown("revision") == shown("revision")
    # Whoever changes a row, and if its revision stays.
    query("UPDATE batch SET filename = 'other.csv' WHERE id = %s RETURNING 1", second)
    assert shown("filename") == {second: "other.csv", first: "list.csv"}
    assert sorted(read) == [first, first, second, second]
    query("UPDATE batch SET deleted_at = now() WHERE id = %s RETURNING 1", first)
    assert [*shown("id")] == [second]


def test_a_batch_that_is_deleted_between_the_two_readings_is_not_listed(site, monkeypatch):
    batch_id = store("a@x.de").batch_id
    monkeypatch.setattr(queries, "find_batches", lambda *_, **__: ({batch_id: "1", 99: "2"}, 99))
    answer = site.get("/api/batches").json
    assert ([each["id"] for each in answer["batches"]], answer["next"]) == ([batch_id], 99)


def test_without_a_free_connection_it_says_that_there_is_too_much_to_do(site, monkeypatch):
    """That is no outage of PostgreSQL."""
    with session():
        pool.close_idle()
        monkeypatch.setattr(pool, "_max_connections", 1)
        monkeypatch.setattr(pool, "_wait_timeout", 0.1)
        response = site.get("/api/batches")
        assert (response.status, response.json["code"]) == (503, "busy")
        assert "too much to do" in response.json["detail"]
        assert response.headers["Retry-After"]
    assert site.get("/api/batches").status == 200
