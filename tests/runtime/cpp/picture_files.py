"""Picture files of every kind that the C++ tools read."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 21, 30  # no whole number of JPEG blocks in either direction


def write_all(folder: Path) -> list[Path]:
    """One file of each kind in `folder`."""
    folder.mkdir()
    paths = []
    for name, content in all_files():
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


def all_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of one file of each kind."""
    yield from _png_files()
    yield from _jpeg_files()
    yield from _pnm_files()
    yield from _turned_files()


def colours() -> np.ndarray:
    """(H, W, 3) uint8: slopes with grain, so that every filter, predictor and upsampling has something to do."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    slopes = np.stack([8 * x, 11 * y, 255 - 4 * (x + y)], axis=-1)
    grain = np.random.default_rng(0).integers(-20, 21, slopes.shape)
    return np.clip(slopes + grain, 0, 255).astype(np.uint8)


def png(depth: int, kind: int, rows: bytes, *, size: tuple[int, int], chunks: bytes = b"", interlace: int = 0) -> bytes:
    """A PNG file of (height, width) pixels from rows that begin with their filter's number."""
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, kind, 0, 0, interlace)
    content = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png_files() -> Iterator[tuple[str, bytes]]:
    rgb = colours()
    image, grey, alpha = Image.fromarray(rgb), Image.fromarray(rgb[..., 0]), rgb[..., 1:2]
    yield "rgb.png", _saved(image, "PNG")
    yield "rgba.png", _saved(Image.fromarray(np.dstack([rgb, alpha])), "PNG")
    yield "rgb-transparent-colour.png", _saved(image, "PNG", transparency=tuple(map(int, rgb[0, 0])))
    yield "1.png", _saved(grey.convert("1"), "PNG")
    yield "l.png", _saved(grey, "PNG")
    yield "l-transparent-level.png", _saved(grey, "PNG", transparency=int(rgb[0, 0, 0]))
    yield "la.png", _saved(Image.fromarray(np.dstack([rgb[..., :1], alpha])), "PNG")
    for colours_used in (2, 4, 16, 200):
        palette = image.quantize(colours_used)
        yield f"p-{colours_used}.png", _saved(palette, "PNG")
        transparency = bytes(range(colours_used))
        yield f"p-{colours_used}-transparent.png", _saved(palette, "PNG", transparency=transparency)
    yield "i16.png", _saved(Image.fromarray(rgb[..., 0].astype(np.uint16) * 256 + rgb[..., 1]), "PNG")
    yield (
        "i16-transparent-level.png",
        png(16, 0, b"\0\x12\x34\xff\xff", size=(1, 2), chunks=chunk(b"tRNS", b"\x12\x34")),
    )
    yield from _png_depths()
    palette_of_two = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    yield "p-beyond-the-palette.png", png(8, 3, bytes([0, 0, 1, 2, 200]), size=(1, 4), chunks=palette_of_two)
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"sBIT", b"\5\5\5")
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    yield "gamma.png", png(8, 2, rows, size=(HEIGHT, WIDTH), chunks=gamma)


