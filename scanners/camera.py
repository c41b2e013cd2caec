"""From an image to what a scanner would have sent: every symbol found, its place, and its AIM symbology identifier.

zxing-cpp reads; Pillow opens files. An image is looked at as it is first, and only if that shows nothing also
stretched, cleaned, turned and enlarged. Symbologies without a good check of their own (Codabar, Code 39, ITF, Micro QR,
Aztec runes) are not looked for, since noise and half a symbol read as them; linear symbols have to be read alike
several times. A damaged symbol is not found, or right.

Pure but for `decode_folder`, which reads files.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import zxingcpp
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from ledger.errors import LedgerError, LimitExceeded, UnreadableCode
from scanners.labels import ean
from scanners.symbols import Code, parse_symbol

FILE_BYTES_MAX, PIXELS_MAX = 32 << 20, 50_000_000
"""A 48-megapixel telephone's picture passes; one that unpacks to more does not."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_TRY_PIXELS_MAX = 2_000_000
"""What is tried again and again is first made this small."""

_LINEAR = (
    zxingcpp.BarcodeFormat.Code128,
    zxingcpp.BarcodeFormat.EAN13,
    zxingcpp.BarcodeFormat.EAN8,
    zxingcpp.BarcodeFormat.UPCA,
    zxingcpp.BarcodeFormat.DataBarOmni,
    zxingcpp.BarcodeFormat.DataBarStkOmni,
    zxingcpp.BarcodeFormat.DataBarExp,
    zxingcpp.BarcodeFormat.DataBarExpStk,
)
_MATRIX = (
    zxingcpp.BarcodeFormat.DataMatrix,
    zxingcpp.BarcodeFormat.QRCodeModel2,
    zxingcpp.BarcodeFormat.AztecCode,
)

_LINEAR_NAMES = frozenset(map(str, _LINEAR))
_THICK = 0.04
"""How much of its width the bars of a read are high at least: scratches read as something else are thin."""
_EAN_MODULE_PX_MIN = 1.4
"""With fewer pixels a module, one scratch makes another EAN with a right check digit; come nearer."""

Corner = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One symbol in an image.

    `content` is what it holds, `text` the same as characters; separators are real GS (0x1D), and there is no AIM
    identifier in either: that is `identifier` ("]d2"). `corners` are x and y in pixels of the upright image, from the
    symbol's own top left, clockwise.
    """

    content: bytes
    text: str
    identifier: str
    format: str
    corners: tuple[Corner, Corner, Corner, Corner]

    @property
    def scanned(self) -> str:
        """What a scanner that sends AIM identifiers would have sent."""
        return self.identifier + self.text

    def code(self, *, today: date) -> Code:
        """The code, by `parse_symbol`; it raises `Unreadable` where there is none that we know."""
        return parse_symbol(self.scanned, today=today, sends_fnc1=True)


def decode_image(data: bytes, *, again: bool = True) -> list[Seen]:
    """Every symbol in an image file (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM; of several frames the first), top down.

    Empty if there is none, or, where it is not to be looked at `again`, none at first sight. `UnreadableCode` for what
    is no image, or a broken one; `LimitExceeded` for a file of more than 32 MiB or a picture of more than 50
    megapixels, before it is unpacked.
    """
    picture = _grey(_opened(data))
    found = _read(picture)
    if not found and again:
        factor = min(1.0, (_TRY_PIXELS_MAX / (picture.width * picture.height)) ** 0.5)
        small = picture.resize((max(1, int(picture.width * factor)), max(1, int(picture.height * factor))))
        found = _tried_again(small, factor)
    return sorted(found, key=lambda seen: (min(y for _, y in seen.corners), min(x for x, _ in seen.corners)))


def decode_folder(path: Path) -> Iterator[tuple[Path, list[Seen] | str]]:
    """Each file in `path` and the folders below, by name, with what was seen in it or why it could not be read.

    Hidden files and links are passed over. `NotADirectoryError` or `FileNotFoundError` if `path` is no folder.
    """
    for file in sorted(path.iterdir()):
        if file.name.startswith(".") or file.is_symlink():
            continue
        if file.is_dir():
            yield from decode_folder(file)
        elif file.is_file():
            yield file, _decoded(file)


def _decoded(file: Path) -> list[Seen] | str:
    try:
        if (size := file.stat().st_size) > FILE_BYTES_MAX:
            return f"the file has {size} bytes; at most {FILE_BYTES_MAX} are read"
        return decode_image(file.read_bytes())
    except (LedgerError, OSError) as error:
        return str(error)


# --- Files -----------------------------------------------------------------------------------------------


def _opened(data: bytes) -> Image.Image:
    """The first frame, upright; its size is known and allowed before any pixel of it is unpacked."""
    if len(data) > FILE_BYTES_MAX:
        raise LimitExceeded(f"the image file has {len(data)} bytes; at most {FILE_BYTES_MAX} are read")
    shown = f"{len(data)} bytes"
    try:
        picture = Image.open(BytesIO(data), formats=_FORMATS)
        if picture.width * picture.height > PIXELS_MAX:
            raise LimitExceeded(f"the image has {picture.width} x {picture.height} pixels; at most {PIXELS_MAX}")
        picture.load()
        return ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LimitExceeded(f"the image has too many pixels; at most {PIXELS_MAX} are read") from error
    except UnidentifiedImageError:
        raise UnreadableCode("image", shown, f"it is none of {', '.join(_FORMATS)}") from None
    except LedgerError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise UnreadableCode("image", shown, f"it is broken: {error}") from error


def _grey(picture: Image.Image) -> Image.Image:
    """Grey with 8 bits: what is transparent becomes paper, 16 bits are scaled and not clipped."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return ImageOps.autocontrast(_scaled(picture))
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        on_white, on_black = (
            Image.alpha_composite(Image.new("RGBA", layers.size, paper), layers).convert("L")
            for paper in ("white", "black")
        )
        return on_white if len(set(on_white.getextrema())) > 1 else on_black
    return picture.convert("L")


