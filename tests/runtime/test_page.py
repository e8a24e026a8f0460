"""The page of a result, opened and used in a real browser, and the files beside it."""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.runtime.cli_page import main
from espnet_edge.runtime.page import page_html, write_charts, write_tables
from espnet_edge.runtime.result import Result, Unknown, result_text, write_result
from results import full_result, latency_of, line, measured_file, paper_result, power_of, result_of

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

HOSTILE = "<script>document.title='taken'</script></script><img src=x onerror=\"document.title='taken'\">$a_b$ 漢"


class Opened:
    """A page in the browser, with all that it asked for and said."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.url = page, path.as_uri()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url)

    @property
    def outside(self) -> list[str]:
        """Requests that are not for the page itself or for what is inside it."""
        return [url for url in self.requests if url != self.url and not url.startswith(("data:", "blob:"))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    reason = "no Chromium on PATH: apt install chromium" if program is None else None
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        reason = "playwright is not installed"
    if reason:
        if os.environ.get("ESPNET_EDGE_REQUIRE_SHARED"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of made-up results; each is drawn once for all tests."""
    folder = tmp_path_factory.mktemp("pages")
    results = {"bench": full_result(), "paper": paper_result(), "hostile": hostile_result()}
    for name, result in results.items():
        (folder / f"{name}.html").write_text(page_html(result), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in results}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """opened(name, **options of the browser's context) -> Opened."""
    contexts = []

    def open_page(name: str, **options: Any) -> Opened:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        return Opened(contexts[-1].new_page(), pages[name])

    yield open_page
    for context in contexts:
        context.close()


def hostile_result() -> Result:
    """Names from files of others, in every place where they are shown."""
    file = measured_file(path=HOSTILE, name=HOSTILE, network=HOSTILE, dataset=HOSTILE)
    result = result_of({"a": [[1.0, 2.0]] * 3}, files=(file,), lines=(line("a", HOSTILE),))
    renamed = result.lines[0].model_copy(update={"name": HOSTILE, "runtime": HOSTILE, "inputs": (HOSTILE,)})
    assert result.latency is not None
    latency = result.latency.model_copy(update={"lines": (latency_of(HOSTILE, [[1.0, 2.0]] * 3, first=True),)})
    texts = {"definitions": (HOSTILE,), "doubts": (HOSTILE,), "partial": HOSTILE, "command": (HOSTILE,)}
    return result.model_copy(update={"lines": (renamed,), "latency": latency, "memory": None, **texts})


@pytest.mark.parametrize(("name", "charts"), [("bench", 6), ("paper", 16), ("hostile", 3)])
def test_charts_are_drawn_without_network_or_complaint(opened: Any, name: str, charts: int) -> None:
    view = opened(name)
    boxes = view.page.evaluate(
        """() => [...document.querySelectorAll("figure")].map((figure) => [...figure.querySelectorAll(".drawing svg")]
            .filter((svg) => svg.getBoundingClientRect().height > 100 && svg.getBBox().width > 100).length)"""
    )
    assert boxes == [1] * charts
    assert view.outside == []
    assert view.complaints == []


def test_every_id_is_one_elements_and_every_reference_has_its_target(pages: dict[str, Path]) -> None:
    for path in pages.values():
        text = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        ids = re.findall(r'\sid="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        lists = re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', text)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert {word for words in lists for word in words.split()} | {a or b for a, b in used} <= set(ids)


def test_the_pointer_reads_a_point_out(opened: Any) -> None:
    view = opened("bench")
    chart = chart_data(view, "energy-chart")
    view.page.locator("#energy-chart").scroll_into_view_if_needed()
    box = view.page.locator("#energy-chart .drawing.wide svg").bounding_box()
    scale = box["width"] / view.page.evaluate(
        "document.querySelector('#energy-chart .drawing.wide svg').viewBox.baseVal.width"
    )
    x, y = chart["places"]["wide"][0][1]
    view.page.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
    readout = view.page.locator("#energy-chart .readout")
    assert readout.text_content() == "openvino, gross: 95.0 ± 3.0 mJ"
    assert readout.get_attribute("aria-live") == "polite"
    # The place is that of the mark that was drawn: the reading has no other source for it.
    marks = view.page.evaluate(
        """() => [...document.querySelectorAll("#energy-chart .drawing.wide use")].map((mark) => {
            const box = mark.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })"""
    )
    assert any(abs(mx - box["x"] - x * scale) < 2 and abs(my - box["y"] - y * scale) < 2 for mx, my in marks)


def test_the_keyboard_reaches_points(opened: Any) -> None:
    view = opened("paper")
    page, id_ = view.page, "time-1"
    page.locator(f"#{id_} summary").focus()
    page.keyboard.press("Shift+Tab")
    readout, cursor = page.locator(f"#{id_} .readout"), page.locator(f"#{id_} .cursor")
    texts = [series["texts"] for series in chart_data(view, id_)["series"]]
    assert readout.text_content() == texts[0][0]
    assert cursor.is_visible()
    for key, expected in (("ArrowRight", texts[0][1]), ("End", texts[0][2]), ("ArrowDown", texts[1][2])):
        page.keyboard.press(key)
        assert readout.text_content() == expected
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Escape")
    assert not cursor.is_visible()


