"""Pictures of results: boxes over a photo, each with its class and score."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .answers import ScoredBox
from .images import Pixels
from .manifest import ClassInfo
from .pictures import Colour, class_colour, short_class_name

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_MIN_LONGER_SIDE = 480  # pixels: smaller photos are enlarged by a whole factor, so that the text on them can be read
_MIN_FONT_SIZE = 13

Rectangle = tuple[int, int, int, int]


def boxes_over(photo: Pixels, boxes: Sequence[ScoredBox], classes: Sequence[ClassInfo]) -> Image.Image:
    """The photo with every box in the colour of its class, its name and score; small photos are enlarged.

    Args:
        photo: RGB, (H, W, 3) uint8.
        boxes: in pixels of the photo, the best first; it is drawn last, on top.
        classes: names and colours; a class beyond them is called "class 7" and gets a colour of its own.
    """
    height, width = photo.shape[:2]
    factor = -(-_MIN_LONGER_SIDE // max(height, width))
    canvas = Image.fromarray(photo).resize((factor * width, factor * height), Image.Resampling.BICUBIC)
    pen = _Pen(canvas)
    placed: list[tuple[ScoredBox, Rectangle]] = []
    for box in boxes:
        edges = _edges(box, factor, canvas.size)
        # The best choose their places first.
        place = pen.place(_label(box, classes), edges, [taken for _, taken in placed])
        placed.append((box, place))
    for box, _ in reversed(placed):
        pen.frame(_edges(box, factor, canvas.size), class_colour(box.class_index, classes))
    for box, place in reversed(placed):
        pen.label(_label(box, classes), place, class_colour(box.class_index, classes))
    return canvas


def _label(box: ScoredBox, classes: Sequence[ClassInfo]) -> str:
    return f"{short_class_name(box.class_index, classes)} {box.score:.2f}"


def _edges(box: ScoredBox, factor: int, size: tuple[int, int]) -> Rectangle:
    """Left, top, right, bottom of the part of the box that lies on a canvas of `size` (width, height)."""
    xs = (min(max(round(factor * x), 0), size[0] - 1) for x in (box.left, box.right))
    ys = (min(max(round(factor * y), 0), size[1] - 1) for y in (box.top, box.bottom))
    (left, right), (top, bottom) = sorted(xs), sorted(ys)
    return left, top, right, bottom


@dataclass
class _Pen:
    """Draws on a canvas; all lengths in pixels follow from its size."""

    canvas: Image.Image

    def __post_init__(self) -> None:
        width, height = self.canvas.size
        font_size = max(_MIN_FONT_SIZE, round((width * height) ** 0.5 / 45))
        self._draw = ImageDraw.Draw(self.canvas)
        self._font = ImageFont.load_default(size=font_size)
        self._line = max(2, round(font_size / 7))
        self._margin = max(2, font_size // 5)
        self._side_margin = max(3, font_size // 3)
        self._row = round(font_size * 1.25) + 2 * self._margin

    def place(self, text: str, edges: Rectangle, taken: Sequence[Rectangle]) -> Rectangle:
        """Where a label goes: above its box, else inside at its top, below, inside at its bottom; free if possible."""
        width, height = self.canvas.size
        text_width = round(self._font.getlength(text) + 0.5) + 2 * self._side_margin
        left, top, _, bottom = edges
        x = max(0, min(left, width - text_width))
        tops = [max(0, min(y, height - self._row)) for y in (top - self._row, top, bottom, bottom - self._row)]
        places = [(x, y, x + text_width, y + self._row) for y in tops]
        return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])

    def frame(self, edges: Rectangle, colour: Colour) -> None:
        """The outline of a box, between two thin lines that set it off from any photo."""
        rim = _ink_on(colour)
        self._draw.rectangle(edges, outline=rim, width=self._line + 2)
        left, top, right, bottom = edges
        if right - left > 2 and bottom - top > 2:
            self._draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline=colour, width=self._line)

    def label(self, text: str, place: Rectangle, colour: Colour) -> None:
        """The name on a plate of the class's colour."""
        ink = _ink_on(colour)
        self._draw.rectangle(place, fill=colour, outline=ink, width=1)
        middle = (place[1] + place[3]) // 2
        self._draw.text((place[0] + self._side_margin, middle), text, fill=ink, font=self._font, anchor="lm")


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on `colour`."""
    red, green, blue = colour
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else _WHITE
