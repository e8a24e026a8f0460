"""The page, the charts and the tables of a result as files."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import one_line
from ...files import staged, write_bytes, write_text
from ..paper.published import tx2_power
from ..result import Result, result_text
from .charts import Chart
from .compared import Traces
from .drawing import NARROW, WIDE, file_png, file_svg, page_svg
from .findings import further, headline, title
from .sections import charts_of, sections_of, tables_of
from .words import date_words, machine_words

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class _DrawnChart:
    """A chart with its drawings for screens of both widths."""

    chart: Chart
    drawings: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.chart.id


def page_html(result: Result, published_traces: Traces | None = None) -> str:
    """The page of a result: one HTML file without a reference to another one. The same result gives the same text.

    Args:
        result: what is shown; every part of it may be missing.
        published_traces: time in s and power in W of the networks by name, to be drawn beside ours; None: the paper's.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    sections = sections_of(result, _published(published_traces))
    drawn, data = {}, []
    for chart in charts_of(sections):
        drawings = {size.name: page_svg(chart, size) for size in ((NARROW,) if chart.small else (WIDE, NARROW))}
        drawn[chart.id] = _DrawnChart(chart, {name: Markup(one.svg) for name, one in drawings.items()})  # noqa: S704 of ours
        data.append(_chart_data(chart, {name: one.places for name, one in drawings.items()}))
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["line"] = one_line
    # Paths may break behind a folder.
    environment.filters["breakable"] = lambda text: escape(one_line(text)).replace("/", Markup("/<wbr>"))
    template = environment.from_string((_FOLDER / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        result=result,
        title=one_line(title(result)),
        headline=one_line(headline(result)),
        further=[one_line(sentence) for sentence in further(result)],
        machine=machine_words(result),
        date=date_words(result),
        sections=sections,
        drawn=drawn,
        style=Markup(style),  # noqa: S704 a file of ours
        script=Markup(script),  # noqa: S704 a file of ours
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        chart_data=Markup(_script_json(data)),  # noqa: S704 escaped by it
        raw=Markup(_script_json(result_text(result))),  # noqa: S704 escaped by it
        csv=Markup(_script_json({table.id: table.csv for table in tables_of(sections)})),  # noqa: S704 escaped by it
    )


def write_page(path: Path, result: Result, published_traces: Traces | None = None) -> None:
    """Write the page in one step: see `page_html`."""
    write_text(path, page_html(result, published_traces))


def write_charts(folder: Path, result: Result, published_traces: Traces | None = None) -> list[Path]:
    """Write each chart into a folder that is there, as SVG and PNG in the light colours; gives the files."""
    written = []
    for chart in charts_of(sections_of(result, _published(published_traces))):
        for suffix, data in ((".svg", file_svg(chart).encode()), (".png", file_png(chart))):
            written.append(folder / f"{chart.id}{suffix}")
            write_bytes(written[-1], data)
    return written


def write_tables(folder: Path, result: Result, published_traces: Traces | None = None) -> list[Path]:
    """Write each table into a folder that is there, as CSV; gives the files."""
    written = []
    for table in tables_of(sections_of(result, _published(published_traces))):
        written.append(folder / f"{table.id}.csv")
        write_text(written[-1], table.csv)
    return written


def write_folder(folder: Path, result: Result, published_traces: Traces | None = None) -> list[Path]:
    """Write `index.html`, the charts and the tables into a folder; they appear together. Gives the files.

    Raises:
        OSError: the folder cannot be created or written, or the disk is full.
    """
    with staged(folder) as staging:
        write_page(staging / "index.html", result, published_traces)
        write_charts(staging, result, published_traces)
        write_tables(staging, result, published_traces)
        names = sorted(path.name for path in staging.iterdir())
    return [folder / name for name in names]


def _published(traces: Traces | None) -> Traces:
    """The paper's own curves unless there are others."""
    if traces is not None:
        return traces
    return {name: (curve.time_s, curve.power_w) for name, curve in tx2_power().items()}


def _chart_data(chart: Chart, places: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What the page's script knows of a chart: texts of its points, and where they are in each drawing."""
    series = [{"name": one.name, "texts": [point.text for point in one.points]} for one in chart.series]
    return {"id": chart.id, "series": series, "places": places}


def _script_json(value: object) -> str:
    """JSON that ends no script element and begins none, whatever its strings say."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
