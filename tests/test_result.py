"""Tests of a result's images, of its files, and of its display in a notebook."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import analogy
from analogy import progress
from analogy.errors import OutputError, SettingsError
from analogy.pictures.reading import read_picture
from analogy.records import read_record
from analogy.result import Result
from analogy.settings import Settings

OPTIONS = {"inversion": "vote", "search_iterations": 1}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def engine() -> analogy.Engine:
    return analogy.Engine(device="cpu", threads=2)


@pytest.fixture(scope="module")
def profile() -> bytes:
    """Return an RGB profile that is not sRGB: Pillow's sRGB with red and green exchanged."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(icc[i : i + 4]): i for i in range(132, 132 + 12 * int.from_bytes(icc[128:132], "big"), 12)}
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    icc[red + 4 : red + 8], icc[green + 4 : green + 8] = icc[green + 4 : green + 8], icc[red + 4 : red + 8]
    return bytes(icc)


@pytest.fixture(scope="module")
def result(engine: analogy.Engine, profile: bytes) -> Result:
    """Return the result for an A with alpha and a profile, and a B' without alpha and profile."""
    a = io.BytesIO()
    Image.fromarray(noise(40, 56, 4)).save(a, "png", icc_profile=profile)
    return engine.transfer(a.getvalue(), noise(48, 40, 3), **OPTIONS)


def test_a_prime_image_has_the_alpha_and_the_profile_of_a(result: Result, profile: bytes) -> None:
    image = result.a_prime_image
    assert (image.mode, image.size) == ("RGBA", (56, 40))
    assert np.array_equal(np.asarray(image)[..., 3], result.a.alpha)
    assert image.info["icc_profile"] == profile
    # The colours of the image are those of its profile. Reading the file converts them to sRGB, and
    # `a_prime` is in sRGB.
    content = io.BytesIO()
    image.save(content, "png")
    opaque = result.a.alpha == 255
    assert np.abs(read_picture(content.getvalue()).rgb[opaque].astype(int) - result.a_prime[opaque]).max() <= 8
    assert not np.array_equal(np.asarray(image)[..., :3], result.a_prime)


def test_b_image_of_an_opaque_b_prime_is_plain_rgb(result: Result) -> None:
    assert result.b_image.mode == "RGB"
    assert np.array_equal(np.asarray(result.b_image), result.b)


def test_images_of_16_bit_results_have_8_bits(engine: analogy.Engine) -> None:
    deep = noise(32, 32, 3).astype(np.uint16) * 257
    result = engine.transfer(deep, deep, **OPTIONS)
    assert result.a_prime.dtype == np.uint16
    assert np.array_equal(np.asarray(result.a_prime_image), (result.a_prime / 257).round())


def test_the_image_of_a_direction_that_was_not_made_is_refused(engine: analogy.Engine) -> None:
    a = noise(32, 32, 3)
    with pytest.raises(SettingsError, match="there is no B, since this result was made with direction 'ab'"):
        engine.transfer(a, a, direction="ab", **OPTIONS).b_image  # noqa: B018
    with pytest.raises(SettingsError, match="there is no A', since this result was made with direction 'ba'"):
        engine.transfer(a, a, direction="ba", **OPTIONS).a_prime_image  # noqa: B018


def test_repr_is_one_short_line_without_pixels(result: Result) -> None:
    assert repr(result) == "<Result: A' 56 x 40, B 40 x 48 (vgg16-compact, CPU, 2 threads)>"


def test_a_notebook_shows_a_small_montage(engine: analogy.Engine) -> None:
    a = noise(400, 320, 3)
    shown = read_picture(engine.transfer(a, a, max_pixels=2000, direction="ab", **OPTIONS)._repr_png_()).rgb
    assert shown.shape == (300, 3 * 240 + 2 * 8, 3)


