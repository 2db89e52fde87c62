"""The API of stored batches: retry, pause, resume, finish, cancel, delete."""

import json

import pytest

from batches import removal
from harness.batches import ADDRESSES, completed, store, take_turns, wait_for
from harness.books import assert_books_balance, query, remains, snapshot
from harness.polling import eventually
from harness.site import post, problem


class TestRetry:
    @pytest.mark.parametrize(
        ("which", "count"), [("failed", 3), ("unknown", 1), ("too_long", 2), ("bad_domain", 0)]
    )
    def test_says_how_many_and_rings(self, site, queue, which, count):
        batch_id = completed()
        response = post(site, f"/api/batches/{batch_id}/retry", which=which)
        assert response.status == 200
        status = "pending" if count else "completed"
        assert response.json == {"batchId": batch_id, "requeued": count, "status": status}
        assert (queue.dequeue(0.1) == batch_id) == bool(count)
        assert_books_balance()

    def test_takes_a_form_or_a_query_too(self, site):
        batch_id = completed()
        answer = site.request(
            "POST", f"/api/batches/{batch_id}/retry", b"which=no_at_sign",
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        assert answer.json["requeued"] == 1
        take_turns(batch_id, [])
        assert post(site, f"/api/batches/{batch_id}/retry?which=too_long").status == 400
        answer = site.request("POST", f"/api/batches/{batch_id}/retry?which=too_long")
        assert answer.json["requeued"] == 2

    def test_is_refused_while_the_batch_is_not_completed(self, site):
        batch_id = store("a@x.de").batch_id
        document = problem(
            post(site, f"/api/batches/{batch_id}/retry", which="failed"), 409, "wrong_state"
        )
        assert "Wait until it is completed" in document["detail"]

    @pytest.mark.parametrize("body", [b"[]", b"{", b"7", b"[" * 900, b'{"which": 7}', b"\xff", b""])
    def test_a_body_that_says_nothing_is_a_problem(self, site, body):
        response = site.request(
            "POST", f"/api/batches/{completed()}/retry", body, Content_Type="application/json"
        )
        assert problem(response, 400, response.json["code"])

    def test_of_no_batch(self, site):
        problem(post(site, "/api/batches/7/retry", which="failed"), 404, "batch_not_found")


class TestCancel:
    def test_stops_a_batch_and_may_be_repeated(self, site, client):
        batch_id = store(*ADDRESSES).batch_id
        with site.stream(batch_id) as stream:
            events = stream.events()
            next(events)
            for _ in range(2):
                response = post(site, f"/api/batches/{batch_id}/cancel")
                assert (response.status, response.json["status"]) == (200, "cancelled")
            assert next(events)["status"] == "cancelled"
        assert snapshot(batch_id).revision == 2

    def test_is_refused_when_the_batch_has_ended(self, site):
        problem(post(site, f"/api/batches/{completed()}/cancel"), 409, "wrong_state")
        problem(post(site, "/api/batches/7/cancel"), 404, "batch_not_found")


class TestPause:
    def test_is_told_to_all_who_watch_until_the_batch_is_resumed(self, site):
        batch_id = store(*ADDRESSES).batch_id
        address = f"/api/batches/{batch_id}"
        with site.stream(batch_id) as stream:
            events = stream.events()
            assert next(events)["paused"] is None
            for _ in range(2):
                answer = post(site, f"{address}/pause")
            assert answer.status == 200
            assert answer.json["paused"]["at"]
            assert answer.json == {
                "batchId": batch_id,
                "status": "pending",
                "paused": {"by": None, "at": answer.json["paused"]["at"]}
                | dict.fromkeys(("why", "until")),
            }
            assert next(events)["paused"] == answer.json["paused"]
            told = site.get(address).json
            assert told["paused"] == answer.json["paused"]
            assert [each["text"] for each in told["history"]] == ["Paused"]
            (listed,) = site.get("/api/batches").json["batches"]
            assert listed["paused"] == told["paused"]
            assert site.get("/api/health").json["unfinishedBatches"] == 0
            assert post(site, f"{address}/resume").json["paused"] is None
            assert next(events)["paused"] is None

    def test_is_refused_when_the_batch_has_ended(self, site):
        batch_id = completed()
        for verb in ("pause", "resume"):
            problem(post(site, f"/api/batches/{batch_id}/{verb}"), 409, "wrong_state")
            problem(post(site, f"/api/batches/7/{verb}"), 404, "batch_not_found")


class TestRate:
    def test_is_told_to_all_who_watch_and_kept_in_the_history(self, site):
        batch_id = store(*ADDRESSES).batch_id
        address = f"/api/batches/{batch_id}"
        with site.stream(batch_id) as stream:
            events = stream.events()
            assert next(events)["perMinute"] is None
            for given, told in ((600.0, 600), ("60", 60), (None, None), (1, 1), ("", None)):
                answer = post(site, f"{address}/rate", perMinute=given)
                assert (answer.status, answer.json) == (
                    200,
                    {"batchId": batch_id, "status": "pending", "perMinute": told},
                )
                assert next(events)["perMinute"] == told
        answer = site.request(
            "POST", f"{address}/rate", b"per_minute=",
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        assert answer.json["perMinute"] is None
        answer = site.request(
            "POST", f"{address}/rate", b"per_minute=90",
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        assert answer.json["perMinute"] == 90
        told = site.get(address).json
        assert told["perMinute"] == 90
        assert [each["text"] for each in told["history"]][:3] == [
            "Rate set: at most 90 emails a minute",
            "Rate set: no limit",
            "Rate set: at most 1 email a minute",
        ]

    @pytest.mark.parametrize("given", [0, -1, 1.5, True, "many", "1e3", " 7", 1_000_001, [], {}])
    def test_a_wrong_one_is_a_problem_and_changes_nothing(self, site, given):
        batch_id = store(*ADDRESSES).batch_id
        document = problem(
            post(site, f"/api/batches/{batch_id}/rate", perMinute=given), 400, "bad_parameter"
        )
        assert "whole number" in document["detail"]
        assert snapshot(batch_id).revision == 1

    def test_must_be_said_even_if_it_is_none(self, site):
        batch_id = store(*ADDRESSES).batch_id
        address = f"/api/batches/{batch_id}/rate"
        for body, kind in ((b"{}", "application/json"), (b"", None)):
            response = site.request(
                "POST", address, body, **({"Content_Type": kind} if kind else {})
            )
            assert "empty for no rate" in problem(response, 400, "bad_parameter")["detail"]

    def test_is_refused_when_the_batch_has_ended(self, site):
        problem(post(site, f"/api/batches/{completed()}/rate", perMinute=5), 409, "wrong_state")
        problem(post(site, "/api/batches/7/rate", perMinute=5), 404, "batch_not_found")


class TestFinish:
    def test_makes_those_that_wait_unknown(self, site):
        batch_id = wait_for("a@x.de", "b@x.de")
        address = f"/api/batches/{batch_id}"
        with site.stream(batch_id) as stream:
            events = stream.events()
            assert next(events)["waiting"] == 2
            answer = post(site, f"{address}/finish")
            assert (answer.status, answer.json) == (
                200,
                {"batchId": batch_id, "finished": 2, "status": "completed"},
            )
            last = [*events][-1]
        assert (last["status"], last["verdicts"]["unknown"], last["waiting"]) == ("completed", 2, 0)
        assert [each["text"] for each in site.get(address).json["history"]] == ["Finished"]

    def test_changes_nothing_if_none_waits_and_is_refused_after_the_end(self, site):
        batch_id = store(*ADDRESSES).batch_id
        assert post(site, f"/api/batches/{batch_id}/finish").json["finished"] == 0
        problem(post(site, f"/api/batches/{completed()}/finish"), 409, "wrong_state")
        problem(post(site, "/api/batches/7/finish"), 404, "batch_not_found")


class TestDelete:
    def test_removes_the_batch_with_all_its_rows(self, site, monkeypatch):
        monkeypatch.setattr(
            removal, "_REMOVED", tuple((table, key, 3) for table, key, _ in removal._REMOVED)
        )
        kept, batch_id = completed(), completed()
        assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
        assert remains() == (1, 4, 10)
        for path in ("", "/emails", "/stream", "/results.csv", "/results.jsonl"):
            problem(site.get(f"/api/batches/{batch_id}{path}"), 404, "batch_not_found")
        problem(site.request("DELETE", f"/api/batches/{batch_id}"), 404, "batch_not_found")
        assert [batch["id"] for batch in site.get("/api/batches").json["batches"]] == [kept]

    def test_is_published_and_rings_for_nobody(self, site, client, queue):
        batch_id = completed()
        revision = snapshot(batch_id).revision
        with client.pubsub() as messages:
            messages.subscribe(f"batch:status:{batch_id}")
            assert messages.get_message(timeout=30)["type"] == "subscribe"
            assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
            message = json.loads(messages.get_message(timeout=30)["data"])
        assert (message["status"], message["revision"]) == ("deleted", revision + 1)
        assert queue.depth() == 0

    def test_ends_the_batchs_streams(self, site, client):
        batch_id = store(*ADDRESSES).batch_id
        with site.stream(batch_id) as stream:
            events = stream.events()
            next(events)
            # Its end was not published.
            query("UPDATE batch SET status = 'failed', completed_at = now() RETURNING 1")
            assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
            assert list(events)[-1]["status"] == "deleted"

    def test_is_refused_while_it_is_processed(self, site):
        batch_id = store(*ADDRESSES).batch_id
        path = f"/api/batches/{batch_id}"
        problem(site.request("DELETE", path), 409, "wrong_state")
        post(site, f"{path}/cancel")
        assert site.request("DELETE", path).status == 204
        assert remains() == (0, 0, 0)

    def test_a_worker_goes_on_with_one_that_broke_off(self, site, processes):
        batch_id = completed()
        query(
            "UPDATE batch SET deleted_at = now() - interval '2 minutes' WHERE id = %s RETURNING 1",
            batch_id,
        )
        problem(site.get(f"/api/batches/{batch_id}"), 404, "batch_not_found")
        processes("worker.py", "--threads", "1")
        eventually(lambda: remains() == (0, 0, 0))
