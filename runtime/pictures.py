"""Pictures of results: the classes of a photo as colours over it, with a legend beside it."""

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .answers import ClassShare, LabelMap, present_classes
from .images import Pixels
from .manifest import ClassInfo

Colour = tuple[int, int, int]

_PANEL, _INK, _FRAME = (255, 255, 255), (20, 20, 20), (120, 120, 120)
_LIGHT_LINE = (255, 255, 255)
_LONGEST_NAME = 32
_GOLDEN_RATIO = 0.6180339887498949


def overlay(photo: Pixels, labels: LabelMap, classes: Sequence[ClassInfo], opacity: float = 0.5) -> Image.Image:
    """The photo under the colours of its classes, with a legend below it (wide photos) or to its right.

    Args:
        photo: RGB, (H, W, 3) uint8.
        labels: class of each pixel, (H, W) uint8.
        classes: names and colours; a class beyond them is called "class 7" and gets a colour of its own.
        opacity: 0 shows the photo alone, 1 the colours alone.
    """
    present = present_classes(labels)
    painted = Image.blend(Image.fromarray(photo), Image.fromarray(_painted(labels, classes)), opacity)
    return _with_legend(painted, [_entry(share, classes) for share in present])


def label_image(labels: LabelMap) -> Image.Image:
    """A grey picture whose pixels are the class numbers, so that every tool can read them."""
    return Image.fromarray(labels)


def png_bytes(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def class_name(index: int, classes: Sequence[ClassInfo]) -> str:
    """The name of a class, "class 7" where it has none."""
    return classes[index].name if index < len(classes) else f"class {index}"


def short_class_name(index: int, classes: Sequence[ClassInfo]) -> str:
    """`class_name`, cut where it would be too long for a picture."""
    name = class_name(index, classes)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def class_colour(index: int, classes: Sequence[ClassInfo]) -> Colour:
    """The colour that the class has, or one of its own where the data set gives none."""
    given = classes[index].colour if index < len(classes) else None
    if given is not None:
        return given
    # Steps of the golden ratio keep neighbouring class numbers far apart on the colour circle.
    hue, saturation, value = index * _GOLDEN_RATIO % 1, 0.55 + 0.4 * (index % 2), 1 - 0.15 * (index % 3)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def percent(fraction: float) -> str:
    """A share for people: "12.3 %", and "<0.1 %" instead of a rounded zero."""
    return "<0.1 %" if 0 < fraction < 0.0005 else f"{fraction * 100:.1f} %"


def _painted(labels: LabelMap, classes: Sequence[ClassInfo]) -> Pixels:
    """Every pixel in the colour of its class, with a line where two regions meet."""
    palette = np.array([class_colour(index, classes) for index in range(256)], dtype=np.uint8)
    painted = palette[labels]
    outline = _outline(labels, thickness=max(1, round(max(labels.shape) / 1000)))
    # A darker line, except where it would be lost: VOC paints the background black and a cat nearly so.
    painted[outline] = _LIGHT_LINE if painted.mean() < 48 else painted[outline] // 3
    return painted


def _outline(labels: LabelMap, thickness: int) -> NDArray[np.bool_]:
    """The pixels within `thickness` to the left of or above another class."""
    outline = np.zeros(labels.shape, dtype=np.bool_)
    for step in range(1, thickness + 1):
        outline[step:] |= labels[step:] != labels[:-step]
        outline[:, step:] |= labels[:, step:] != labels[:, :-step]
    return outline


@dataclass(frozen=True)
class _Entry:
    """One line of the legend."""

    colour: Colour
    name: str
    share: str


def _entry(share: ClassShare, classes: Sequence[ClassInfo]) -> _Entry:
    name = short_class_name(share.class_index, classes)
    return _Entry(class_colour(share.class_index, classes), name, percent(share.fraction))


class _Legend:
    """Entries in columns, read downwards; all lengths in pixels follow from the font size."""

    entries: list[_Entry]
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    row: int
    gap: int
    name_width: int
    share_width: int

    def __init__(self, entries: list[_Entry], font_size: int) -> None:
        self.entries = entries
        self.font = ImageFont.load_default(size=font_size)
        self.row, self.gap = round(font_size * 1.45), round(font_size * 0.6)
        self.name_width = max(self._width(entry.name) for entry in entries)
        self.share_width = max(self._width(entry.share) for entry in entries)

    def _width(self, text: str) -> int:
        return round(self.font.getlength(text) + 0.5)

    @property
    def column(self) -> int:
        """Width of a column with the gap to its right: square, name, share."""
        return self.row + self.name_width + self.gap + self.share_width + 2 * self.gap

    def size(self, columns: int) -> tuple[int, int]:
        """Width and height in so many columns, margins included."""
        return columns * self.column + self.gap, self.rows(columns) * self.row + 2 * self.gap

    def rows(self, columns: int) -> int:
        """Lines in the longest column."""
        return -(-len(self.entries) // columns)

    def draw(self, canvas: Image.Image, corner: tuple[int, int], columns: int) -> None:
        """Draw all entries with the panel's left upper corner at `corner` (x, y)."""
        pen = ImageDraw.Draw(canvas)
        for position, entry in enumerate(self.entries):
            column, line = divmod(position, self.rows(columns))
            x, y = corner[0] + self.gap + column * self.column, corner[1] + self.gap + line * self.row
            self._draw_entry(pen, x, y, entry)

    def _draw_entry(self, pen: ImageDraw.ImageDraw, x: int, y: int, entry: _Entry) -> None:
        middle, side = y + self.row // 2, round(self.row * 0.7)
        square = (x, middle - side // 2, x + side, middle - side // 2 + side)
        pen.rectangle(square, fill=entry.colour, outline=_FRAME, width=max(1, self.row // 24))
        pen.text((x + self.row, middle), entry.name, fill=_INK, font=self.font, anchor="lm")
        right = x + self.row + self.name_width + self.gap + self.share_width
        pen.text((right, middle), entry.share, fill=_INK, font=self.font, anchor="rm")


def _with_legend(picture: Image.Image, entries: list[_Entry]) -> Image.Image:
    width, height = picture.size
    legend = _Legend(entries, font_size=max(12, round((width * height) ** 0.5 / 45)))
    if width >= 1.5 * height:
        columns = min(len(entries), max(1, (width - legend.gap) // legend.column))
        panel_width, panel_height = legend.size(columns)
        corner, size = (0, height), (max(width, panel_width), height + panel_height)
    else:
        rows_that_fit = max(1, (height - 2 * legend.gap) // legend.row)
        # More than two columns would push a small photo aside; the panel is then higher than the photo.
        columns = min(2, -(-len(entries) // rows_that_fit))
        panel_width, panel_height = legend.size(columns)
        corner, size = (width, 0), (width + panel_width, max(height, panel_height))
    canvas = Image.new("RGB", size, _PANEL)
    canvas.paste(picture, (0, 0))
    legend.draw(canvas, corner, columns)
    return canvas
