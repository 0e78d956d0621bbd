"""From a form to a job: pictures to files, settings to `Settings`."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import File, Form, HTTPException, Request, UploadFile

from ...errors import AnalogyError
from ...method.pins import read_pins
from ...settings import PRESETS, PresetName, Settings
from .jobs import Job, Jobs

Picture = Annotated[UploadFile, File()]


class Given:
    """What `/v1/transfer` and `/v1/jobs` take (multipart/form-data)."""

    def __init__(
        self,
        request: Request,
        a: Annotated[UploadFile, File(description="A: the picture to change. JPEG, PNG, WebP, TIFF, BMP or GIF.")],
        b_prime: Annotated[UploadFile, File(description="B': the picture whose looks A shall have.")],
        b: Annotated[
            UploadFile | None, File(description="B, if it is known: the picture that B' was painted over.")
        ] = None,
        mask_a: Annotated[
            UploadFile | None, File(description="Label picture of A, of its size: one colour, one region.")
        ] = None,
        mask_b: Annotated[
            UploadFile | None, File(description="Label picture of B'; regions match only their own colour.")
        ] = None,
        preset: Annotated[PresetName | None, Form(description="A set of settings for a use.")] = None,
        settings: Annotated[
            str,
            Form(
                description="Single settings, which go before the preset: an object in JSON, as in a settings.json. "
                "`GET /v1/settings` explains each.",
                examples=['{"ratio": 0.5, "seed": 3}'],
            ),
        ] = "{}",
        pins: Annotated[
            str,
            Form(
                description="Places of A that have to go to places of B': rows of xa, ya, xb, yb in pixels, in JSON.",
                examples=["[[120, 80, 200, 64]]"],
            ),
        ] = "[]",
    ):
        self.request = request
        pictures = {"a": a, "b_prime": b_prime, "b": b, "mask_a": mask_a, "mask_b": mask_b}
        self.pictures = {name: picture for name, picture in pictures.items() if picture is not None}
        self._preset, self._settings, self._pins = preset, settings, pins

    def settings(self, direction: Literal["both", "ab"]) -> Settings:
        """The settings that the form asks for; `direction` unless it says another. Raises HTTPException (422)."""
        single = _parsed(self._settings or "{}", "settings: not an object in JSON")
        try:
            own: Any = PRESETS[self._preset] if self._preset else {}
            if "b" in self.pictures:
                direction = "ab"
            if not isinstance(single, dict):
                return Settings.from_dict(single)
            return Settings.from_dict({"direction": direction, **own, **single})
        except AnalogyError as error:
            raise HTTPException(422, str(error)) from None

    def _rows(self) -> list[list[float]]:
        """The pins. Raises HTTPException (422)."""
        rows = _parsed(self._pins or "[]", words := "pins: not a list of rows of four numbers in JSON")
        if not isinstance(rows, list):  # a text would be the path of a file
            raise HTTPException(422, words)
        try:
            pins = read_pins(rows) if rows else None
        except AnalogyError as error:
            raise HTTPException(422, str(error)) from None
        return [] if pins is None else pins.tolist()

    async def job(self, jobs: Jobs, settings: Settings, **options: Any) -> Job:
        """A new job with the pictures of the form in its folder `in`. Raises HTTPException (422, 503)."""
        job = jobs.new(asdict(settings), pins=self._rows(), **options)
        try:
            for name, picture in self.pictures.items():
                await asyncio.to_thread(_write, picture.file, job.folder / "in" / name)
        except OSError:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise HTTPException(503, "the pictures cannot be kept: the disk of the service is full") from None
        return job


def _parsed(text: str, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise HTTPException(422, otherwise) from None


def _write(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
