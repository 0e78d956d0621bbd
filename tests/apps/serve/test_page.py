"""The page in a real browser, the headless Chromium of the system."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import LONG, png, wait_for
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright: install the extra ci")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium, in which the page is tested")
BLOB = re.compile("^blob:")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, service) -> Iterator[Any]:
    """Return a function that opens a page. Errors of its scripts fail the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_page(url: str = service.url, **options: Any) -> Any:
        contexts.append(browser.new_context(**({"viewport": DESKTOP} | options)))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def give(page, a: bytes, b_prime: bytes, **settings: Any) -> None:
    """Choose two pictures on the page, and settings for a quick transfer."""
    page.locator("#presets input").first.wait_for(state="attached")
    page.get_by_text("In a hurry").click()
    for selector, content in (("#file-a", a), ("#file-b-prime", b_prime)):
        page.set_input_files(selector, {"name": "picture.png", "mimeType": "image/png", "buffer": content})
    sync_api.expect(page.locator("#start")).to_be_enabled()


def make(page) -> None:
    page.locator("#start").click()
    page.locator("#said:has-text('Done'), #error:not(:empty)").wait_for()
    assert page.get_by_role("alert").inner_text() == ""
    page.locator("#results").wait_for()


def test_the_example_pair_is_made_shown_and_downloaded(visit) -> None:
    page = visit()
    page.get_by_text("In a hurry").click()
    page.get_by_text("Use the example pair").click()
    sync_api.expect(
        page.get_by_role("tab", name="Regions6")
    ).to_be_visible()  # the label pictures of the example have six regions and the background
    page.locator("#start").click()
    page.locator("#place-a-prime img[src*='level_']").wait_for()  # the picture of a level appears
    page.locator("#results").wait_for()
    for place in ("a-prime", "b"):
        sync_api.expect(page.locator(f"#place-{place} img")).to_have_attribute("src", BLOB)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download picture").click()
    assert download.value.suggested_filename == "a_prime.png"
    with Image.open(download.value.path()) as taken:
        assert taken.size[0] > 100
    links = page.locator("#downloads a").all()
    assert {link.get_attribute("download") for link in links} == {
        "a_prime.png", "b.png", "montage.png", "settings.json", "flow_ab.npz", "flow_ab.flo", "flowAB.txt",
        "flow_ba.npz", "flow_ba.flo", "flowBA.txt",
    }  # fmt: skip
    assert (
        page.request.get(page.url.rstrip("/") + links[-1].get_attribute("href")).json()["settings"]["inversion"]
        == "vote"
    )

    # The keyboard moves the slider.
    slider = page.get_by_role("slider", name="Where the left picture ends")
    slider.focus()
    for key in ("End", "Home"):
        page.keyboard.press(key)
        sync_api.expect(slider).to_have_value("100" if key == "End" else "0")

    # After a second job with another seed the history has both jobs, and opens the first.
    page.get_by_label("Seed", exact=True).fill("7")
    make(page)
    entries = page.locator("#made button")
    sync_api.expect(entries).to_have_count(2)
    sync_api.expect(entries.first).to_contain_text("seed: 7")
    entries.nth(1).click()
    sync_api.expect(entries.nth(1)).to_have_attribute("aria-current", "true")
    sync_api.expect(page.get_by_label("Seed", exact=True)).to_have_value("0")
    page.get_by_label("Right").select_option("A′ of 2")