def _scaled(picture: Image.Image) -> Image.Image:
    """A picture of deep pixels as 8 bits, from its darkest to its lightest."""
    deep = picture.convert("F")
    low, high = deep.getextrema()
    assert isinstance(low, float) and isinstance(high, float)
    factor = 255 / (high - low) if high > low else 0.0
    return deep.point(lambda value: value * factor - low * factor).convert("L")


# --- Reading ---------------------------------------------------------------------------------------------


def _tried_again(picture: Image.Image, factor: float) -> list[Seen]:
    """The symbols of the first of many views of the picture that shows any; corners as in the unscaled one."""
    for view in _views(picture):
        image = view()
        scale = factor * image.width / picture.width
        if found := _read(image, scale):
            return found
    return _turned(picture, factor)


def _views(picture: Image.Image) -> Iterator[Callable[[], Image.Image]]:
    """Ways to look again, cheapest first."""
    width, height = picture.size
    yield lambda: ImageOps.invert(picture)  # zxing-cpp itself inverts for matrix symbols only
    yield lambda: ImageOps.autocontrast(picture, cutoff=1)
    yield lambda: picture.filter(ImageFilter.MedianFilter(3))
    yield lambda: picture.filter(ImageFilter.UnsharpMask(3, 250, 0))
    yield lambda: picture.filter(ImageFilter.GaussianBlur(1.5))
    if width * height <= _TRY_PIXELS_MAX // 4:
        yield lambda: picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC)
    if width * height <= _TRY_PIXELS_MAX // 2:
        yield lambda: picture.resize((width * 3 // 2, height * 3 // 2), Image.Resampling.BICUBIC)
    yield lambda: picture.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BOX)


def _turned(picture: Image.Image, factor: float) -> list[Seen]:
    """As `_read`, of the picture turned step by step: linear symbols are only read nearly along or across."""
    picture = ImageOps.autocontrast(picture)
    for degrees in (45, 22, 67, 11, 34, 56, 79):
        turned = picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_paper(picture))
        if found := _read(turned):
            return [_turned_back(seen, degrees, turned.size, picture.size, factor) for seen in found]
    return []


def _paper(picture: Image.Image) -> int:
    """The colour of the picture's rim, so that turning adds no edges."""
    rim = picture.resize((16, 16), Image.Resampling.BOX).tobytes()
    return sorted(rim[:16] + rim[-16:] + rim[16:-16:16] + rim[31:-16:16])[30]


