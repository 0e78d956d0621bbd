"""Tests of the page about a batch, which loads no other file and escapes all file names."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from analogy import Settings
from analogy.batch import report
from analogy.batch.jobs import Job
from analogy.batch.report import Report
from analogy.request import Request


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(values["src"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def job(number: int, name: str, style: str = "/style.png", a: str = "/photos/a.png") -> Job:
    return Job(number, Request(a, style, Settings(direction="ab")), {"a_prime": name})


def line(state: str = "done", **more: object) -> dict[str, object]:
    return {"state": state, "seconds": 1.0, "thumbnails": dict.fromkeys(("a", "b_prime", "a_prime"), "AAAA"), **more}


def test_the_page_shows_pictures_links_and_failures_and_loads_nothing(tmp_path: Path) -> None:
    page = Report(tmp_path / "report.html", str(tmp_path), 5, "out: 5 jobs", "vgg16-compact, CPU")
    page.add(job(1, "deep/\u00e9 #1.png"), line(), kept=False)
    page.add(job(2, "x.png"), line(), kept=True)
    page.add(job(3, "<script>.png"), line("failed", error="A (<img src=x>): \u202e"), kept=False)
    page.write(ends=True)
    found = Page((tmp_path / "report.html").read_text())
    assert "2 of 5 done, 1 of them in an earlier run, 2 left, 1 failed" in found.text
    assert "<script>.png" in found.text
    assert "script" not in found.tags
    assert len(found.images) == 2 * 2 + 1  # A and A' of each job, and the style once
    assert all(source.startswith("data:image/webp;base64,AAAA") for source in found.images)
    assert "deep/%C3%A9%20%231.png" in found.links
    assert all(not target.startswith(("http", "//")) for target in found.links)


def test_the_page_shows_every_style(tmp_path: Path) -> None:
    several = Request("/photos/a.png", ["/one.png", "/two.png"], Settings())
    made = {"a_prime": "x.png", "b_1": "y.png", "b_2": "z.png"}
    own = line(thumbnails={name: name * 4 for name in ("a", "b_prime", "b_prime_2", "a_prime", "b_1", "b_2")})

    def sources(*jobs: Job) -> list[str]:
        page = Report(tmp_path / "report.html", str(tmp_path), 2, "", "")
        for each in jobs:
            page.add(each, own, kept=False)
        page.write(ends=True)
        return [image.rpartition(",")[2] for image in Page((tmp_path / "report.html").read_text()).images]

    same = [Job(number, several, made) for number in (1, 2)]
    card = [name * 4 for name in ("a", "a_prime", "b_1", "b_2")]
    styles = ["b_prime" * 4, "b_prime_2" * 4]
    assert sources(*same) == styles + card + card  # the styles are shown once for both jobs
    another = Job(2, Request("/photos/a.png", ["/two.png", "/one.png"], Settings()), made)
    assert sources(same[0], another) == card + styles + card + styles


def test_the_page_states_common_settings_once_and_different_ones_for_each_job(tmp_path: Path) -> None:
    def text(*each: Settings) -> str:
        page = Report(tmp_path / "report.html", str(tmp_path), len(each), "", "")
        for number, settings in enumerate(each, 1):
            page.add(
                Job(number, Request("/a.png", "/b.png", settings), {"a_prime": f"{number}.png"}), line(), kept=False
            )
        page.write(ends=True)
        return Page((tmp_path / "report.html").read_text()).text

    assert "Settings: the defaults\n" in text(Settings())
    one = text(Settings(ratio=0.5, photo=True), Settings(ratio=0.5, photo=True))
    assert "Settings: ratio 0.5, photo True; all others have their defaults\n" in one
    assert one.count("ratio") == 1
    two = text(Settings(ratio=0.5, seed=3, photo=True), Settings(photo=True))
    assert "Settings: photo True, the jobs differ in ratio, seed; all others have their defaults\n" in two
    assert "1.png 1.0 s, ratio 0.5, seed 3" in two and "2.png 1.0 s, ratio 1.0, seed 0" in two


def test_the_page_of_a_large_batch_shows_some_of_its_jobs(tmp_path: Path) -> None:
    page = Report(tmp_path / "report.html", str(tmp_path), 100_000, "", "")
    for number in range(1, 100_001, 50):
        page.add(job(number, f"{number}.png", style=f"/{number % 4}.png"), line(), kept=False)
    for number in range(2000):
        page.add(job(number, f"f{number}.png"), line("failed", error="e"), kept=False)
    page.write(ends=True)
    found = Page((tmp_path / "report.html").read_text())
    assert len(found.images) == 3 * report.MOST_SHOWN
    assert found.text.count("f1") > 0
    assert found.tags.count("tr") == report.MOST_FAILURES
    assert "one job in 250" in found.text


def test_only_paths_and_web_addresses_are_links(tmp_path: Path) -> None:
    page = Report(tmp_path / "report.html", "s3://bucket/out", 2, "", "")
    page.add(job(1, "x.png", a="https://example.com/a.png?x=1&y=2"), line(), kept=False)
    page.add(job(2, "y.png", a="javascript://a.png"), line(), kept=False)
    page.write(ends=True)
    assert Page((tmp_path / "report.html").read_text()).links == ["https://example.com/a.png?x=1&y=2"]
