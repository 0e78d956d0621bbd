"""The page `/docs`, and the service under a path of a proxy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from conftest import SMALL, png

from analogy.apps.serve import documentation
from analogy.settings import Settings


def test_docs_list_every_request_every_field_and_every_object(service) -> None:
    answer = service.http.get(f"{service.url}/docs", timeout=30)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    document = service.http.get(f"{service.url}/v1/openapi.json", timeout=30).json()
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            assert f"<code>{method.upper()} {path}</code></h2>" in answer.text
            assert all(f"<dt>{status}</dt>" in answer.text for status in operation["responses"])
    for name, schema in document["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in answer.text, name
    assert f"{Settings().ratio}" in answer.text and "0.1 to 1" in answer.text
    assert "<code>b_prime</code> (required)</th><td>a file, up to 4 times</td>" in answer.text
    anchors = re.findall(r'href="#([^"]+)"', answer.text)
    assert anchors and all(f'id="{anchor}"' in answer.text for anchor in anchors)
    assert not re.search(
        r'(src|href)="(?!#)(?!\.?/?(static|v1)/|\./")', answer.text
    )  # the page loads nothing from another host
    assert "<script" not in answer.text


def test_docs_can_be_read_only_with_the_token(serve) -> None:
    own = serve(token="secret")
    assert own.http.get(f"{own.url}/docs", timeout=30).url == f"{own.url}/sign-in"
    bearer = {"authorization": "Bearer secret"}
    assert "POST /v1/transfer" in own.http.get(f"{own.url}/docs", headers=bearer, timeout=30).text


def test_the_texts_of_a_document_are_never_html() -> None:
    evil = "<script>alert(1)</script>"
    field: dict[str, Any] = {"type": "string", "description": evil, "default": evil, "examples": [evil], "enum": [evil]}
    document = {
        "info": {"version": evil, "summary": evil},
        "paths": {
            f"/{evil}": {
                "get": {
                    "summary": evil,
                    "description": evil,
                    "parameters": [{"name": evil, "schema": field}],
                    "responses": {evil: {"description": evil, "content": {evil: {"schema": {"$ref": f"#/{evil}"}}}}},
                }
            }
        },
        "components": {"schemas": {evil: {"properties": {evil: field}, "description": evil}}},
    }
    page = documentation.page(document)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10


@pytest.mark.parametrize("given", ["/tools/analogy", "tools/analogy/"])
def test_under_a_root_path_every_address_has_it_whether_the_proxy_removes_it_or_not(serve, given: str) -> None:
    own = serve("--root-path", given, token="secret")
    root = "/tools/analogy"
    own.http.headers["authorization"] = "Bearer secret"
    for prefix in ("", root):
        for path in ("/", "/docs", "/static/main.js", "/health", "/v1/settings", "/sign-in"):
            answer = own.http.get(own.url + prefix + path, timeout=30, allow_redirects=False)
            assert answer.status_code == 200, prefix + path
    answer = own.post(f"{root}/v1/jobs", png(32, 32), png(32, 32), SMALL)
    assert answer.headers["location"] == f"{root}/v1/jobs/{answer.json()['id']}"
    address = own.url + answer.headers["location"]
    with own.http.get(f"{address}/events", timeout=60) as stream:
        assert '"state":"done"' in stream.text
    done = own.http.get(address, timeout=30).json()
    for result in (*done["files"].values(), *done["levels"].values()):
        assert result.startswith(f"{address.removeprefix(own.url)}/files/")
        assert own.http.get(own.url + result, timeout=30).content
    assert own.http.get(f"{own.url}/v1/openapi.json", timeout=30).json()["servers"] == [{"url": root}]
    assert own.http.get(own.url + root, timeout=30, allow_redirects=False).headers["location"] == f"{root}/"


def test_under_a_root_path_the_cookie_is_only_for_that_path(serve) -> None:
    own = serve("--root-path", "/analogy", token="secret")
    assert own.http.get(f"{own.url}/analogy/", timeout=30).url == f"{own.url}/analogy/sign-in"
    wrong = own.http.post(f"{own.url}/analogy/sign-in", data={"token": "x"}, timeout=30)
    assert wrong.url == f"{own.url}/analogy/sign-in?wrong"
    assert (
        own.http.post(f"{own.url}/analogy/sign-in", data={"token": "secret"}, timeout=30).url == f"{own.url}/analogy/"
    )
    assert [cookie.path for cookie in own.http.cookies] == ["/analogy/"]
    assert "secret" not in str(own.http.cookies)


def test_with_a_token_a_proxy_can_pass_on_any_host_name(serve) -> None:
    own = serve("--root-path", "/analogy", token="secret")
    headers = {"authorization": "Bearer secret", "host": "pictures.example", "origin": "https://pictures.example"}
    assert own.http.get(f"{own.url}/v1/settings", headers=headers, timeout=30).status_code == 200
    headers["origin"] = "https://evil.example"
    assert own.http.get(f"{own.url}/v1/settings", headers=headers, timeout=30).status_code == 403


@pytest.mark.parametrize("path", ["/a b", "/a?b", "http://x/", "/a/../b", "/ä", "//a//b"])
def test_a_wrong_root_path_is_refused(path: str) -> None:
    from click.testing import CliRunner

    from analogy.apps.cli import cli

    done = CliRunner().invoke(cli, ["serve", "--root-path", path])
    assert done.exit_code == 2
    assert "give a path of letters" in done.output