def _turned_back(seen: Seen, degrees: int, turned: Corner, size: Corner, factor: float) -> Seen:
    """Where in the unturned picture the corners are; `degrees` are counter-clockwise about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def back(corner: Corner) -> Corner:
        x, y = corner[0] - turned[0] / 2, corner[1] - turned[1] / 2
        return round((cos * x - sin * y + size[0] / 2) / factor), round((sin * x + cos * y + size[1] / 2) / factor)

    a, b, c, d = map(back, seen.corners)
    return replace(seen, corners=(a, b, c, d))


def _read(picture: Image.Image, scale: float = 1.0) -> list[Seen]:
    """What zxing-cpp reads; linear symbols only if other looks agree. Corners are divided by `scale`."""
    found = _seen(picture, (*_LINEAR, *_MATRIX))
    linear = [seen for seen in found if seen.format in _LINEAR_NAMES]
    sure = _agreed(picture, linear, scale) if linear else set()
    found = [seen for seen in found if seen.format not in _LINEAR_NAMES or seen in sure]
    return found if scale == 1.0 else [_scaled_back(seen, scale) for seen in found]


def _scaled_back(seen: Seen, scale: float) -> Seen:
    a, b, c, d = ((round(x / scale), round(y / scale)) for x, y in seen.corners)
    return replace(seen, corners=(a, b, c, d))


def _seen(picture: Image.Image, formats: tuple[zxingcpp.BarcodeFormat, ...]) -> list[Seen]:
    wanted = zxingcpp.BarcodeFormats(formats)
    return [
        Seen(one.bytes, one.text, one.symbology_identifier, str(one.format), _corners(one.position))
        for one in zxingcpp.read_barcodes(picture, formats=wanted, text_mode=zxingcpp.TextMode.Plain)
    ]


def _corners(at: zxingcpp.Position) -> tuple[Corner, Corner, Corner, Corner]:
    return (
        (at.top_left.x, at.top_left.y),
        (at.top_right.x, at.top_right.y),
        (at.bottom_right.x, at.bottom_right.y),
        (at.bottom_left.x, at.bottom_left.y),
    )


# --- Linear symbols: read alike, and drawn alike ------------------------------------------------------------


def _agreed(picture: Image.Image, linear: list[Seen], scale: float) -> set[Seen]:
    """Those of `linear` that can be relied on; one for each content and place.

    A scratch across all bars can turn one EAN into another with a right check digit. So a read counts only if a good
    part of the bars' height shows it, two of four other looks show it too, in none another read lies on it, and the
    bars in the picture, measured anew, are those of the code (EAN) or of a code with a right check (Code 128).
    """
    looks = [_thick(linear), *(_thick(_seen(view, _LINEAR)) for view in _other_looks(picture))]
    sure: dict[str, Seen] = {}
    for seen in sorted(_thick(linear), key=_height):
        same = [[other for other in look if other.scanned == seen.scanned] for look in looks]
        doubted = any(
            other.scanned != mine.scanned and _overlap(other, mine)
            for look, found in zip(looks, same, strict=True)
            for mine in found
            for other in look
        )
        if sum(map(bool, same[1:])) >= 2 and not doubted and _drawn_as_read(picture, seen, scale):
            sure[seen.scanned] = seen
    return {*sure.values()}


def _other_looks(picture: Image.Image) -> Iterator[Image.Image]:
    yield picture.filter(ImageFilter.GaussianBlur(0.8))
    yield picture.filter(ImageFilter.UnsharpMask(2, 150, 0))
    yield picture.rotate(-2, Image.Resampling.BICUBIC, expand=True, fillcolor=_paper(picture))
    width, height = picture.size
    if width * height <= _TRY_PIXELS_MAX:
        yield picture.resize((width * 3 // 2, height * 3 // 2), Image.Resampling.BICUBIC)
    else:
        yield picture.resize((width * 3 // 4, height * 3 // 4), Image.Resampling.BOX)


def _height(seen: Seen) -> float:
    """How far along the bars the read reaches, in pixels."""
    a, b, c, d = seen.corners
    return (math.dist(a, d) + math.dist(b, c)) / 2


def _thick(found: list[Seen]) -> list[Seen]:
    return [seen for seen in found if _height(seen) >= _THICK * math.dist(seen.corners[0], seen.corners[1])]


def _overlap(one: Seen, other: Seen) -> bool:
    """Whether the boxes around two reads meet, each a tenth of its width larger than it is."""
    return all(
        min(corner[axis] for corner in a.corners) - _grown(a) <= max(corner[axis] for corner in b.corners) + _grown(b)
        for a, b in ((one, other), (other, one))
        for axis in (0, 1)
    )


def _grown(seen: Seen) -> float:
    return math.dist(seen.corners[0], seen.corners[1]) / 20


def _drawn_as_read(picture: Image.Image, seen: Seen, scale: float) -> bool:
    """Whether the middles of the modules are dark and light as they have to be, from one end or the other."""
    line = _line(picture, seen)
    if seen.identifier.startswith("]E"):
        (expected,) = ean(seen.text).modules
        if math.dist(seen.corners[0], seen.corners[1]) < _EAN_MODULE_PX_MIN * scale * len(expected):
            return False
        return any(
            min(_differences(profile, expected), _differences(profile, expected[::-1])) == 0
            for profile in _profiles(line, len(expected))
        )
    if seen.identifier.startswith("]C"):
        least, most = len(seen.text) // 2 + 3, 2 * len(seen.text) + 4
        return any(
            _is_code128(bits) or _is_code128(bits[::-1])
            for characters in range(least, most)
            for profile in _profiles(line, 11 * characters + 2)
            if (bits := _bits(profile))
        )
    return True


_CODE_128 = """
    212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132
    122231 113222 123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212
    322112 322211 212123 212321 232121 111323 131123 131321 112313 132113 132311 211313 231113 231311
    112133 112331 132131 113123 113321 133121 313121 211331 231131 213113 213311 213131 311123 311321
    331121 312113 312311 332111 314111 221411 431111 111224 111422 121124 121421 141122 141221 112214
    112412 122114 122411 142112 142211 241211 221114 413111 241112 134111 111242 121142 121241 114212
    124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113 114311 411113
    411311 113141 114131 311141 411131 211412 211214 211232