@pytest.mark.parametrize("name", ["x.png", "new/x.webp", "x.TIF", Path("x.jpg")])
def test_saving_to_the_path_of_a_picture_writes_only_a_prime(result: Result, tmp_path: Path, name) -> None:
    result.save(tmp_path / name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    written = read_picture(tmp_path / name)
    assert written.icc == result.a.icc
    assert (written.alpha is None) == (Path(name).suffix == ".jpg")


def test_a_result_of_b_alone_writes_b(engine: analogy.Engine, tmp_path: Path) -> None:
    result = engine.transfer(noise(32, 40, 3), noise(40, 32, 3), direction="ba", **OPTIONS)
    result.save(tmp_path / "x.png")
    assert np.array_equal(read_picture(tmp_path / "x.png").rgb, result.b)


def test_format_decides_the_format_of_any_path_and_of_an_open_file(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "x.png")
    result.save(tmp_path / "x.data", format="PNG")
    expected = (tmp_path / "x.png").read_bytes()
    assert (tmp_path / "x.data").read_bytes() == expected
    content = io.BytesIO(b"")
    result.save(content, format="png")
    assert content.getvalue() == expected
    with (tmp_path / "named.png").open("wb") as file:
        result.save(file)
    assert (tmp_path / "named.png").read_bytes() == expected
    for format, kind in (("jpg", "JPEG"), (".tif", "TIFF"), ("webp", "WEBP"), ("bmp", "BMP")):
        content = io.BytesIO()
        result.save(content, format=format)
        assert Image.open(content).format == kind


class Full(io.BytesIO):
    def write(self, data):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        (None, {}, "cannot write to None; give the path of a folder"),
        (3, {}, "cannot write to 3"),
        ("a\0b", {}, r"cannot write to 'a\\x00b', which is not a path"),
        ("", {}, "cannot write to '', which is not a path"),
        (b"x", {}, "cannot write to b'x', which is not a path"),
        ("\ud800", {}, r"cannot write to '\\ud800'; give the path"),
        ("x" * 300 + ".png", {}, r"x\.png cannot be written \(File name too long\)"),
        ("x" * 300, {}, "cannot make the folder x+: File name too long"),
        ("x.png", {"format": 5}, "x.png: format must be a name such as 'png'; got 5"),
        (io.BytesIO(), {}, "the open file: the format is unknown; pass format='png'"),
        (io.BytesIO(), {"format": "gif"}, "cannot write '.gif' files; use one of .png"),
        (io.StringIO(), {"format": "png"}, r"open it in binary mode \('wb'\)"),
        (Full(), {"format": "png"}, "No space left"),
        ("x.png", {"flow": True}, "x.png: the file of one picture cannot contain the fields; give a folder"),
        (io.BytesIO(), {"format": "png", "flow": True}, "the file of one picture cannot contain the fields"),
    ],
)
def test_a_target_that_cannot_be_written_is_named_in_one_line(
    result: Result, target, options, words, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=words) as caught:
        result.save(target, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_saving_reports_progress_within_a_file_and_an_exception_of_the_callback_ends_it(
    engine, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(progress, "MIN_STEP", 0.0)
    # With more threads, the reports would depend on which thread runs first.
    monkeypatch.setattr("analogy.result_files.available_cores", lambda: 1)
    a = noise(600, 600, 3)
    result = engine.transfer(a, a, max_pixels=2000, **OPTIONS)
    for target in ("out", "x.png", "x.tif", "x.jpg"):
        reports: list[analogy.Progress] = []
        result.save(tmp_path / target, progress=reports.append)
        shares = [report.done for report in reports]
        assert shares == sorted(shares)
        assert (reports[0].stage, reports[-1]) == ("saving", analogy.Progress("done", 1.0))
        if target in ("out", "x.png"):  # encoders of other formats write all bytes at once, and so report only once
            assert len([share for share in shares if 0.05 < share < 0.35]) > 3, target

    class Stop(TimeoutError):  # an OSError that does not come from a file
        pass

    def stop(report: analogy.Progress) -> None:
        if report.done > 0.2:
            raise Stop

    with pytest.raises(Stop):
        result.save(tmp_path / "stopped", progress=stop)
    assert list((tmp_path / "stopped").iterdir()) == []


# Reading the settings of a result

RECORD = {"settings": {"seed": 5}, "model": "vgg16-compact", "model_sha256": "ab"}


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_record_has_the_version_of_the_running_code_installed_or_not(result: Result, monkeypatch) -> None:
    def of_installed(package: str) -> str:
        assert package != "deep-image-analogy"
        return "1"

    monkeypatch.setattr("analogy.result.version", of_installed)
    assert result.record()["analogy"] == analogy.__version__


def test_a_record_is_read_from_a_plain_file(tmp_path: Path) -> None:
    path = written(tmp_path / "settings.json", json.dumps(RECORD))
    assert read_record(path) == (Settings(seed=5), "vgg16-compact", "ab", None)


@pytest.mark.parametrize(
    "content",
    [
        "", "null", "[]", "5", "1e400", "\0", b"\xff\xfe\x00", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, "{}",
        json.dumps(RECORD | {"settings": []}), json.dumps(RECORD | {"settings": "abc"}),
        json.dumps(RECORD | {"settings": {"seed": 10**400}}), json.dumps(RECORD | {"settings": {"ratio": 10**400}}),
        json.dumps(RECORD | {"settings": {"\n\x1b": 1}}), json.dumps(RECORD | {"model": {}}),
        json.dumps(RECORD | {"model_sha256": None}), json.dumps(RECORD | {"pins": "/etc/passwd"}),
        json.dumps(RECORD | {"pins": [[1, 2, 3]]}), json.dumps(RECORD | {"pins": {}}),
        '{"settings": {"ratio": 1e999}, "model": "m", "model_sha256": "x"}',
        " " * (1 << 20) + json.dumps(RECORD),
    ],
)  # fmt: skip
def test_an_invalid_record_is_refused_in_one_short_line(tmp_path: Path, content) -> None:
    path = written(tmp_path / "settings.json", content)
    with pytest.raises(SettingsError) as caught:
        read_record(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


def test_a_record_without_a_field_is_refused_with_the_name_of_the_field(tmp_path: Path) -> None:
    path = written(tmp_path / "settings.json", json.dumps({"settings": {}, "model_sha256": "x"}))
    with pytest.raises(SettingsError, match=r"not the settings.json of a result \(it has no field 'model'\)"):
        read_record(path)


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
def test_a_record_is_read_from_no_pipe_and_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), ("/dev/zero", "a device")):
        with pytest.raises(SettingsError, match=f"cannot be read .it is {kind}, not a file"):
            read_record(path)
