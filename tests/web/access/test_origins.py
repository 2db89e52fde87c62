import pytest

from harness.files import csv_of

OURS = "http://127.0.0.1:{port}"
ALLOWED = "https://intranet.example"

# What browsers send with a page's request, and whether it may change anything.
REQUESTS = [
    ({}, True),  # no browser: curl, a script
    ({"Origin": OURS}, True),
    ({"Origin": OURS, "Sec_Fetch_Site": "same-origin"}, True),
    ({"Sec_Fetch_Site": "none"}, True),
    # A proxy that changed Host; the browser knows better.
    ({"Origin": "https://lists.example", "Sec_Fetch_Site": "same-origin"}, True),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}, False),
    ({"Origin": "http://127.0.0.1:1"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "http://[", "Host": "localhost"}, False),
    ({"Origin": OURS, "Sec_Fetch_Site": "cross-site"}, False),
    ({"Sec_Fetch_Site": "same-site"}, False),
    ({"Sec_Fetch_Site": "cross-site"}, False),
]


def sent(site, headers):
    return {name: value.format(port=site.port) for name, value in headers.items()}


@pytest.mark.parametrize(("headers", "allowed"), REQUESTS)
def test_only_our_own_pages_change_anything(site, headers, allowed):
    site.upload(csv_of("a@x.de"))
    for path in ("/batches/1/cancel", "/api/batches/1/cancel"):
        response = site.request("POST", path, **sent(site, headers))
        if allowed:
            assert response.status in (200, 303, 409)
        else:
            assert response.status == 403
            assert "another origin may not change anything" in response.body.decode()
    status = site.get("/api/batches/1").json["status"]
    assert status == ("cancelled" if allowed else "pending")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/upload"),
        ("POST", "/api/upload"),
        ("POST", "/api/preview"),
        ("POST", "/batches/1/retry"),
        ("POST", "/api/batches/1/retry"),
        ("POST", "/batches/1/delete"),
        ("DELETE", "/api/batches/1"),
        ("PUT", "/nothing"),
    ],
)
def test_whatever_the_change_would_be(site, method, path):
    response = site.request(method, path, Origin="https://evil.example")
    assert response.status == 403


def test_reading_is_no_change(site):
    headers = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
    response = site.get("/api/batches", **headers)
    assert response.status == 200
    assert "Access-Control-Allow-Origin" not in response.headers  # the page can't see it


def test_allowed_origins_may_use_the_api_with_credentials_and_no_forms(serve):
    site = serve(server__cors_origins=ALLOWED)
    site.upload(csv_of("a@x.de"))
    headers = {"Origin": ALLOWED, "Sec_Fetch_Site": "cross-site"}
    assert site.request("POST", "/batches/1/cancel", **headers).status == 403
    done = site.request("POST", "/api/batches/1/cancel", **headers)
    assert done.status == 200
    assert done.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert done.headers["Access-Control-Allow-Credentials"] == "true"
    asked = site.request(
        "OPTIONS", "/api/batches/1", Origin=ALLOWED, Access_Control_Request_Method="DELETE"
    )
    assert asked.status == 204
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
