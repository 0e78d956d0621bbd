"""From a form to a job: pictures to files, settings to `Settings`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeAlias

from fastapi import HTTPException, Request, UploadFile
from pydantic import ConfigDict, Field, create_model

from ...errors import AnalogyError, SettingsError, shown
from ...files.text_tables import members
from ...method.pins import read_pins
from ...settings import PresetName, Settings
from .jobs import Job, Jobs

Format: TypeAlias = Literal["png", "jpg", "webp", "tif"]
MOST_FILES, MOST_FIELDS, MOST_FIELD_BYTES = 5, 32, 1 << 17
"""Most pictures and most other fields of a form, and most bytes of one such field."""
_PICTURES = ("a", "b_prime", "b", "mask_a", "mask_b")


def _field(setting: dataclasses.Field[Any]) -> tuple[Any, None]:
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


_SettingFields = create_model("_SettingFields", **{each.name: _field(each) for each in dataclasses.fields(Settings)})  # type: ignore[call-overload]


class Given(_SettingFields):  # type: ignore[valid-type, misc]
    """What `/v1/transfer` and `/v1/jobs` take (multipart/form-data): pictures, and each setting as a field."""

    model_config = ConfigDict(extra="forbid")

    a: Annotated[UploadFile, Field(description="A: the picture to change. JPEG, PNG, WebP, TIFF, BMP or GIF.")]
    b_prime: Annotated[UploadFile, Field(description="B': the picture whose looks A shall have.")]
    b: Annotated[UploadFile | None, Field(description="B, if it is known: the picture that B' was painted over.")] = (
        None
    )
    mask_a: Annotated[
        UploadFile | None, Field(description="Label picture of A, of its size: one colour, one region.")
    ] = None
    mask_b: Annotated[
        UploadFile | None, Field(description="Label picture of B'; regions match only their own colour.")
    ] = None
    preset: Annotated[PresetName | None, Field(description="A set of settings for a use.")] = None
    settings: Annotated[
        str,
        Field(
            description="Settings that go before the preset: an object in JSON, as in a settings.json. A setting that is a "
            "field of its own goes before both.",
            examples=['{"ratio": 0.5, "seed": 3}'],
        ),
    ] = "{}"
    pins: Annotated[
        str,
        Field(
            description="Places of A that have to go to places of B': rows of xa, ya, xb, yb in pixels, in JSON.",
            examples=["[[120, 80, 200, 64]]"],
        ),
    ] = "[]"

    @property
    def pictures(self) -> dict[str, UploadFile]:
        """The pictures that were sent, by their fields."""
        return {name: picture for name in _PICTURES if (picture := getattr(self, name)) is not None}

    def asked(self, direction: Literal["both", "ab"]) -> Settings:
        """Return the settings that the form asks for; `direction` unless it says another. Raises HTTPException (422)."""
        several = _parsed("settings", self.settings, "not an object in JSON")
        single = {each.name: getattr(self, each.name) for each in dataclasses.fields(Settings)}
        single = {name: value for name, value in single.items() if value is not None}
        try:
            preset = asdict(Settings.of(self.preset))
            if "b" in self.pictures:
                direction = "ab"
            if not isinstance(several, dict):
                return Settings.from_dict(several)
            return Settings.from_dict(preset | {"direction": direction} | several | single)
        except AnalogyError as error:
            raise HTTPException(422, str(error)) from None

    def _rows(self) -> list[list[float]]:
        """Return the pins. Raises HTTPException (422)."""
        rows = _parsed("pins", self.pins, words := "not a list of rows of four numbers in JSON")
        if not isinstance(rows, list):  # a text would be the path of a file
            raise HTTPException(422, f"pins: {words}")
        try:
            pins = read_pins(rows) if rows else None
        except AnalogyError as error:
            raise HTTPException(422, str(error)) from None
        return [] if pins is None else pins.tolist()

    async def job(self, jobs: Jobs, settings: Settings, **options: Any) -> Job:
        """Return a new job with the pictures of the form in its folder `in`. Raises HTTPException (422, 503)."""
        job = jobs.new(asdict(settings), pins=self._rows(), **options)
        try:
            for name, picture in self.pictures.items():
                await asyncio.to_thread(_write, picture.file, job.folder / "in" / name)
        except OSError:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise HTTPException(503, "the pictures cannot be kept: the disk of the service is full") from None
        return job


class TransferForm(Given):
    """What `POST /v1/transfer` takes."""

    format: Annotated[Format, Field(description="Format of the picture that is answered.")] = "png"


class JobForm(Given):
    """What `POST /v1/jobs` takes."""

    levels: Annotated[bool, Field(description="Also make the picture of each level, as soon as it is found.")] = False
    flow: Annotated[bool, Field(description="Also write the fields, as .npz, .flo and .txt.")] = False


async def unambiguous(request: Request) -> None:
    """Raise HTTPException (422) if a form has a field twice or empty, or if there are fields in the address.

    No field is read from the address, and an empty one would count as none.
    """
    fields = (await request.form()).multi_items()
    for name, value in fields:
        if value == "" and name not in _PICTURES:
            raise HTTPException(422, f"{shown(name)} is empty; give a value, or leave the field out")
    for name, times in Counter(name for name, _ in fields).items():
        if times > 1:
            raise HTTPException(422, f"{shown(name)} is given {times} times; give it once")
    for name in request.query_params:
        raise HTTPException(422, f"{shown(name)} is in the address; make it a field of the form")


def in_one_line(problem: dict[str, Any], fields: Sequence[str]) -> str:
    """Return what is wrong with a request, of which pydantic says `problem`. `fields`: those that there are."""
    name = str(problem["loc"][-1]) if problem["loc"] else "the request"
    if problem["type"] == "extra_forbidden":
        return f"there is no field {shown(name)}; there is {', '.join(fields)}"
    return f"{shown(name)[1:-1]}: {problem['msg']}"


def _parsed(field: str, text: str, otherwise: str) -> Any:
    """Return what a field says in JSON. Raises HTTPException (422): with `otherwise` if it is none."""
    try:
        return json.loads(text, object_pairs_hook=members)
    except SettingsError as error:
        raise HTTPException(422, f"{field}: {error}") from None
    except (ValueError, RecursionError):
        raise HTTPException(422, f"{field}: {otherwise}") from None


def _write(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