def test_pointing_at_a_place_shows_its_match(visit) -> None:
    page = visit()
    give(page, png(64, 80), png(80, 64, 1))
    page.get_by_role("button", name="Add a pin").click()  # the new pin must decide the match that is shown below
    pin = {"x in A": 18, "y in A": 48, "x in B′": 40, "y in B′": 20}
    for name, pixel in pin.items():
        page.get_by_label(f"Pin 1, {name}").fill(str(pixel))
        page.get_by_label(f"Pin 1, {name}").press("Tab")
    make(page)
    page.get_by_role("tab", name="Matches").click()
    panes = [page.locator("#pair-field .pane").nth(side) for side in (0, 1)]
    panes[0].scroll_into_view_if_needed()
    boxes = [pane.bounding_box() for pane in panes]
    places = [(18.5 / 80, 48.5 / 64), (40.5 / 64, 20.5 / 80)]
    on_page = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for box, (x, y) in zip(boxes, places, strict=True)
    ]
    for side, words in enumerate(("A′ 18, 48 matches B′ 40, 20", "B′ 40, 20 matches A′ 18, 48")):
        page.mouse.move(*on_page[side])
        sync_api.expect(page.locator("#field-where")).to_have_text(words)
        line = page.locator("#pair-field line.over")
        drawn = [float(line.get_attribute(name)) for name in ("x1", "y1", "x2", "y2")]
        corner = page.locator("#pair-field").bounding_box()
        ends = [drawn[0] + corner["x"], drawn[1] + corner["y"], drawn[2] + corner["x"], drawn[3] + corner["y"]]
        assert np.allclose(ends, np.ravel(on_page), atol=2)
    page.locator("#pair-field .pane").first.focus()
    before = page.locator("#field-where").inner_text()
    page.keyboard.press("Shift+ArrowRight")
    sync_api.expect(page.locator("#field-where")).not_to_have_text(before)


