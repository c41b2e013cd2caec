"""From an image to what a scanner would have sent: every symbol found, its place, and its AIM symbology identifier.

zxing-cpp reads; Pillow opens files. An image is looked at as it is first, and only if that shows nothing also
stretched, cleaned, turned and enlarged. Symbologies without a good check of their own (Codabar, Code 39, ITF and the
like) are not looked for, since noise reads as them; linear symbols have to be read alike twice. A damaged symbol is
not found, or right.

Pure but for `decode_folder`, which reads files.
"""

from collections.abc import Callable, Iterator
import math
from dataclasses import dataclass, replace
from datetime import date
from io import BytesIO
from pathlib import Path

import zxingcpp
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from ledger.errors import LedgerError, LimitExceeded, UnreadableCode
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
    zxingcpp.BarcodeFormat.QRCode,
    zxingcpp.BarcodeFormat.Aztec,
)

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
        return parse_symbol(self.scanned, today=today)


def decode_image(data: bytes) -> list[Seen]:
    """Every symbol in an image file (PNG, JPEG, WebP, BMP, GIF, TIFF, PNM; of several frames the first), top down.

    Empty if there is none. `UnreadableCode` for what is no image, or a broken one; `LimitExceeded` for a file of more
    than 32 MiB or a picture of more than 50 megapixels, before it is unpacked.
    """
    picture = _grey(_opened(data))
    found = _read(picture)
    if not found:
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
    """Grey with 8 bits: what is transparent becomes white, 16 bits are scaled and not clipped."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return ImageOps.autocontrast(_scaled(picture))
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("L")
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
    yield lambda: ImageOps.autocontrast(picture, cutoff=1)
    yield lambda: picture.filter(ImageFilter.MedianFilter(3))
    yield lambda: picture.filter(ImageFilter.UnsharpMask(3, 250, 0))
    yield lambda: picture.filter(ImageFilter.GaussianBlur(1.5))
    if width * height <= _TRY_PIXELS_MAX // 4:
        yield lambda: picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC)
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
    if linear:
        sure = _confirmed(picture, linear)
        found = [seen for seen in found if seen.format not in _LINEAR_NAMES] + sure
    return found if scale == 1.0 else [_scaled_back(seen, scale) for seen in found]


def _scaled_back(seen: Seen, scale: float) -> Seen:
    a, b, c, d = ((round(x / scale), round(y / scale)) for x, y in seen.corners)
    return replace(seen, corners=(a, b, c, d))


def _seen(picture: Image.Image, formats: tuple[zxingcpp.BarcodeFormat, ...]) -> list[Seen]:
    barcodes = zxingcpp.read_barcodes(picture, formats=formats, text_mode=zxingcpp.TextMode.Plain)
    return [
        Seen(
            one.bytes,
            one.text,
            one.symbology_identifier,
            str(one.format),
            tuple((point.x, point.y) for point in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)),
        )
        for one in barcodes
        if (at := one.position) and one.valid
    ]
