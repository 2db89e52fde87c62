import presence
from presence import Presence, workers


def test_a_worker_is_there_from_its_announcement_until_it_withdraws(client):
    assert workers(client, "email-queue") == []
    here = Presence(client, "email-queue", threads=3)
    for _ in range(2):
        here.announce()
    (worker,) = workers(client, "email-queue")
    assert worker["threads"] == 3
    assert workers(client, "another-queue") == []
    here.withdraw()
    assert workers(client, "email-queue") == []


def test_a_killed_worker_is_gone_when_its_key_expires_and_leaves_nothing(client):
    Presence(client, "email-queue", threads=3).announce()
    (key,) = client.keys("email-queue:worker:*")
    assert 0 < client.ttl(key) <= presence.EXPIRE_SECONDS
    client.pexpire(key, 0)
    assert workers(client, "email-queue") == []
    assert client.keys("*") == []
