"""The forms of the service: a field for each setting, and errors for fields it would ignore."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, png, wait_for
from PIL import Image

from analogy import Engine
from analogy.settings import Settings

OTHER: dict[str, Any] = {
    "weight": 1, "ratio": 0.3, "uniformity": 0.4, "inversion": "vote", "inversion_steps": 2, "search_iterations": 1,
    "seed": 7,
    "max_pixels": 2000, "direction": "ba", "photo": True, "keep_colors": True, "painting": "pixels",
}  # fmt: skip
"""A value other than the default for each setting."""


def sent(service, path: str = "/v1/transfer", **fields: Any):
    files = {"a": ("a", png(40, 56)), "b_prime": ("b", png(48, 40, 1))}
    return service.http.post(service.url + path, files=files, data=fields, timeout=60)


def test_each_setting_is_a_field(service) -> None:
    assert OTHER.keys() == {field.name for field in dataclasses.fields(Settings)}
    for name, value in OTHER.items():
        assert value != getattr(Settings(), name)
        answer = sent(service, "/v1/jobs", **{name: str(value).lower() if value is True else str(value)})
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert job["settings"] == dataclasses.asdict(Settings()) | {name: value}
        service.http.delete(f"{service.url}/v1/jobs/{job['id']}", timeout=30)


def test_each_input_of_a_request_is_a_field_and_its_levels_are_one_of_a_job(service) -> None:
    document = service.http.get(f"{service.url}/v1/openapi.json", timeout=30).json()["components"]["schemas"]
    inputs = {"a", "b_prime", "b", "mask_a", "mask_b", "pins"}
    for form, more in (("TransferForm", {"format"}), ("JobForm", {"levels", "flow"})):
        names = set(document[form]["properties"])
        assert names == inputs | more | OTHER.keys() | {"preset", "settings"}
        assert document[form]["required"] == ["a", "b_prime"]
        several = {name for name, field in document[form]["properties"].items() if field.get("maxItems") == 4}
        assert several == {"b_prime", "b", "mask_b"}
        described = document[form]["properties"]["mask_a"]["description"]
        assert (
            described == "Label picture of A, with one plain colour for each region. Transparent places have no label."
        )


@pytest.mark.parametrize("path", ["/v1/transfer", "/v1/jobs"])
@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("mask_a", {}, "there is a mask for A and none for B'; give both masks, or none"),
        ("b", {"direction": "ba"}, "direction is 'ba', which makes only B, but B is given; use 'ab'"),
    ],
)
def test_pictures_that_do_not_go_together_are_refused_at_once(service, path: str, name: str, fields, words) -> None:
    files = {each: (each, png(32, 32)) for each in ("a", "b_prime", name)}
    answer = service.http.post(service.url + path, files=files, data=fields, timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (422, words)


def test_each_field_has_the_same_effect_as_in_the_library(service) -> None:
    answer = sent(service, ratio="0.3", inversion="vote", search_iterations="1")
    made = Engine(device="cpu", threads=2).transfer(png(40, 56), png(48, 40, 1), direction="ab", ratio=0.3, **SMALL)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), made.a_prime)


def test_a_field_overrides_the_settings_in_json_and_these_override_the_preset(service) -> None:
    fields = {"preset": "fast", "settings": '{"inversion": "step", "seed": 3}', "seed": "4"}
    job = sent(service, "/v1/jobs", **fields).json()
    chosen = job["settings"]
    assert (chosen["search_iterations"], chosen["inversion"], chosen["seed"]) == (2, "step", 4)


def several(**pictures: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, ("picture.png", content)) for name, contents in pictures.items() for content in contents]


def test_several_examples_have_the_same_effect_as_in_the_library(service) -> None:
    a, examples = png(40, 56), [png(48, 40, seed) for seed in (1, 2)]
    files = several(a=[a], b_prime=examples)
    answer = service.http.post(f"{service.url}/v1/transfer", files=files, data=SMALL, timeout=60)
    made = Engine(device="cpu", threads=2).transfer(a, examples, direction="ab", **SMALL)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), made.a_prime)


def test_a_job_of_several_examples_takes_a_mask_and_a_known_b_of_each_and_makes_a_b_of_each(service) -> None:
    a, examples = png(32, 32), [png(32, 32, seed) for seed in (1, 2)]
    Image.new("RGB", (32, 32), "red").save(mask := io.BytesIO(), "PNG")
    masks = [mask.getvalue()] * 2
    files = several(a=[a], b_prime=examples, mask_a=masks[:1], mask_b=masks)
    made = job(service, files)
    assert {"a_prime.png", "b_1.png", "b_2.png", "montage.png", "settings.json"} == made["files"].keys()
    record = service.http.get(service.url + made["files"]["settings.json"], timeout=30).json()
    assert len(record["b_prime"]) == len(record["mask_b"]) == 2
    known = [png(32, 32, seed) for seed in (3, 4)]
    made = job(service, several(a=[a], b_prime=examples, b=known))
    assert {"a_prime.png", "montage.png", "settings.json"} == made["files"].keys()


def job(service, files: list[tuple[str, tuple[str, bytes]]]) -> dict[str, Any]:
    """Do a job with these pictures, and return it after its end."""
    answer = service.http.post(f"{service.url}/v1/jobs", files=files, data=SMALL, timeout=60)
    assert answer.status_code == 202, answer.text
    address = service.url + answer.headers["location"]
    wait_for(lambda: service.http.get(address, timeout=30).json()["state"] not in ("queued", "running"))
    return service.http.get(address, timeout=30).json()


@pytest.mark.parametrize("path", ["/v1/transfer", "/v1/jobs"])
def test_examples_that_are_too_many_or_lack_a_mask_are_refused(service, path: str) -> None:
    picture = png(32, 32)
    for pictures, words in (
        ({"b_prime": [picture] * 5}, "'b_prime' is given 5 times; give it at most 4 times"),
        (
            {"b_prime": [picture] * 2, "mask_a": [picture], "mask_b": [picture]},
            "the mask of B': 1 picture given for 2 pictures B'; give one for each B'",
        ),
        ({"b_prime": [picture], "b": [picture] * 2}, "B: 2 pictures given for 1 picture B'; give one for each B'"),
    ):
        answer = service.http.post(service.url + path, files=several(a=[picture], **pictures), timeout=30)
        assert (answer.status_code, answer.json()["detail"]) == (422, words)


def test_an_example_that_is_not_a_file_is_named_by_its_number(service) -> None:
    picture = png(32, 32)
    files = [("a", ("a.png", picture)), ("b_prime", ("b.png", picture)), ("b_prime", (None, "b.png"))]
    answer = service.http.post(f"{service.url}/v1/transfer", files=files, timeout=30)
    assert answer.status_code == 422 and answer.json()["detail"].startswith("b_prime 2: ")


def test_the_limit_of_bytes_holds_for_all_examples_together(serve) -> None:
    own = serve("--upload-mb", "1")
    large = png(400, 500)  # 0.6 MB
    for count, status in ((1, 202), (2, 413)):
        files = several(a=[png(32, 32)], b_prime=[large] * count)
        answer = own.http.post(f"{own.url}/v1/jobs", files=files, data=SMALL, timeout=60)
        assert answer.status_code == status, answer.text
    assert answer.json()["detail"] == "the request is too large (1.1 MB); send at most 1 MB"


def test_a_transfer_that_makes_several_b_is_refused(service) -> None:
    files = several(a=[png(32, 32)], b_prime=[png(32, 32)] * 2)
    answer = service.http.post(f"{service.url}/v1/transfer", files=files, data={"direction": "ba"}, timeout=30)
    words = "the request makes 2 pictures B, but an answer contains only one; begin a job with POST /v1/jobs"
    assert (answer.status_code, answer.json()["detail"]) == (422, words)


@pytest.mark.parametrize("path", ["/v1/transfer", "/v1/jobs"])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ratioo": "0.3"}, "there is no field 'ratioo'; the fields are weight, ratio, "),
        ({"x" * 900: "1"}, "there is no field 'xxx"),
        ({"ratio": "5"}, "ratio is 5.0; it must be from 0.1 to 1.0"),
        ({"ratio": "nan"}, "ratio is nan; it must be from 0.1 to 1.0"),
        ({"weight": "4"}, "weight is 4; choose 1, 2 or 3"),
        ({"inversion": "none"}, "inversion is 'none'; choose vote, step or deconvolution"),
        ({"seed": "9" * 5000}, "seed: "),
        ({"seed": "1.5"}, "seed: "),
        ({"photo": "perhaps"}, "photo: "),
        ({"ratio": ""}, "'ratio' is empty; give a value, or leave the field out"),
        ({"seed": ["1", "2"]}, "'seed' is given 2 times; give it once"),
        ({"settings": '{"seed": 1, "seed": 2}'}, "settings: the name 'seed' occurs twice; give it once"),
    ],
)
def test_ignored_and_wrong_fields_are_refused(service, path: str, fields: dict[str, Any], words: str) -> None:
    answer = sent(service, path, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith(words)
    assert "\n" not in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 400


def test_fields_of_the_other_request_are_refused(service) -> None:
    assert sent(service, levels="true").json()["detail"].startswith("there is no field 'levels'; the fields are ")
    refusal = sent(service, "/v1/jobs", format="jpg").json()["detail"]
    assert refusal.startswith("there is no field 'format'; the fields are ")
    assert "levels" in refusal and "format" not in refusal.partition(";")[2]


def test_unknown_and_repeated_pictures_are_refused(service) -> None:
    pictures = [("a", ("a", png(32, 32))), ("b_prime", ("b", png(32, 32)))]
    for name, words in (("mask", "there is no field 'mask'"), ("a", "'a' is given 2 times")):
        files = [*pictures, (name, ("c", png(32, 32)))]
        answer = service.http.post(f"{service.url}/v1/transfer", files=files, timeout=30)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(words)


def test_fields_in_the_address_are_refused(service) -> None:
    answer = sent(service, "/v1/transfer?ratio=0.3")
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "'ratio' is in the address; send it as a field of the form",
    )