""".split()
"""ISO/IEC 15417: the widths of bars and spaces of the values 0 to 105; the last three are the starts."""


@lru_cache(maxsize=1)
def _code128_values() -> dict[str, int]:
    return {"".join("10"[i % 2] * int(w) for i, w in enumerate(widths)): i for i, widths in enumerate(_CODE_128)}


def _is_code128(bits: str) -> bool:
    """Whether every eleven modules are a character, the first a start, the last a stop, and the check is right."""
    if bits[-13:] != "1100011101011":
        return False
    values = [_code128_values().get(bits[i : i + 11]) for i in range(0, len(bits) - 13, 11)]
    known = [value for value in values if value is not None]
    if len(known) < max(3, len(values)) or known[0] < 103 or max(known[1:]) > 102:
        return False
    return (known[0] + sum(i * value for i, value in enumerate(known[1:-1], 1))) % 103 == known[-1]


def _bits(profile: list[float]) -> str:
    middle = (min(profile) + max(profile)) / 2
    return "".join("1" if value < middle else "0" for value in profile)


def _profiles(line: list[float], modules: int) -> Iterator[list[float]]:
    """The brightness of each module's middle, with the ends where they were found and half a module off."""
    half = 0.5 / modules
    for start in (0.0, -half, half):
        for end in (1.0, 1.0 - half, 1.0 + half):
            places = (start + (end - start) * (i + 0.5) / modules for i in range(modules))
            yield [line[min(max(int(place * len(line)), 0), len(line) - 1)] for place in places]


def _line(picture: Image.Image, seen: Seen) -> list[float]:
    """The brightness along the symbol, two values a pixel, summed over five lines from top to bottom."""
    a, b, c, d = seen.corners
    count = max(2, round(2 * math.dist(a, b)))
    line = [0.0] * count
    for down in (0.1, 0.3, 0.5, 0.7, 0.9):
        left, right = _between(a, d, down), _between(b, c, down)
        for i in range(count):
            x, y = _between(left, right, (i + 0.5) / count)
            pixel = picture.getpixel((min(max(int(x), 0), picture.width - 1), min(max(int(y), 0), picture.height - 1)))
            assert isinstance(pixel, int)
            line[i] += pixel
    return line


def _differences(profile: list[float], expected: bytes) -> int:
    dark = [value for value, bar in zip(profile, expected, strict=True) if bar]
    light = [value for value, bar in zip(profile, expected, strict=True) if not bar]
    middle = (sum(dark) / len(dark) + sum(light) / len(light)) / 2
    return sum((value < middle) != bool(bar) for value, bar in zip(profile, expected, strict=True))


def _between(a: tuple[float, float], b: tuple[float, float], part: float) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part
