from urllib.parse import quote

import pytest

from harness.files import csv_of
from harness.polling import eventually
from harness.tls import Certificates, TlsServer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def encrypted(servers, certificates):
    """PostgreSQL and Redis behind TLS."""
    with (
        TlsServer(servers.database_url, certificates.context) as postgres,
        TlsServer(servers.redis_url, certificates.context) as redis,
    ):
        yield postgres, redis


def urls(encrypted, authority, host="localhost"):
    postgres, redis = encrypted
    path = quote(str(authority))
    return {
        "DATABASE_URL": f"postgresql://postgres@{host}:{postgres.port}/postgres"
        f"?sslmode=verify-full&sslrootcert={path}",
        "REDIS_URL": f"rediss://{host}:{redis.port}/0?ssl_ca_certs={path}",
    }


@pytest.fixture
def start(run, tmp_path, make_settings):
    config = make_settings().path
    return lambda script, environment: run(script, "--config", str(config), **environment)


def test_everything_works_over_tls(start, encrypted, certificates, database, client):
    environment = urls(encrypted, certificates.authority)
    site = start("app.py", environment).site()
    health = site.get("/api/health").json
    assert (health["database"], health["redis"]) == ("ok", "ok")
    with site.stream() as stream:
        snapshots = stream.snapshots()
        uploaded = site.upload(csv_of(*(f"user{n}@example.com" for n in range(30_000))))
        assert uploaded.status == 201
        assert uploaded.json["liveUpdates"]
        start("worker.py", environment)
        seen = next(each for each in snapshots if each["status"] == "completed")
    assert seen["processed"] == 30_000
    assert all(server.connections for server in encrypted)


def test_certificates_of_others_are_not_believed(start, encrypted, tmp_path, database, client):
    other = Certificates(tmp_path)
    process = start("app.py", urls(encrypted, other.authority))
    health = process.site().get("/api/health").json
    assert (health["database"], health["redis"]) == ("unreachable", "unreachable")
    assert "certificate verify failed" in eventually(lambda: process.output)


def test_nor_those_for_other_names(start, encrypted, certificates, database, client):
    environment = urls(encrypted, certificates.authority, host="127.0.0.1")
    health = start("app.py", environment).site().get("/api/health").json
    assert (health["database"], health["redis"]) == ("unreachable", "unreachable")
