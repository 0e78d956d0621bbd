"""Tests of the jobs of a batch, read from tables of each kind and of any length."""

from __future__ import annotations

import json
import logging
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from analogy import OutputError, Settings, SettingsError
from analogy.batch import jobs, tables
from analogy.batch.names import TEMPLATE
from analogy.request import Request

SETTINGS = Settings(direction="ab")


def of_table(path: Path, template: str = TEMPLATE) -> jobs.Jobs:
    return jobs.Jobs(tables.of_table(str(path)), str(path.parent), SETTINGS, ["/style.png"], template)


def test_parquet_has_types_and_empty_cells(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    columns = {
        "a": ["x.png", "y.png", "z.png"],
        "b_prime": [None, "s.png", ""],
        "b_prime_2": [None, "t.png", None],
        "ratio": [0.5, float("nan"), None],
        "seed": [3.0, float("nan"), 4.0],  # pandas turns whole numbers beside empty cells into floats
        "photo": [True, None, False],
        "preset": [None, "face", None],
    }
    columns["name"] = pa.array(["x", None, "z"], pa.large_string())
    columns["b"] = pa.array([None, None, None])
    parquet.write_table(pa.table(columns), tmp_path / "jobs.parquet")
    found = list(of_table(tmp_path / "jobs.parquet"))
    assert [job.request.settings for job in found] == [
        Settings(direction="ab", ratio=0.5, seed=3, photo=True),
        Settings(direction="ab", ratio=0.5),
        Settings(direction="ab", seed=4),
    ]
    both = [str(tmp_path / "s.png"), str(tmp_path / "t.png")]
    assert [job.request.b_prime for job in found] == ["/style.png", both, "/style.png"]
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SettingsError, match="it is not a Parquet table, or it is damaged"):
        list(of_table(tmp_path / "jobs.parquet"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[1]", "line 2 is not an object"),
        (b"{", "line 2 is not valid JSON"),
        (b"[" * 100_000, "line 2 is not valid JSON"),
        (b" " * (1 << 21), "line 2 has more than 1048576 characters"),
        (b'{"a": 1}', "line 2: a is 1; it must be a path"),
        (b'{"a": "x\\u0000"}', "line 2: a is"),
        (b'{"a": "x", "b_prime": 1}', "line 2: b_prime is 1; it must be a path"),
        (b'{"a": "x", "b_prime": ["y", ["z"]]}', "line 2: b_prime is ['z']; it must be a path"),
        (b'{"a": "x", "b_prime": ["y", ""]}', "line 2: b_prime is ''; it must be a path"),
        (b'{"a": "x", "b_prime": []}', "line 2: b_prime is an empty list; give it a path, or leave it out"),
        (b'{"a": ["x", "y"]}', "line 2: a is ['x', 'y']; it must be a path"),
        (
            b'{"a": "x", "b_prime": ["y"], "b_prime_2": "z"}',
            "b_prime is a list, and there is a column b_prime_2, too; put all paths into",
        ),
        (
            b'{"a": "x", "b_prime_2": "y"}',
            "line 2: the row has b_prime_2, but not b_prime; number the columns without a gap",
        ),
        (
            b'{"a": "x", "b_prime": "y", "b_prime_3": "z"}',
            "the row has b_prime_3, but not b_prime_2; number the columns without",
        ),
        (b'{"a": "x", "b_prime_1": "y"}', "line 2: unknown column 'b_prime_1'; the columns are a, b_prime,"),
        (b'{"a": "x", "mask_a_2": "y"}', "line 2: unknown column 'mask_a_2'"),
        (
            b'{"a": "x", "b_prime": ["y", "z"], "mask_a": "m", "mask_b": "m"}',
            "the mask of B': 1 picture given for 2 pictures B'",
        ),
        (b'{"a": "x", "pins": 1}', "line 2: pins is 1; it must be the path of a CSV file, or a list of rows"),
        (b'{"a": "x", "pins": [[1, 2, 3]]}', "line 2: pins: the shape is (1, 3); it must be (N, 4)"),
        (b'{"a": "x", "pins": [1, [2]]}', "line 2: pins is [1, [2]]; give N rows of four numbers"),
        (b'{"a": "x", "seed": 1.5}', "line 2: seed is 1.5; it must be a whole number"),
        (b'{"a": "x", "seed": true}', "line 2: seed is True; it must be a whole number"),
        (b'{"a": "x", "name": "\\u202e"}', "which is not a valid path inside the folder for results"),
        (b'{"a": "x", "name": "a\\\\b"}', "which is not a valid path inside the folder for results"),
        (b'{"a": "x", "name": "c:b"}', "which is not a valid path inside the folder for results"),
        (b'{"a": "x", "preset": ["face"]}', "unknown preset ['face']"),
        (b'{"a": "x", "preset": {"face": 1}}', "unknown preset {'face': 1}"),
        (b'{"a": "x", "preset": 1}', "unknown preset 1"),
        (b'{"a": "x", "seed": 1, "seed": 2}', "line 2: the name 'seed' occurs twice; give it once"),
        (b'{"a": "x", "seed": "1,000"}', "seed is '1,000'; it must be a whole number"),
        (b'{"a": "x", "search_iterations": "1.000"}', "search_iterations is '1.000'; it must be a whole number"),
        (b'{"a": "x", "name": ["y"]}', "name is ['y']; it must be text"),
        (b'{"a": "x", "name": "report.html/x"}', "report.html is a file of the batch itself"),
        (b'{"a": "x", "name": "Batch.jsonl/x"}', "Batch.jsonl is a file of the batch itself"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, line: bytes, words: str) -> None:
    (tmp_path / "jobs.jsonl").write_bytes(b'{"a": "first.png"}\n' + line + b"\n")
    with pytest.raises(SettingsError) as raised:
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))
    assert words in str(raised.value)