def test_pins_and_painted_regions_go_with_the_job(visit) -> None:
    page = visit()
    give(page, png(60, 80), png(80, 60, 1))
    page.evaluate("""() => {
        const asked = window.fetch;
        window.fetch = async (address, options) => {
            if (options?.body) window.sent = await Promise.all([...options.body].map(async ([name, value]) =>
                [name, typeof value === "string" ? value : [...new Uint8Array(await value.arrayBuffer())]]));
            return asked(address, options);
        };
    }""")
    for side, (x, y) in ((0, (0.256, 0.108)), (1, (0.508, 0.106))):
        pane = page.locator("#pair-pins .pane").nth(side)
        box = pane.bounding_box()
        pane.click(position={"x": x * box["width"], "y": y * box["height"]})
    sync_api.expect(page.locator("#pair-pins line.over")).to_have_count(1)
    page.get_by_label("Pin 1, x in A").fill("21")
    page.get_by_label("Pin 1, x in A").press("Tab")
    page.get_by_role("button", name="Add a pin").click()
    page.get_by_role("button", name="Remove pin 2").click()

    page.get_by_role("tab", name="Regions").click()
    for side in (0, 1):
        pane = page.locator("#pair-regions .pane").nth(side)
        pane.scroll_into_view_if_needed()
        box = pane.bounding_box()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
        page.mouse.up()
    make(page)
    form = dict(page.evaluate("window.sent"))
    assert form["pins"] == "[[21,6,30,8]]"
    masks = [Image.open(io.BytesIO(bytes(form[name]))) for name in ("mask_a", "mask_b")]
    assert [mask.size for mask in masks] == [(80, 60), (60, 80)]
    for mask in masks:
        assert sorted(colour for _, colour in mask.convert("RGB").getcolors()) == [(0, 0, 0), (0xE4, 0x57, 0x2E)]
        assert mask.convert("RGB").getpixel((mask.width // 2, mask.height // 2)) == (0xE4, 0x57, 0x2E)
    sync_api.expect(page.locator("#made button").first).to_contain_text("regions, 1 pin")


FIRST_PIXELS = """images => images.map(image => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
})"""


def choose(page, selector: str, *contents: bytes) -> None:
    page.set_input_files(selector, [{"name": "x.png", "mimeType": "image/png", "buffer": each} for each in contents])


def test_several_examples_are_chosen_removed_and_made_into_a_b_of_each(visit) -> None:
    page = visit()
    examples = [png(32, 48, seed) for seed in (1, 2, 3)]
    give(page, png(40, 40), examples[0])
    page.get_by_role("button", name="Add a pin").click()
    choose(page, ".further", *examples[1:])
    removes = page.get_by_role("button", name="Remove example")
    sync_api.expect(removes).to_have_count(3)
    # The tab has no number, since there is no pin any more.
    sync_api.expect(page.get_by_role("tab", name="Pins", exact=True)).to_be_visible()
    for view in ("pins", "regions"):
        page.locator(f"#tab-{view}").click()
        sync_api.expect(page.locator(f"#view-{view}")).to_contain_text("a single example B′. Remove the other examples")
        sync_api.expect(page.locator(f"#pair-{view}")).to_be_hidden()
    removes.nth(1).click()
    sync_api.expect(removes).to_have_count(2)
    shown = page.locator("#place-b-prime img")
    corners = [np.asarray(Image.open(io.BytesIO(content)))[0, 0].tolist() for content in examples]
    assert shown.evaluate_all(FIRST_PIXELS) == [corners[0], corners[2]]

    make(page)
    of_b = page.locator("#place-b img")
    sync_api.expect(of_b).to_have_count(2)
    for number in (0, 1):
        sync_api.expect(of_b.nth(number)).to_have_attribute("src", BLOB)
    assert {link.get_attribute("download") for link in page.locator("#downloads a").all()} == {
        "a_prime.png", "b_1.png", "b_2.png", "montage.png", "settings.json", "flow_ab.npz", "flow_ab_1.flo",
        "flow_ab_2.flo", "flow_ba_1.npz", "flow_ba_1.flo", "flowBA_1.txt", "flow_ba_2.npz",
        "flow_ba_2.flo", "flowBA_2.txt",
    }  # fmt: skip
    assert page.locator("#compare-right option").all_inner_texts() == ["A′", "B 1", "B 2", "A", "B′ 1", "B′ 2"]
    sync_api.expect(page.locator("#made button").first).to_contain_text("2 examples")
    page.get_by_role("tab", name="Matches").click()
    sync_api.expect(page.locator("#view-field")).to_contain_text(
        "This view can show only results with a single example B′"
    )
    sync_api.expect(page.locator("#pair-field")).to_be_hidden()

    # With one example, the views of pins and matches work. The history restores both examples.
    removes.nth(0).click()
    sync_api.expect(removes).to_have_count(0)
    assert shown.evaluate_all(FIRST_PIXELS) == [corners[2]]
    sync_api.expect(page.locator("#pair-pins")).to_be_visible()
    make(page)
    page.get_by_role("tab", name="Matches").click()
    sync_api.expect(page.locator("#pair-field")).to_be_visible()
    page.locator("#made button").nth(1).click()
    sync_api.expect(removes).to_have_count(2)
    sync_api.expect(of_b).to_have_count(2)


def test_too_many_examples_are_refused_and_the_current_ones_stay(visit) -> None:
    page = visit()
    give(page, png(40, 40), png(32, 32, 1))
    choose(page, ".further", *[png(32, 32, seed) for seed in range(4)])
    sync_api.expect(page.get_by_role("alert")).to_have_text(
        "a job can have at most 4 examples, and these are 5; choose fewer"
    )
    sync_api.expect(page.locator("#place-b-prime img")).to_have_count(1)
    choose(
        page, "#file-b-prime", *[png(32, 32, seed) for seed in range(4)]
    )  # these four pictures replace the current one
    sync_api.expect(page.locator("#place-b-prime img")).to_have_count(4)
    sync_api.expect(page.get_by_role("button", name="Add another")).to_be_hidden()
    sync_api.expect(page.get_by_role("alert")).to_have_text("")


def test_how_much_of_the_painting_to_use_goes_with_the_job(visit) -> None:
    page = visit()
    give(page, png(32, 32), png(32, 32, 1))
    page.get_by_label("How much of the painting").fill("0.4")
    page.get_by_role("slider", name="Bigger shapes").fill(
        "0.6"
    )  # the slider runs in the opposite direction, so the ratio is 1.1 - 0.6
    make(page)
    sync_api.expect(page.locator("#made button").first).to_contain_text("how much of the painting: 0.4")
    record = page.request.get(page.url.rstrip("/") + page.locator("#downloads a").last.get_attribute("href")).json()
    assert (record["settings"]["uniformity"], record["settings"]["ratio"]) == (0.4, 0.5)


def test_a_result_is_not_shown_beside_pictures_that_it_was_not_made_from(visit) -> None:
    page = visit()
    give(page, png(64, 64), png(64, 64, 1))
    page.evaluate("""() => {
        const asked = window.fetch, held = new Promise((resolve) => { window.release = resolve; });
        window.fetch = async (address, options) => {
            if (String(address).includes("/files/")) await held;
            return asked(address, options);
        };
    }""")
    page.locator("#start").click()
    made = page.locator("#place-a-prime img")
    page.locator("#place-a-prime img[src*='level_1']").wait_for()
    choose(page, "#file-a", png(32, 32, 2))
    sync_api.expect(made).to_be_hidden()
    page.evaluate("window.release()")
    sync_api.expect(page.locator("#said")).to_contain_text("The result is below")
    sync_api.expect(made).to_be_hidden()
    sync_api.expect(page.locator("#results")).to_be_hidden()
    entry = page.locator("#made button")
    sync_api.expect(entry).not_to_have_attribute("aria-current", "true")
    entry.click()
    sync_api.expect(entry).to_have_attribute("aria-current", "true")
    assert page.locator("#place-a img").evaluate("image => image.naturalWidth") == 64
    sync_api.expect(made).to_have_attribute("src", BLOB)


def test_after_a_cancelled_job_no_result_of_other_pictures_is_shown(visit) -> None:
    page = visit()
    give(page, png(32, 32), png(32, 32, 1))
    make(page)
    start_long_job(page)
    page.get_by_role("button", name="Cancel").click()
    sync_api.expect(page.locator("#said")).to_have_text("Cancelled.")
    for place in ("a-prime", "b"):
        sync_api.expect(page.locator(f"#place-{place} img")).to_be_hidden()


def start_long_job(page) -> None:
    """Start a job that takes minutes, and wait for the picture of its first level."""
    begin_long_job(page)
    page.locator("#place-a-prime img[src*='level_']").wait_for()


def begin_long_job(page) -> None:
    give(page, png(512, 512), png(512, 512, 1))
    page.locator("#fine").evaluate("details => details.nextElementSibling.open = true")
    page.get_by_label("Inversion", exact=True).select_option(LONG["inversion"])
    page.get_by_label("Steps of the inversion").fill(str(LONG["inversion_steps"]))
    page.locator("#start").click()


def test_a_running_job_can_be_cancelled_and_the_next_one_runs(visit, service) -> None:
    page = visit()
    start_long_job(page)
    page.get_by_role("button", name="Cancel").click()
    sync_api.expect(page.locator("#said")).to_have_text("Cancelled.")
    sync_api.expect(page.locator("#start")).to_be_enabled()
    wait_for(lambda: service.http.get(f"{service.url}/health", timeout=30).json()["running"] == 0)
    page.get_by_text("In a hurry").click()  # a click on the chosen preset sets its values again
    page.set_input_files("#file-a", {"name": "a.png", "mimeType": "image/png", "buffer": png(32, 32)})
    make(page)


def test_closing_the_page_cancels_the_running_job(visit, service) -> None:
    page = visit()
    start_long_job(page)
    page.close(run_before_unload=True)
    wait_for(lambda: service.http.get(f"{service.url}/health", timeout=30).json()["running"] == 0)


def test_a_job_that_the_page_cannot_follow_is_cancelled(visit, service) -> None:
    page = visit()
    page.route("**/events", lambda route: route.fulfill(status=204))
    begin_long_job(page)
    sync_api.expect(page.get_by_role("alert")).not_to_be_empty()
    wait_for(lambda: service.http.get(f"{service.url}/health", timeout=30).json()["running"] == 0)


def test_moving_the_slider_keeps_the_picture_of_the_newest_level(visit) -> None:
    page = visit()
    shown = page.evaluate("""async () => {
        const { setChoices, showForming } = await import("./static/compare.js");
        const each = { name: "x", url: "static/presets/fast.webp", width: 2, height: 1 };
        setChoices([{ ...each, key: "given" }, { ...each, key: "forming" }], "given", "forming");
        showForming("static/presets/paper.webp");
        document.getElementById("wipe-at").dispatchEvent(new Event("input"));
        const shown = [document.getElementById("wipe-right").src];
        const select = document.getElementById("compare-right");
        select.value = "given";
        select.dispatchEvent(new Event("change"));
        showForming("static/presets/face.webp");
        return [...shown, document.getElementById("wipe-right").src].map((url) => url.split("/").pop());
    }""")
    assert shown == ["paper.webp", "fast.webp"]


def test_a_wrong_number_in_a_closed_part_of_the_form_is_shown(visit) -> None:
    page = visit()
    give(page, png(32, 32), png(32, 32, 1))
    parts = page.locator("#fine + details")
    parts.evaluate("details => details.open = true")
    page.get_by_label("Largest working size").fill("1")
    parts.evaluate("details => details.open = false")
    page.locator("#start").click()
    sync_api.expect(page.get_by_label("Largest working size")).to_be_visible()


def test_errors_on_the_page_have_the_words_of_the_service(visit) -> None:
    page = visit()
    page.set_input_files("#file-a", {"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"})
    sync_api.expect(page.get_by_role("alert")).to_have_text(
        "a.png, as “your picture”, is not a picture that this browser can show; save it as JPEG, PNG or WebP"
    )
    give(page, png(8, 8), png(32, 32))
    page.locator("#start").click()
    sync_api.expect(page.get_by_role("alert")).to_have_text("A has only 8 x 8 pixels; at least 16 x 16 are needed")
    sync_api.expect(page.locator("#start")).to_be_enabled()


def test_pictures_can_be_pasted_and_dropped(visit) -> None:
    page = visit()
    page.locator("#presets input").first.wait_for(state="attached")
    event = """([kind, target, data]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(data)], "a.png", { type: "image/png" }));
        const init = { bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer };
        const event = kind === "paste" ? new ClipboardEvent(kind, init) : new DragEvent(kind, init);
        document.querySelector(target).dispatchEvent(event);
    }"""
    page.evaluate(event, ["paste", "body", list(png(20, 30))])
    sync_api.expect(page.locator("#place-a img")).to_have_attribute("src", BLOB)
    page.evaluate(event, ["drop", "#place-b-prime", list(png(20, 30))])
    sync_api.expect(page.locator("#place-b-prime img")).to_have_attribute("src", BLOB)
    page.evaluate(event, ["drop", "#place-b-prime .add", list(png(20, 30))])  # adds a picture
    sync_api.expect(page.locator("#place-b-prime img")).to_have_count(2)
    page.evaluate(event, ["drop", "#place-b-prime", list(png(20, 30))])  # replaces both
    sync_api.expect(page.locator("#place-b-prime img")).to_have_count(1)
    sync_api.expect(page.locator("#start")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_passes_axe_and_fits_a_phone(visit, scheme) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The content security policy of the page would forbid the script of axe, so this test
    # bypasses the policy.
    page = visit(viewport=PHONE, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")

    def look() -> None:
        problems = axe.run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in problems] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    page.locator("#presets input").first.wait_for(state="attached")
    look()
    give(page, png(64, 48), png(48, 64, 1))
    make(page)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for tab in ("Compare", "Matches", "Pins", "Regions"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Pins":
            page.get_by_role("button", name="Add a pin").click()
        look()
    choose(page, ".further", png(64, 48, 2), png(48, 64, 3))
    sync_api.expect(page.get_by_role("button", name="Remove example")).to_have_count(3)
    look()
    make(page)
    look()


def test_the_page_loads_nothing_from_other_hosts(visit, service) -> None:
    page = visit("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(service.url)
    give(page, png(32, 32), png(32, 32))
    make(page)
    assert len(asked) > 10
    assert all(url.startswith((service.url, "blob:", "data:")) for url in asked)


def test_the_page_works_under_a_path_of_a_proxy(visit, serve) -> None:
    own = serve("--root-path", "/tools/analogy")
    page = visit("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{own.url}/tools/analogy/")
    give(page, png(32, 32), png(32, 32))
    make(page)
    page.get_by_role("link", name="HTTP API for programs").click()
    page.wait_for_url(f"{own.url}/tools/analogy/docs")
    page.get_by_role("link", name="POST /v1/transfer").click()
    page.close()  # otherwise the page could request its icon after the end of the service
    assert all(url.startswith((f"{own.url}/tools/analogy/", "blob:", "data:")) for url in asked)


def test_a_user_who_enters_the_token_gets_to_the_page(visit, serve) -> None:
    own = serve(token="open sesame")
    page = visit(own.url)
    assert page.url == f"{own.url}/sign-in"
    page.get_by_label("Token of this service").fill("guess")
    page.get_by_role("button", name="Sign in").click()
    sync_api.expect(page.get_by_role("alert")).to_contain_text("This is not the token of this service")
    page.get_by_label("Token of this service").fill("open sesame")
    page.get_by_role("button", name="Sign in").click()
    give(page, png(32, 32), png(32, 32))
    assert page.url == f"{own.url}/"
    page.close()  # otherwise the page could request its icon after the end of the service


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_documentation_passes_axe(visit, service, scheme) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(f"{service.url}/docs", viewport=PHONE, color_scheme=scheme, bypass_csp=True)
    problems = axe.run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in problems] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
