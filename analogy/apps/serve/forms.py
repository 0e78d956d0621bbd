"""From a form to a job: fields to a `Request`, pictures to files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeAlias

from fastapi import HTTPException, UploadFile
from fastapi import Request as HTTPRequest
from pydantic import ConfigDict, Field, create_model

from ...errors import AnalogyError, SettingsError, shown
from ...files.text_tables import members
from ...request import Request, fields_of, listed, numbered
from ...settings import Direction, PresetName, Settings
from .jobs import Job, Jobs

Format: TypeAlias = Literal["png", "jpg", "webp", "tif"]
MOST_EXAMPLES = 4
"""Most examples B' of a job. A field of which there is one for each example is given as often."""
_MOST_TIMES = {field.name: MOST_EXAMPLES if field.metadata["several"] else 1 for field in fields_of("picture")}
"""Field of a picture -> how many times it may be given."""
MOST_FILES, MOST_FIELDS, MOST_FIELD_BYTES = sum(_MOST_TIMES.values()), 32, 1 << 17
"""Most pictures and most other fields of a form, and most bytes of one such field."""


def _of_setting(setting: dataclasses.Field[Any]) -> tuple[Any, None]:
    """Return a setting as a field of a form: its type and help. `Settings` checks its range, and says what is wrong."""
    bounds = {
        "minimum": setting.metadata["low"],
        "maximum": setting.metadata["high"],
        "enum": setting.metadata["choices"],
    }
    schema = {
        name: list(value) if isinstance(value, tuple) else value for name, value in bounds.items() if value is not None
    }
    kind: Any = Annotated[type(setting.default), Field(json_schema_extra=schema)]
    return Annotated[kind | None, Field(description=setting.metadata["help"])], None


def _of_request(field: dataclasses.Field[Any]) -> tuple[Any, Any]:
    """Return a field of `Request` as a field of a form: its type with its help, and its default (... for none)."""
    kind, text = field.metadata["kind"], field.metadata["help"]
    if kind == "flag":
        return Annotated[bool, Field(description=text)], False
    if kind == "pins":
        text, example = (
            f"{text} Rows of xa, ya, xb, yb in JSON; with several B' a fifth number says which, from 1.",
            "[[120, 80, 200, 64]]",
        )
        return Annotated[str, Field(description=text, examples=[example])], "[]"
    needed = field.default is dataclasses.MISSING
    if field.metadata["several"]:
        text = f"{text} The field may be given several times, once for each example, in their order."
        several: Any = Annotated[list[UploadFile], Field(description=text, max_length=MOST_EXAMPLES)]
        return several, ... if needed else []
    picture: Any = UploadFile if needed else UploadFile | None
    return Annotated[picture, Field(description=text)], ... if needed else None


_SETTINGS: dict[str, Any] = {each.name: _of_setting(each) for each in dataclasses.fields(Settings)}
_INPUTS: dict[str, Any] = {each.name: _of_request(each) for each in fields_of("picture", "pins")}
_FLAGS: dict[str, Any] = {each.name: _of_request(each) for each in fields_of("flag")}


class RequestForm(create_model("_Fields", **_SETTINGS, **_INPUTS)):  # type: ignore[misc]
    """The form of `/v1/transfer` and `/v1/jobs` (multipart/form-data): pictures, and each setting as a field."""

    model_config = ConfigDict(extra="forbid")

    preset: Annotated[PresetName | None, Field(description="A set of settings for a use.")] = None
    settings: Annotated[
        str,
        Field(
            description="Settings that go before the preset: an object in JSON, as in a settings.json. A setting that is a "
            "field of its own goes before both.",
            examples=['{"ratio": 0.5, "seed": 3}'],
        ),
    ] = "{}"

    @property
    def pictures(self) -> dict[str, list[UploadFile]]:
        """Return the pictures that were sent, by their fields."""
        return {name: pictures for name in _MOST_TIMES if (pictures := listed(getattr(self, name)))}

    def request(self, direction: Direction) -> Request:
        """Return the request that the form describes; the value of a picture is the name of its file.

        direction  which pictures to make, where the form does not say it

        Raises HTTPException (422).
        """
        several = _parsed("settings", self.settings, dict, "not an object in JSON")
        single = {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}
        # A text would be the path of a file of this machine.
        pins = _parsed("pins", self.pins, list, "not a list of rows of numbers in JSON")
        names: dict[str, Any] = {}
        for field, pictures in self.pictures.items():
            files = numbered(field, len(pictures))
            names[field] = files if len(files) > 1 else files[0]
        flags = {name: getattr(self, name) for name in _FLAGS if name in type(self).model_fields}
        try:
            settings = Settings(direction=direction).changed(several | single, self.preset)
            return Request(**names, settings=settings, pins=pins, **flags)
        except AnalogyError as error:
            raise HTTPException(422, str(error)) from None

    async def job(self, jobs: Jobs, direction: Direction, **options: Any) -> Job:
        """Return a new job with the pictures of the form in its folder `in`. Raises HTTPException (422, 503).

        direction  as for `request`
        options    as for `Jobs.new`
        """
        job = jobs.new(self.request(direction), **options)
        try:
            for each in job.order.request.inputs():
                picture = self.pictures[each.name][each.place]
                await asyncio.to_thread(_write, picture.file, job.folder / "in" / each.value)
        except OSError:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise HTTPException(503, "the pictures cannot be kept: the disk of the service is full") from None
        return job


class TransferForm(RequestForm):
    """The form of `POST /v1/transfer`."""

    format: Annotated[Format, Field(description="Format of the picture that is answered.")] = "png"


class JobForm(create_model("_Flags", __base__=RequestForm, **_FLAGS)):  # type: ignore[misc]
    """The form of `POST /v1/jobs`."""

    flow: Annotated[bool, Field(description="Also write the fields, as .npz, .flo and .txt.")] = False


async def unambiguous(request: HTTPRequest) -> None:
    """Raise HTTPException (422) if a form has a field too often or empty, or if there are fields in the address.

    No field is read from the address, and an empty one would count as none.
    """
    fields = (await request.form()).multi_items()
    for name, value in fields:
        if value == "" and name not in _MOST_TIMES:
            raise HTTPException(422, f"{shown(name)} is empty; give a value, or leave the field out")
    for name, times in Counter(name for name, _ in fields).items():
        if times > (most := _MOST_TIMES.get(name, 1)):
            takes = "once" if most == 1 else f"at most {most} times"
            raise HTTPException(422, f"{shown(name)} is given {times} times; give it {takes}")
    for name in request.query_params:
        raise HTTPException(422, f"{shown(name)} is in the address; make it a field of the form")


def in_one_line(problem: dict[str, Any], fields: Sequence[str]) -> str:
    """Return what is wrong with a request, of which pydantic says `problem`. `fields`: those that there are."""
    *path, last = problem["loc"] or ("the request",)
    name = f"{path[-1]} {last + 1}" if path and isinstance(last, int) else str(last)
    if problem["type"] == "extra_forbidden":
        return f"there is no field {shown(name)}; there is {', '.join(fields)}"
    return f"{shown(name)[1:-1]}: {problem['msg']}"


def _parsed(field: str, text: str, kind: type, otherwise: str) -> Any:
    """Return the value of this type that a field has in JSON. Raises HTTPException (422), with `otherwise` for any other."""
    try:
        value = json.loads(text, object_pairs_hook=members)
    except SettingsError as error:
        raise HTTPException(422, f"{field}: {error}") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise HTTPException(422, f"{field}: {otherwise}")
    return value


def _write(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