def test_a_heading_sorts_its_table(opened: Any) -> None:
    page = opened("bench").page
    names = page.locator("#latency tbody th")
    heading = page.locator("#latency thead th").nth(2)
    assert [text.split()[0] for text in names.all_text_contents()] == ["onnxruntime", "openvino"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [text.split()[0] for text in names.all_text_contents()] == ["openvino", "onnxruntime"]
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert [text.split()[0] for text in names.all_text_contents()] == ["onnxruntime", "openvino"]


def test_dark_colours_and_their_contrast(opened: Any) -> None:
    light, dark = opened("bench"), opened("bench", color_scheme="dark")
    assert contrast_of(light) != contrast_of(dark)
    for view in (light, dark):
        colours = contrast_of(view)
        for name in ("ink", "muted", "link", "good", "bad"):
            assert ratio(colours[name], colours["surface"]) >= 4.5, name
            assert ratio(colours[name], colours["paper"]) >= 4.5, name
        assert ratio(colours["ink"], colours["warn-paper"]) >= 4.5
        for number in range(6):
            assert ratio(colours[f"s{number}"], colours["surface"]) >= 3, number
    before = light.page.evaluate("getComputedStyle(document.body).backgroundColor")
    label = "getComputedStyle(document.querySelector('figure svg text')).fill"
    ink = light.page.evaluate(label)
    light.page.click("#theme")
    assert light.page.get_attribute("#theme", "aria-pressed") == "true"
    assert light.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert light.page.evaluate(label) != ink


def test_print_is_light_and_nothing_is_cut(opened: Any) -> None:
    view = opened("paper", color_scheme="dark", viewport={"width": 695, "height": 1000})  # A4 within its margins
    view.page.emulate_media(media="print")
    assert view.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = """() => [...document.querySelectorAll("table, figure")].filter(
        (each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.parentElement.id)"""
    assert view.page.evaluate(cut) == []
    assert view.page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"


@pytest.mark.parametrize("name", ["bench", "paper", "hostile"])
def test_a_phone_scrolls_in_one_direction(opened: Any, name: str) -> None:
    view = opened(name, viewport={"width": 360, "height": 740})
    assert view.page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_is_saved(opened: Any, tmp_path: Path) -> None:
    view = opened("bench")
    saved = {name: save(view, selector, tmp_path) for name, selector in {
        "result.json": "#save-json",
        "latency.csv": "[data-csv=latency]",
        "energy-chart.svg": "#energy-chart [data-save=svg]",
        "energy-chart.png": "#energy-chart [data-save=png]",
    }.items()}  # fmt: skip
    assert saved["result.json"].decode() == result_text(full_result())
    rows = list(csv.DictReader(io.StringIO(saved["latency.csv"].decode())))
    assert [float(row["p50 ms"]) for row in rows] == [each.summary.p50_ms for each in full_result().latency.lines]
    assert b"var(" not in saved["energy-chart.svg"]
    assert b"energy of one inference, mJ" in saved["energy-chart.svg"]
    from PIL import Image

    with Image.open(io.BytesIO(saved["energy-chart.png"])) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert view.complaints == []
    assert view.outside == []


def test_names_of_others_do_nothing(opened: Any, tmp_path: Path) -> None:
    view = opened("hostile")
    assert view.page.title().startswith("<script>document")  # and not "taken", which it would write
    assert view.page.locator("img").count() == 0
    assert view.page.locator("script").count() == 4
    assert HOSTILE.partition("$")[0] in view.page.locator("#lines tbody th").first.text_content()
    assert save(view, "#save-json", tmp_path).decode() == result_text(hostile_result())


def test_headings_go_down_one_level_at_a_time(opened: Any) -> None:
    for name in ("bench", "paper"):
        levels = opened(name).page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => Number(each.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(below <= above + 1 for above, below in pairwise(levels))


def test_the_same_result_gives_the_same_text() -> None:
    result = result_of()
    assert page_html(result) == page_html(result)


def test_a_page_of_almost_nothing() -> None:
    text = page_html(result_of(latency=None, memory=None, definitions=()))
    assert "no figure is known" in text
    assert "<figure" not in text


def test_panels_that_no_machine_could_fill_say_why() -> None:
    reason = "no meter gave a plausible reading: nvml, rapl"
    result = paper_result()
    paper = result.paper.model_copy(update={"traces": (), "no_traces_reason": reason})
    power = result.power.model_copy(update={"result": None, "unavailable": reason})
    text = page_html(result.model_copy(update={"paper": paper, "power": power, "breakdowns": ()}))
    missing = re.findall(r'<div class="missing" id="([^"]+)">.*?</div>', text, flags=re.DOTALL)
    assert set(missing) == {"power-1", "joules-1", "traces", "accuracy-energy-1", "shares-chart", "energy-chart"}
    assert text.count(f"Not drawn: {reason}") == 5


def test_what_each_meter_answered_stands_once() -> None:
    reason = "no meter gave a reading. nvml: no driver; rapl: no counter"
    result = paper_result()
    power = result.power.model_copy(update={"result": None, "unavailable": reason})
    text = page_html(result.model_copy(update={"power": power}))
    page = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert page.count("nvml: no driver; rapl: no counter") == 1
    assert page.count("Not drawn: no meter gave a reading; each meter&#39;s answer stands under Energy") == 4


def test_long_paths_give_way_where_names_stay_apart() -> None:
    from espnet_edge.runtime.page.words import without_folders

    assert without_folders(["build/a/a.onnx onnxruntime", "b.onnx torch"]) == ["a.onnx onnxruntime", "b.onnx torch"]
    assert without_folders(["a/x.onnx", "b/x.onnx"]) == ["a/x.onnx", "b/x.onnx"]


def test_an_unknown_figure_is_not_zero() -> None:
    result = full_result()
    loads = list(result.power.result.loads)
    total = loads[1].total.model_copy(update={"net_mj": Unknown(reason="idle drifted")})
    text = page_html(
        result.model_copy(update={"power": power_of(loads[0], loads[1].model_copy(update={"total": total}))})
    )
    assert "not known<small>idle drifted</small>" in text


def test_headline_follows_the_numbers() -> None:
    from espnet_edge.runtime.page.findings import headline
    from espnet_edge.runtime.stats import Ratio

    result = result_of()
    assert "cannot be told apart" in headline(result)
    first, second = result.latency.lines
    slower = second.model_copy(update={"ratio": Ratio(1.2, 1.1, 1.3, 5, 1.15, 1.25)})
    latency = result.latency.model_copy(update={"lines": (first, slower)})
    sentence = headline(result.model_copy(update={"latency": latency}))
    assert sentence.startswith("openvino is slower than onnxruntime: it takes 1.20 times as long")
    assert "1 holds (1 does not hold, 1 not told apart); 1 could not be tested" in headline(paper_result())


def test_files_of_charts_and_tables(tmp_path: Path) -> None:
    charts = write_charts(tmp_path, result_of())
    assert {path.name for path in charts} >= {"latency-distribution.svg", "latency-distribution.png"}
    svg = (tmp_path / "latency-distribution.svg").read_text(encoding="utf-8")
    assert "onnxruntime</text>" in svg
    assert {"#ffffff", "#0067a3"} <= set(re.findall(r"#[0-9a-f]{6}", svg))
    assert not any("fe0" in colour for colour in re.findall(r"#[0-9a-f]{6}", svg))
    write_tables(tmp_path, hostile_result())
    rows = list(csv.reader(io.StringIO((tmp_path / "lines.csv").read_text(encoding="utf-8"))))
    assert rows[1][0] == HOSTILE
    write_tables(tmp_path, paper_result())
    with (tmp_path / "joules.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    summary = paper_result().latency.lines[0].summary
    low, high = summary.bounds_ms["p50"]
    ends = [float(row[f"ms per image{end}"]) for end in (" low", "", " high")]
    assert ends == pytest.approx([low, summary.p50_ms, high])
    assert float(row["images/J"]) == pytest.approx(1e3 / float(row["gross mJ per image"]))


def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path) -> None:
    result = result_of({"=1+1": [[1.0, 2.0]]}, memory=None)
    write_tables(tmp_path, result)
    assert "\n'=1+1," in (tmp_path / "latency.csv").read_text(encoding="utf-8")


def test_command(command: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "a.json", tmp_path / "page"
    write_result(source, result_of())
    outcome = command(main, source, "--out", out)
    assert outcome.code == 0, outcome.err
    assert (out / "index.html").read_text(encoding="utf-8") == page_html(result_of())
    names = {path.suffix for path in out.iterdir()}
    assert names == {".html", ".svg", ".png", ".csv"}
    source.write_text('{"schema_version": 2}')
    refused = command(main, source, "--out", tmp_path / "other")
    assert refused.code == 2
    assert "schema version 2" in refused.last_line
    assert not (tmp_path / "other").exists()


def chart_data(view: Opened, id_: str) -> dict[str, Any]:
    charts = json.loads(view.page.locator("#chart-data").text_content())
    return next(chart for chart in charts if chart["id"] == id_)


def save(view: Opened, selector: str, folder: Path) -> bytes:
    with view.page.expect_download() as download:
        view.page.click(selector)
    download.value.save_as(folder / download.value.suggested_filename)
    return (folder / download.value.suggested_filename).read_bytes()


def contrast_of(view: Opened) -> dict[str, str]:
    names = ["paper", "surface", "ink", "muted", "link", "good", "bad", "warn-paper", *(f"s{i}" for i in range(6))]
    read = "(names) => names.map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name))"
    return dict(zip(names, view.page.evaluate(read, names), strict=True))


def ratio(one: str, other: str) -> float:
    """Contrast of two colours by WCAG 2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    shares = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