def _png_depths() -> Iterator[tuple[str, bytes]]:
    """Every pair of depth and kind of pixel, plain and interlaced (Adam7), with random bits."""
    generator = np.random.default_rng(1)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    for kind, of_kind in depths.items():
        palette = chunk(b"PLTE", generator.bytes(768)) if kind == 3 else b""
        for depth in of_kind:
            used = palette if kind != 3 else chunk(b"PLTE", generator.bytes(3 << depth))
            for interlace in (0, 1):
                passes = steps if interlace else [(0, 0, 1, 1)]
                rows = b""
                for top, left, down, along in passes:
                    height, width = len(range(top, HEIGHT, down)), len(range(left, WIDTH, along))
                    bits = width * channels[kind] * depth
                    filters = generator.integers(0, 5, height)
                    rows += b"".join(bytes([f]) + generator.bytes(-(-bits // 8)) for f in filters.tolist())
                name = f"kind{kind}-depth{depth}{'-interlaced' * interlace}.png"
                yield name, png(depth, kind, rows, size=(HEIGHT, WIDTH), chunks=used, interlace=interlace)


def _jpeg_files() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(colours())
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        for quality in (30, 95):
            options = {"subsampling": subsampling, "quality": quality}
            yield f"{name}-{quality}.jpg", _saved(image, "JPEG", **options)
            yield f"{name}-{quality}-progressive.jpg", _saved(image, "JPEG", progressive=True, **options)
    yield "440.jpg", _with_sampling(_saved(image, "JPEG", subsampling=1), 0x12)
    yield "rgb.jpg", _saved(image, "JPEG", keep_rgb=True)
    yield "restarts.jpg", _saved(image, "JPEG", restart_marker_blocks=2)
    yield "grey.jpg", _saved(image.convert("L"), "JPEG")
    yield "cmyk.jpg", _saved(image.convert("CMYK"), "JPEG", quality=90)
    noise = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    yield "cmyk-noise.jpg", _saved(Image.fromarray(noise, "CMYK"), "JPEG", quality=100)
    yield "one-pixel.jpg", _saved(image.crop((0, 0, 1, 1)), "JPEG")
    yield "png-under-a-wrong-name.jpg", _saved(image, "PNG")


def _with_sampling(jpeg: bytes, luminance: int) -> bytes:
    """The file with other sampling factors of the first component, and so with the blocks of 422 in other places."""
    at = jpeg.index(b"\xff\xc0") + 11
    assert jpeg[at] == 0x21
    return jpeg[:at] + bytes([luminance]) + jpeg[at + 1 :]


def _pnm_files() -> Iterator[tuple[str, bytes]]:
    rgb, generator = colours(), np.random.default_rng(3)
    size = f"{WIDTH} {HEIGHT}".encode()
    for maxval in (1, 7, 100, 254, 255, 256, 1000, 4095, 65534, 65535):
        kind = np.dtype(">u2" if maxval > 255 else "u1")
        for magic, channels in ((b"P5", 1), (b"P6", 3)):
            values = generator.integers(0, maxval + 1, (HEIGHT, WIDTH, channels)).astype(kind)
            values[0, 0] = np.iinfo(kind).max  # more than the header allows
            name = f"{maxval}.{'pgm' if channels == 1 else 'ppm'}"
            yield name, magic + b"\n%s\n%d\n" % (size, maxval) + values.tobytes()
    yield "comments.ppm", b"P6 # made\n#by hand\r%d\n# and \n\t%d 25#5\n5\n" % (WIDTH, HEIGHT) + rgb.tobytes()
    yield "more-behind.pgm", b"P5\n%s\n255\n" % size + rgb[..., 0].tobytes() + b"more"


def _turned_files() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(colours())
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        exif[0x0112] = orientation
        yield f"turned-{orientation}.jpg", _saved(image, "JPEG", exif=exif)
        yield f"turned-{orientation}.png", _saved(image, "PNG", exif=exif)
    entry = struct.pack(">HHII", 0x0112, 4, 1, 6)
    big_endian = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    yield "turned-big-endian-long.jpg", _saved(image, "JPEG", exif=big_endian)
    two = b"Exif\0\0II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 2, 6, 6) + bytes(4)
    yield "turned-by-two-values.jpg", _saved(image, "JPEG", exif=two)
    cut_off = b"Exif\0\0II*\0" + struct.pack("<IHHH", 8, 900, 0x0112, 3)
    yield "turned-by-half-an-entry.jpg", _saved(image, "JPEG", exif=cut_off)
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" />'
    yield "turned-by-xmp.jpg", _saved(image, "JPEG", xmp=xmp)
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>8</tiff:Orientation>")
    rows = b"".join(b"\0" + row.tobytes() for row in colours())
    yield "turned-by-xmp.png", png(8, 2, rows, size=(HEIGHT, WIDTH), chunks=text)
    late = png(8, 2, rows, size=(HEIGHT, WIDTH))
    exif_chunk = chunk(b"eXIf", b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 5, 0) + bytes(4))
    yield "turned-behind-the-pixels.png", late[:-12] + exif_chunk + late[-12:]
