"""The forms of the service: their fields become a `Request`, and their pictures become files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import chain
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
"""Format of the picture that `/v1/transfer` returns."""
MOST_EXAMPLES = 4
"""Largest accepted number of examples B' in a form."""
_MOST_REPEATS = {field.name: MOST_EXAMPLES if field.metadata["several"] else 1 for field in fields_of("picture")}
"""Field of a picture -> largest number of times that a form can contain it."""
MOST_FILES = sum(_MOST_REPEATS.values())
"""Largest accepted number of pictures in a form."""
MOST_FIELDS = 32
"""Largest accepted number of fields in a form that are not pictures."""
MOST_FIELD_BYTES = 1 << 17
"""Largest accepted size of a field that is not a picture, in bytes."""
NO_ROOM = "the service cannot store the pictures; its disk may be full, so try again later"
"""Error for a request whose pictures cannot be written."""


def _of_setting(setting: dataclasses.Field[Any]) -> tuple[Any, None]:
    """Return the type and the default of the form's field for a setting.

    The form does not check the range, because `Settings` checks it and has a better message.
    """
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
    """Return the type and the default of the form's field for a field of `Request`.

    The default `...` (Ellipsis) means that the field is required.
    """
    kind, text = field.metadata["kind"], field.metadata["help"]
    if kind == "flag":
        return Annotated[bool, Field(description=text)], False
    if kind == "pins":
        text, example = (
            f"{text} The value is a list of rows [xa, ya, xb, yb] in JSON. With several B' a fifth number in each row "
            "is the number of the B', from 1.",
            "[[120, 80, 200, 64]]",
        )
        return Annotated[str, Field(description=text, examples=[example])], "[]"
    needed = field.default is dataclasses.MISSING
    if field.metadata["several"]:
        text = f"{text} Repeat the field for several examples, in their order."
        several: Any = Annotated[list[UploadFile], Field(description=text, max_length=MOST_EXAMPLES)]
        return several, ... if needed else []
    picture: Any = UploadFile if needed else UploadFile | None
    return Annotated[picture, Field(description=text)], ... if needed else None


_SETTINGS: dict[str, Any] = {each.name: _of_setting(each) for each in dataclasses.fields(Settings)}
_INPUTS: dict[str, Any] = {each.name: _of_request(each) for each in fields_of("picture", "pins")}
_FLAGS: dict[str, Any] = {each.name: _of_request(each) for each in fields_of("flag")}


class RequestForm(create_model("_Fields", **_SETTINGS, **_INPUTS)):  # type: ignore[misc]
    """Form of pictures, settings and pins (multipart/form-data)."""

    model_config = ConfigDict(extra="forbid")

    preset: Annotated[PresetName | None, Field(description="A set of settings for one purpose.")] = None
    settings: Annotated[
        str,
        Field(
            description="Settings as an object in JSON, with the names of settings as keys. They override the preset, "
            "and a field for a single setting overrides them.",
            examples=['{"ratio": 0.5, "seed": 3}'],
        ),
    ] = "{}"

    @property
    def pictures(self) -> dict[str, list[UploadFile]]:
        """Field -> its uploaded pictures, for each field that has some."""
        return {name: pictures for name in _MOST_REPEATS if (pictures := listed(getattr(self, name)))}

    def request(self, direction: Direction) -> Request:
        """Return the request that the form describes, with a file name in place of each picture.

        Parameters
        ----------
        direction : str
            The direction of the request if the form gives none.

        Raises
        ------
        HTTPException
            With status 422 if a field is wrong.
        """
        several = _parsed("settings", self.settings, dict, "it must be a JSON object")
        single = {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}
        # A string would be read as the path of a file on this machine, so pins must be a list.
        pins = _parsed("pins", self.pins, list, "it must be a JSON list of rows of numbers")
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
        """Return a new job, and write the pictures of the form into its folder `in`.

        Parameters
        ----------
        jobs : Jobs
            The jobs of the service.
        direction : str
            The direction of the request if the form gives none.
        **options
            The options `flow` and `format` of `Jobs.new`.

        Raises
        ------
        HTTPException
            With status 422 if a field is wrong, and with 503 if the pictures cannot be written.
        """
        request = self.request(direction)
        try:
            job = jobs.new(request, **options)
            try:
                for each in request.inputs():
                    picture = self.pictures[each.name][each.place]
                    await asyncio.to_thread(_write, picture.file, job.folder / "in" / each.value)
            except OSError:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise
        except OSError:
            raise HTTPException(503, NO_ROOM) from None
        finally:  # otherwise a second copy of large pictures would stay until the answer has been read
            for picture in chain.from_iterable(self.pictures.values()):
                await picture.close()
        return job


class TransferForm(RequestForm):
    """Form of `POST /v1/transfer`."""

    format: Annotated[Format, Field(description="Format of the picture in the answer.")] = "png"


class JobForm(create_model("_Flags", __base__=RequestForm, **_FLAGS)):  # type: ignore[misc]
    """Form of `POST /v1/jobs`."""

    flow: Annotated[
        bool,
        Field(
            description="Also write the nearest-neighbour fields, as .npz, .flo and .txt. With several B' there is no "
            ".txt of the field of A'."
        ),
    ] = False


async def unambiguous(request: HTTPRequest) -> None:
    """Raise HTTPException (422) for fields that would be ignored.

    These are fields that occur too often, empty fields, and fields in the query of the address.
    """
    fields = (await request.form()).multi_items()
    for name, value in fields:
        if value == "" and name not in _MOST_REPEATS:
            raise HTTPException(422, f"{shown(name)} is empty; give a value, or leave the field out")
    for name, times in Counter(name for name, _ in fields).items():
        if times > (most := _MOST_REPEATS.get(name, 1)):
            allowed = "once" if most == 1 else f"at most {most} times"
            raise HTTPException(422, f"{shown(name)} is given {times} times; give it {allowed}")
    for name in request.query_params:
        raise HTTPException(422, f"{shown(name)} is in the address; send it as a field of the form")


def in_one_line(problem: dict[str, Any], fields: Sequence[str]) -> str:
    """Return an error of pydantic as one line. `fields` are the names of the form's fields."""
    *path, last = problem["loc"] or ("the request",)
    name = f"{path[-1]} {last + 1}" if path and isinstance(last, int) else str(last)
    if problem["type"] == "extra_forbidden":
        return f"there is no field {shown(name)}; the fields are {', '.join(fields)}"
    return f"{shown(name)[1:-1]}: {problem['msg']}"


def _parsed(field: str, text: str, kind: type, otherwise: str) -> Any:
    """Return the value of a field that contains JSON.

    Raises HTTPException (422) for an object that contains a name twice, and with the message
    `otherwise` for damaged JSON and for a value that is not a `kind`.
    """
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
