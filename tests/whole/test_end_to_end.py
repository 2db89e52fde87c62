"""Both real processes and 20,000 addresses, of which one in twenty is malformed."""

from harness.books import assert_books_balance, emails

MALFORMED = ["no-at-sign-{}", "two@@signs{}.com", "spaces in{}@example.com", "nobody{}@"]
REASONS = ["no_at_sign", "bad_domain", "bad_local_part", "no_domain"]


def test_from_a_file_to_completed(processes):
    app, worker = processes("app.py"), processes("worker.py", "--threads", "4")
    site = app.site()
    worker.await_line("worker started")
    lines = ["name,email"]
    for number in range(20_000):
        shape = MALFORMED[number // 20 % 4] if number % 20 == 0 else "user{}@example{}.com"
        lines.append(f"Person {number},{shape.format(number, number % 50)}")
    lines += ["", "Nobody,", "Again,USER1@example1.com"]

    uploaded = site.upload("\n".join(lines).encode()).json
    assert uploaded["rows"] == {
        "total": 20_003,
        "emails": 20_000,
        "duplicates": 1,
        "blank": 1,
        "withoutAddress": 1,
        "furtherAddresses": 0,
        "withOtherAddresses": 0,
    }
    batch_id = uploaded["batchId"]
    with site.stream(batch_id) as stream:
        events = list(stream.events())

    revisions = [event["revision"] for event in events]
    assert revisions == sorted(set(revisions))
    processed = [event["processed"] for event in events]
    assert processed == sorted(processed)
    assert events[-1] == {
        "batchId": batch_id,
        "revision": revisions[-1],
        "status": "completed",
        "processed": 20_000,
        "failed": 1000,
        "total": 20_000,
        "waiting": 0,
        "nextAt": None,
        "paused": None,
        "perMinute": None,
        "processor": None,
        "reasons": dict.fromkeys(REASONS, 250),
        "verdicts": {"ok": 19_000, "risky": 0, "unknown": 0, "invalid": 1000},
        "rate": None,
        "secondsLeft": None,
    }
    batch = site.get(f"/api/batches/{batch_id}").json
    assert (batch["processedCount"], batch["failedCount"]) == (20_000, 1000)
    assert batch["createdAt"] <= batch["startedAt"] <= batch["completedAt"]
    (listed,) = site.get("/api/batches").json["batches"]
    assert listed == {name: batch[name] for name in listed}
    assert site.get("/api/health").json["workersAlive"] == 1

    stored = emails(batch_id)
    assert [status for _, status, _ in stored].count("failed") == 1000
    for number, (_, status, reason) in enumerate(stored):
        assert status == ("processed" if number % 20 else "failed")
        assert (reason is None) == bool(number % 20)
    assert_books_balance()


def test_memory_is_flat_however_many_downloads(processes):
    app, worker = processes("app.py"), processes("worker.py", "--threads", "4")
    site = app.site()
    worker.await_line("worker started")
    content = "".join(f"Person {n},user{n}@example{n % 50}.com\n" for n in range(100_000))
    batch_id = site.upload(content.encode()).json["batchId"]
    with site.stream(batch_id) as stream:
        assert list(stream.events())[-1]["status"] == "completed"
    sizes = []
    for _ in range(8):  # each is served by another thread
        body = site.get(f"/api/batches/{batch_id}/results.csv").body
        assert body.count(b"\n") == 100_001
        sizes.append(app.megabytes())
    assert sizes[-1] - sizes[1] < 8
