"""The page `/docs`: the OpenAPI document as plain HTML, which loads nothing from other hosts."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
"""An OpenAPI document, or a part of one."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>analogy: HTTP API</title>
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/page.css">
<link rel="stylesheet" href="static/documentation.css">
</head>
<body class="documentation">
<header class="top"><h1>analogy</h1><p>{summary}</p></header>
<main>
<p>This service has version {version}. Programs can read <a href="v1/openapi.json">the OpenAPI document</a>, which has
the same contents as this page. People can use <a href="./">the web page</a>. If the service was started with a token,
each request except <code>GET /health</code> needs the header <code>Authorization: Bearer TOKEN</code>.</p>
<pre tabindex="0">curl -F a=@photo.jpg -F b_prime=@painting.jpg -F preset=face ADDRESS/v1/transfer -o a_prime.png
curl -F a=@photo.jpg -F b_prime=@one.jpg -F b_prime=@two.jpg ADDRESS/v1/transfer -o a_prime.png</pre>
<nav aria-label="Requests"><ul>
{contents}
</ul></nav>
{operations}
{objects}
</main>
</body>
</html>
"""


def page(document: Schema) -> str:
    """Return the HTML page for an OpenAPI document of FastAPI."""
    schemas: dict[str, Schema] = document["components"]["schemas"]
    forms, operations, contents = set(), [], []
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            name = f"{method.upper()} {path}"
            anchor = re.sub(r"\W+", "-", name.lower()).strip("-")
            summary = _words(operation.get("summary", ""))
            contents.append(f'<li><a href="#{anchor}"><code>{escape(name)}</code></a> {summary}</li>')
            form = _form(operation)
            forms.add(form)
            operations.append(
                f'<section><h2 id="{anchor}"><code>{escape(name)}</code></h2>\n<p>{summary}. '
                f"{_words(operation.get('description', ''))}</p>\n"
                + _parameters(name, operation.get("parameters", []))
                + (_fields("Fields of the form", schemas[form], name) if form else "")
                + _answers(operation["responses"])
                + "</section>"
            )
    objects = [name for name in sorted(schemas) if name not in forms and "properties" in schemas[name]]
    return _PAGE.format(
        summary=_words(document["info"].get("summary", "")),
        version=escape(document["info"]["version"]),
        contents="\n".join(contents),
        operations="\n".join(operations),
        objects="\n".join(
            f'<section id="{escape(name)}"><h2>{escape(name)}</h2>\n'
            f"<p>{_words(schemas[name].get('description', ''))}</p>\n"
            + _fields("Fields", schemas[name], name)
            + "</section>"
            for name in objects
        ),
    )


def _form(operation: Schema) -> str:
    """Return the name of the schema of an operation's form, or "" if it has no form."""
    [content] = operation.get("requestBody", {}).get("content", {}).values() or [{}]
    return _name(content.get("schema", {}))


def _parameters(operation: str, parameters: list[Schema]) -> str:
    rows = [(each["name"], each["schema"], each.get("required", False), each.get("description")) for each in parameters]
    return _table("Parts of the address", rows, operation) if rows else ""


def _fields(title: str, schema: Schema, of: str) -> str:
    needed = schema.get("required", [])
    fields = schema["properties"].items()
    rows = [(name, each, name in needed, each.get("description")) for name, each in fields]
    return _table(title, sorted(rows, key=lambda row: not row[2]), of)


def _table(title: str, rows: list[tuple[str, Schema, bool, str | None]], of: str) -> str:
    """Return fields as an HTML table, below a heading with its title.

    A row consists of a name, a schema, a bool that says whether the field is required, and a
    description. `of` names the operation or the object to which the fields belong.
    """
    lines = "\n".join(
        f'<tr><th scope="row"><code>{escape(name)}</code>{" (required)" if needed else ""}</th><td>{_kind(schema)}</td>'
        f"<td>{_words(description or '')}</td></tr>"
        for name, schema, needed, description in rows
    )
    return (
        f"<h3>{escape(title)}</h3>\n"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(of)}: {escape(title)}">'
        '<table><thead><tr><th scope="col">Name</th><th scope="col">Value</th><th scope="col">Meaning</th></tr></thead>'
        f"<tbody>\n{lines}\n</tbody></table></div>\n"
    )


def _answers(responses: dict[str, Schema]) -> str:
    lines = []
    for status, response in sorted(responses.items()):
        kinds = [
            f"<code>{escape(media)}</code>" + (f" ({name})" if (name := _link(content.get("schema", {}))) else "")
            for media, content in response.get("content", {}).items()
        ]
        words = f"{_words(response.get('description', ''))} {', '.join(kinds)}"
        lines.append(f"<dt>{escape(status)}</dt><dd>{words}</dd>")
    return f"<h3>Answers</h3>\n<dl>{''.join(lines)}</dl>\n"


def _kind(schema: Schema) -> str:
    """Return the values that a schema allows, in words (HTML)."""
    choices = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if choices:
        return " or ".join(map(_kind, choices))
    if link := _link(schema):
        return link
    if "enum" in schema:
        kind = " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    elif schema.get("type") == "array" and "maxItems" in schema:  # a field that a form can contain several times
        kind = f"{_kind(schema['items'])}, up to {schema['maxItems']} times"
    elif schema.get("type") == "array":
        kind = f"a list with items: {_kind(schema['items'])}"
    elif "contentMediaType" in schema or schema.get("format") == "binary":
        kind = "a file"
    elif isinstance(schema.get("additionalProperties"), dict):
        kind = f"an object with values: {_kind(schema['additionalProperties'])}"
    else:
        kind = _KINDS.get(schema.get("type", ""), "any value")
    if "minimum" in schema:
        kind += f", {schema['minimum']:.10g} to {schema['maximum']:.10g}"
    if schema.get("examples"):
        kind += f", for instance <code>{escape(schema['examples'][0])}</code>"
    if schema.get("default") is not None:
        kind += f"; <code>{escape(json.dumps(schema['default']).strip(chr(34)))}</code> by default"
    return kind


_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
}
"""Type in JSON -> its name in words."""


def _name(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _link(schema: Schema) -> str:
    """Return a link to the schema to which `schema` refers, or "" if it refers to none."""
    name = escape(_name(schema))
    return f'<a href="#{name}">{name}</a>' if name else ""


def _words(text: str) -> str:
    """Return text as HTML. Text between backticks becomes code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