def test_a_row_names_several_examples_in_a_list_or_in_further_columns(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text(
        '{"a": "x.png", "b_prime": ["one.png", "two.png"], "mask_a": "m.png", "mask_b": ["m1.png", "m2.png"]}\n'
        '{"a": "y.png", "b_prime": ["one.png"]}\n'
        '{"a": "z.png"}\n'
    )
    (tmp_path / "jobs.csv").write_text(
        "a;B-Prime 2;b_prime;mask_a;mask_b;mask_b_2\nx.png;two.png;one.png;m.png;m1.png;m2.png\ny.png;;one.png\nz.png\n"
    )
    for name in ("jobs.jsonl", "jobs.csv"):
        path = tmp_path / name
        found = list(
            jobs.Jobs(tables.of_table(str(path)), str(tmp_path), SETTINGS, ["/s.png", "/t.png"], "{b_prime}-{a}.png")
        )
        one, two, m, m1, m2 = (str(tmp_path / f"{each}.png") for each in ("one", "two", "m", "m1", "m2"))
        assert [job.request.b_prime for job in found] == [[one, two], one, ["/s.png", "/t.png"]]
        assert (found[0].request.mask_a, found[0].request.mask_b) == (m, [m1, m2])
        assert found[0].inputs == {
            "a": str(tmp_path / "x.png"), "b_prime": one, "b_prime_2": two, "mask_a": m, "mask_b": m1, "mask_b_2": m2,
        }  # fmt: skip
        assert [job.name for job in found] == ["one+two-x.png", "one-y.png", "s+t-z.png"]


def test_several_examples_make_several_pictures_b(tmp_path: Path) -> None:
    def of(direction: str, template: str) -> list[dict[str, str]]:
        rows, settings = tables.of_pictures(["/photos/x.png"]), Settings(direction=direction)
        return [job.outputs for job in jobs.Jobs(rows, "/", settings, ["/s.png", "/t.png"], template, allowed=None)]

    both = {"a_prime": "x-a_prime.png", "b_1": "x-b_1.png", "b_2": "x-b_2.png"}
    assert of("both", "{name}-{picture}.png") == [both]
    assert of("ba", "{name}-{picture}.png") == [{name: path for name, path in both.items() if name != "a_prime"}]
    with pytest.raises(
        SettingsError, match=r"the job makes b_1, b_2, which would all have the same name; put \{picture\} into --name"
    ):
        of("ba", "{name}.png")


AS_WRITTEN = {
    "by Excel where the comma is decimal": b"\xef\xbb\xbfa;b_prime;ratio\r\nGr\xc3\xbcn, x.png;s.png;0,5\r\n",
    "by Excel in Windows-1252": "a;b_prime;ratio\r\nGrün, x.png;s.png;0,5\r\n".encode("cp1252"),
    "by Excel as Unicode text": 'a\tb_prime\tratio\r\n"Grün, x.png"\ts.png\t"0,5"\r\n'.encode("utf-16"),
    "by Excel, with its separator": 'sep=;\r\na;b_prime;ratio\r\n"Grün, x.png";s.png;0.5\r\n'.encode(),
    "with empty rows and columns": (
        ',,,,\r\na,b_prime,ratio,,\r\n,,,,\r\n"Grün, x.png",s.png,0.5,,\r\n,,,,\r\n'.encode()
    ),
    "with spaces and capitals": ' A , "B-Prime",Ratio \n "Grün, x.png", s.png , 0.5 \n'.encode(),
    "by an old Macintosh": 'a,b_prime,ratio\r"Grün, x.png",s.png,.5\r'.encode(),
    "by PowerShell": '#TYPE System.Object\r\n"a","b_prime","ratio"\r\n"Grün, x.png","s.png","0.5"\r\n'.encode(),
    "by PowerShell in UTF-16, without a mark": '"a","b_prime","ratio"\r\n"Grün, x.png","s.png","0.5"\r\n'.encode(
        "utf-16-le"
    ),
    "in another byte order": "\ufeffa\tb_prime\tratio\nGrün, x.png\ts.png\t0.5".encode("utf-16-be"),
    "with seed and a decimal point": "a;b prime;RATIO;seed\nGrün, x.png;s.png;0.5;0.0\n".encode(),
    "JSON by PowerShell": '{"A":"Grün, x.png","b_prime":"s.png","ratio":0.5}\r\n'.encode("utf-16"),
    "JSON with a mark": '\ufeff{"a":"Grün, x.png","b_prime":"s.png","ratio":"0.5"}\r\n'.encode(),
    "JSON in Windows-1252": '{"a":"Grün, x.png","b_prime":"s.png","ratio":0.5}\r\n'.encode("cp1252"),
}


@pytest.mark.parametrize("how", AS_WRITTEN)
def test_tables_are_read_as_spreadsheets_and_shells_write_them(tmp_path: Path, how: str, caplog) -> None:
    path = tmp_path / ("jobs.jsonl" if "JSON" in how else "jobs.csv")
    path.write_bytes(AS_WRITTEN[how])
    with caplog.at_level(logging.INFO, "analogy"):
        found, again = list(of_table(path)), jobs.check(table := of_table(path), str(tmp_path / "out"))
        assert list(table) == found
    assert again == 1
    assert found == [
        jobs.Job(
            1,
            Request(str(tmp_path / "Grün, x.png"), str(tmp_path / "s.png"), Settings(direction="ab", ratio=0.5)),
            {"a_prime": "Grün, x.png"},
        )
    ]
    message = "some cells of the table are not UTF-8 and are read as Windows-1252; one of them is 'Grün, x.png'"
    assert [record.getMessage() for record in caplog.records] == [message] * (2 * ("1252" in how))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", b"", "its first line is nothing, which has no column a; the first line must name columns"),
        ("x.csv", b"photo;style\n1;2\n", "its first line is 'photo, style', which has no column a"),
        ("x.csv", b"a;A\nx.png;y.png\n", "there are two columns 'a'"),
        ("x.csv", b"a;b_prime;\nx.png;y.png;z.png\n", "line 2 has more cells than there are columns ('z.png')"),
        ("x.csv", b"a,b_prime\nx, y.png,z.png\n", "line 2 has more cells than there are columns ('z.png')"),
        ("x.csv", b"a,photos\n\nx.png,1\n", "line 3: unknown column 'photos'"),
        ("x.csv", b'a,ratio\nx.png,"0,5,5"\n', "line 2: ratio is '0,5,5'"),
        ("x.csv", b'a,seed\nx.png,"1,5"\n', "line 2: seed is 1.5; it must be a whole number"),
        ("x.csv", b"a,name\nx.png,\x81\x8d\n", "is neither UTF-8 nor Windows-1252; save the table as UTF-8"),
        ("x.csv", b"\xff\xfea\0\n\0x", "save it in UTF-8"),
        ("x.csv", b'a\n"x.png\n' * 2, "check the quotes in it, and shorten long cells"),
        ("x.csv", b"a\n" + b"x" * 140_000, "check the quotes in it, and shorten long cells"),
        ("x.csv", b"PK\3\4 a workbook", "its first line is 'pk"),
        ("x.jsonl", b'[\n{"a": "x.png"}\n]', "line 1 is not valid JSON"),
        ("x.jsonl", b'{"a": "x.png", "A": "y.png"}', "line 1: there are two columns 'a'"),
        (
            "x.jsonl",
            b'{"a": "' + b"x" * 40_000 + b'"}',
            "line 1: a has 40000 characters; a cell can have 32768 at most",
        ),
        ("x.csv", b"a,b_prime\n" + b"x,y," * 500_000, "line 2 has more than 1048576 characters"),
        ("x.csv", b"a,b_prime\n" + b'"\n",' * 500_000, "the row with line 262146 has more than 1048576 characters"),
        ("x.csv", b"a," * 1_000_000, "line 1 has more than 1048576 characters"),
    ],
)
def test_a_damaged_table_is_refused_with_its_file_and_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        jobs.check(of_table(tmp_path / name), str(tmp_path / "out"))
    message = str(raised.value)
    assert message.startswith(str(tmp_path / name))
    assert words in message
    assert message.count(str(tmp_path / name)) == 1


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_huge_cell_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "x.parquet":
        pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
        long = pa.DictionaryArray.from_arrays(pa.array([0] * 60, pa.int32()), pa.array(["x" * 1_000_000]))
        columns = {"a": ["x.png"] * 60, "name": [str(i) for i in range(60)], "mask_a": long}
        parquet.write_table(pa.table(columns), path, compression="zstd")
        assert path.stat().st_size < 10_000
    else:
        path.write_bytes((b"a,b_prime\n" if name == "x.csv" else b'{"a": "') + b"x" * 30_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(SettingsError, match=r"more than 1048576 characters|mask_a has 1000000 bytes in one cell"):
            list(of_table(path))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_parquet_table_of_lists_or_of_a_huge_column_is_refused_before_a_row_is_read(
    tmp_path: Path, monkeypatch
) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    write = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet").write_table
    path = tmp_path / "x.parquet"
    write(pa.table({"a": ["x.png"], "preset": [["face"]]}), path)
    with pytest.raises(SettingsError, match=r"x.parquet: the column 'preset' holds 'list"):
        list(of_table(path))
    write(pa.table({"a": ["x.png"], "mask_a": pa.array([b"x" * 1000], pa.binary(1000))}), path)
    with pytest.raises(SettingsError, match=r"x.parquet: the column 'mask_a' holds 'fixed_size_binary"):
        list(of_table(path))
    write(pa.table({"a": ["x.png"], "seed": pa.array([1], pa.timestamp("ns"))}), path)
    with pytest.raises(SettingsError, match=r"x.parquet: the column 'seed' holds 'timestamp\[ns\]'; a cell must be"):
        list(of_table(path))
    write(pa.Table.from_arrays([pa.array(["x.png"]), pa.array([1]), pa.array([2])], ["a", "seed", "seed"]), path)
    with pytest.raises(SettingsError, match=r"x.parquet: there are two columns 'seed'; remove one, or rename it"):
        list(of_table(path))
    write(pa.table({"a": [str(i) for i in range(5000)], "b_prime": [b"s.png"] * 5000}), path)
    monkeypatch.setattr("analogy.batch.parquet._LARGEST_COLUMN", 1000)
    with pytest.raises(
        SettingsError, match=r"x.parquet: the column 'a' has 0 MB in one group of rows; write the table"
    ):
        list(of_table(path))


def test_a_name_that_is_a_number_is_text_in_the_template(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"a": "p.png", "name": 1234.5}\n{"a": "p.png", "name": 67}')
    batch = of_table(tmp_path / "jobs.jsonl", template="{name:.3}.png")
    assert [job.name for job in batch] == ["123.png", "67.png"]


NAMES = [
    (b"caf\xe9", "caf%E9"),
    ("Grün".encode(), "Grün"),
    (b"two\nlines", "two%0Alines"),
    (b"back\\slash", "back%5Cslash"),
    (b".hidden", "%2Ehidden"),
    (b"c:drive", "c%3Adrive"),
    ("at 3.45\u202fPM".encode(), "at 3.45\u202fPM"),  # macOS names screenshots like this
    ("turned \u202e".encode(), "turned %E2%80%AE"),
    (b"100%", "100%"),
]


@pytest.mark.parametrize(("name", "result"), NAMES)
def test_any_name_that_a_file_can_have_becomes_the_name_of_a_result(name: bytes, result: str) -> None:
    path = f"/photos/{os.fsdecode(name)}.png"
    batch = jobs.Jobs(tables.of_pictures([path]), "/", SETTINGS, ["/style.png"], allowed=None)
    assert jobs.check(batch, "/out") == 1
    (job,) = batch
    assert (job.inputs["a"], job.outputs) == (path, {"a_prime": f"{result}.png"})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
def test_a_table_can_name_existing_files_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_bytes(b"a,name\ncaf\xe9.png,x\nth\xe9.png,y\n")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).touch()
    found = [os.path.basename(job.inputs["a"]) for job in of_table(tmp_path / "jobs.csv")]  # noqa: PTH119
    assert found == ["caf\udce9.png", "thé.png"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_long_table_is_checked_in_little_memory(tmp_path: Path, suffix: str) -> None:
    rows = 5_000
    with (tmp_path / f"jobs{suffix}").open("w") as file:
        file.write("a,b_prime\n" if suffix == ".csv" else "")
        for i in range(rows):
            file.write(f"folder/{i}.png,b.png\n" if suffix == ".csv" else json.dumps({"a": f"folder/{i}.png"}) + "\n")
    tracemalloc.start()
    try:
        assert jobs.check(of_table(tmp_path / f"jobs{suffix}"), str(tmp_path / "out")) == rows
        assert tracemalloc.get_traced_memory()[1] < 500_000  # at most a hundred bytes per row
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("first", "second"), [("\u00e9", "e\u0301"), ("\u00c5", "\u212b"), ("\u00df", "SS"), ("x/y", "X/y")], ids=ascii
)
def test_names_that_are_equal_on_some_file_system_are_refused(tmp_path: Path, first: str, second: str) -> None:
    rows = [{"a": "p.png", "name": name} for name in (first, second)]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(OutputError, match="the jobs 1 and 2 would both write"):
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize(
    ("a", "link"),
    [
        ("out/x.png", ""),
        ("folder/x.png", "folder"),
        ("link.png", "link.png"),
        ("hard.png", "hard.png"),
        ("p.png", "out/x.png"),
    ],
)
def test_no_job_overwrites_an_input_of_any_job(tmp_path: Path, a: str, link: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "p.png").write_bytes(b"p")
    if link != "out/x.png":
        (tmp_path / "out" / "x.png").write_bytes(b"x")
    if link == "hard.png":
        os.link(tmp_path / "out" / "x.png", tmp_path / link)
    elif link:
        (tmp_path / link).symlink_to(tmp_path / {"folder": "out", "out/x.png": "p.png"}.get(link, "out/x.png"))
    own, reads, writes = {"a": a, "name": "x"}, {"a": a, "name": "y"}, {"a": "q.png", "name": "x"}
    for rows in ([own], [reads, writes], [writes, reads]):
        (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(OutputError, match=r" is a of job [12], which would be overwritten"):
            jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


def test_no_job_overwrites_one_of_its_examples(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"a": "p.png", "name": "x", "b_prime": ["q.png", "out/x.png"]}')
    with pytest.raises(OutputError, match=r"out/x\.png is b_prime_2 of job 1, which would be overwritten"):
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


def test_no_job_overwrites_a_file_of_pins(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text('{"a": "p.png", "name": "x"}\n{"a": "q.png", "pins": "out/x.png"}')
    with pytest.raises(OutputError, match=r"out/x\.png is pins of job 2, which would be overwritten"):
        jobs.check(of_table(tmp_path / "jobs.jsonl"), str(tmp_path / "out"))


def test_each_input_of_a_request_is_a_column() -> None:
    assert tables.COLUMNS[: len(tables.INPUTS)] == ("a", "b_prime", "b", "mask_a", "mask_b", "pins")


def test_a_table_named_like_a_file_of_the_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"a": "p.png"}')
    with pytest.raises(OutputError, match=" is the table of the jobs"):
        jobs.check(of_table(path), "s3://bucket/out", str(path), [path])


def test_the_index_of_pandas_in_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(",a,seed\n0,x.png,1\n1,y.png,2\n")
    with pytest.raises(SettingsError, match=r"jobs.csv: line 2 has '0' in column 1, .* index=False"):
        list(of_table(tmp_path / "jobs.csv"))
