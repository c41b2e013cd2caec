"""Images: what a camera makes of a symbol is read rightly, or not at all; what is no image is said to be none."""

import math
import random
import struct
import zlib
from datetime import date
from io import BytesIO
from pathlib import Path

import barcode
import pytest
import qrcode
from barcode.writer import ImageWriter
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from ledger.errors import LimitExceeded, UnreadableCode
from ledger.gs1 import check_digit
from scanners.camera import PIXELS_MAX, Seen, decode_folder, decode_image
from scanners.labels import Symbol, code128, datamatrix, ean, gs1_128, qr
from scanners.symbols import Reading, Unreadable

TODAY = date(2026, 11, 25)
TRACE, DRUG = "35010200100000012345", "81234567890123456789"
SYMBOLS: dict[str, Symbol] = {
    "datamatrix": datamatrix("(01)06901234567892(17)281231(10)LOT1(21)AbC9zY"),
    "gs1_128": gs1_128("(01)06901234567892(10)LOT1"),
    "code128": code128(DRUG),
    "qr": qr(f"https://suyuan.example/t/{TRACE}"),
    "ean13": ean("6901234567892"),
    "ean8": ean("69012341"),
}


def picture(symbol: Symbol, module_px: int = 4, margin_px: int = 60) -> Image.Image:
    """The symbol on white paper, as a flat-bed scanner would see it."""
    return ImageOps.expand(Image.open(BytesIO(symbol.png(module_px=module_px, caption=False))), margin_px, 255)


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noisy(image: Image.Image, sigma: float, seed: int = 1) -> Image.Image:
    dice = random.Random(seed)
    return Image.frombytes(
        "L", image.size, bytes(min(255, max(0, p + int(dice.gauss(0, sigma)))) for p in image.tobytes())
    )


def skewed(image: Image.Image, part: float) -> Image.Image:
    """Seen from the side: the right edge is `part` shorter than the left."""
    w, h = image.size
    return image.transform((w, h), Image.Transform.QUAD, (0, 0, 0, h, w, h + h * part, w, -h * part),
                           Image.Resampling.BICUBIC, fillcolor=255)  # fmt: skip


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(BytesIO(file(image, "JPEG", quality=quality)))


CONDITIONS = {
    "clean": lambda image: image,
    "noise": lambda image: noisy(image, 40),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "low contrast": lambda image: image.point([110 + value // 12 for value in range(256)]),
    "dark": lambda image: image.point([value // 10 for value in range(256)]),
    "inverse": ImageOps.invert,
    "inverse, turned": lambda image: ImageOps.invert(image.rotate(90, expand=True, fillcolor=255)),
    "from the side": lambda image: skewed(image, 0.12),
    "a poor JPEG": lambda image: jpeg(image, 15),
    "upside down": lambda image: image.rotate(180),
    "uneven light": lambda image: ImageChops.multiply(
        image,
        ImageOps.expand(Image.linear_gradient("L").resize(image.size), 0).point(
            [90 + v * 165 // 255 for v in range(256)]
        ),
    ),
    "all at once": lambda image: jpeg(noisy(skewed(image.rotate(7, expand=True, fillcolor=255), 0.05), 15), 60),
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("name", SYMBOLS)
def test_symbols_are_read_as_cameras_see_them(name: str, condition: str) -> None:
    symbol = SYMBOLS[name]
    (seen,) = decode_image(file(CONDITIONS[condition](picture(symbol))))
    assert (seen.identifier, seen.text, seen.content) == (symbol.identifier, symbol.content, symbol.content.encode())


@pytest.mark.parametrize("degrees", range(-165, 180, 15))
@pytest.mark.parametrize("name", ["datamatrix", "qr", "code128", "ean13"])
def test_symbols_are_read_at_any_angle_and_in_their_place(name: str, degrees: int) -> None:
    """The corners lie on the symbol's own, in the picture that was given."""
    symbol = SYMBOLS[name]
    flat = picture(symbol)
    turned = flat.rotate(degrees + 4, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    (seen,) = decode_image(file(turned))
    assert seen.scanned == symbol.identifier + symbol.content
    x = sum(corner[0] for corner in seen.corners) / 4
    y = sum(corner[1] for corner in seen.corners) / 4
    assert math.dist((x, y), (turned.width / 2, turned.height / 2)) < 0.12 * flat.width
    side = math.dist(seen.corners[0], seen.corners[1])
    assert 0.85 < side / (len(symbol.modules[0]) * 4) < 1.25, "a scan line across tilted bars is longer"


DAMAGED = 25


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_damaged_symbol_is_read_rightly_or_not_at_all(name: str) -> None:
    dice, right = random.Random(name), 0
    for _ in range(DAMAGED):
        symbol = another(name, dice)
        image = damaged(picture(symbol, dice.randint(2, 4), 20), dice)
        found = decode_image(file(image, compress_level=1))
        assert [seen.scanned for seen in found] in ([], [symbol.identifier + symbol.content])
        right += bool(found)
    assert right >= DAMAGED // 10, "most would be unreadable, and the test would prove nothing"


def another(name: str, dice: random.Random) -> Symbol:
    def digits(count: int) -> str:
        return "".join(dice.choices("0123456789", k=count))

    gtin = "0" + digits(12)
    gtin += check_digit(gtin)
    match name:
        case "ean13":
            return ean(gtin[1:])
        case "ean8":
            seven = digits(7)
            return ean(seven + check_digit(seven))
        case "code128":
            return code128(digits(20))
        case "qr":
            return qr(f"https://suyuan.example/t/{digits(20)}")
        case "gs1_128":
            return gs1_128([("01", gtin), ("10", digits(6))])
    return datamatrix([("01", gtin), ("21", digits(12))])


def damaged(image: Image.Image, dice: random.Random) -> Image.Image:
    """Scratches across all bars, blots, tears, and a wipe of fat."""
    width, height = image.size
    for _ in range(dice.randint(1, 4)):
        draw, colour = ImageDraw.Draw(image), dice.choice((0, 128, 255))
        x, y = dice.randint(0, width), dice.randint(0, height)
        match dice.randint(0, 3):
            case 0:
                draw.line((x, 0, x + dice.randint(-20, 20), height), fill=colour, width=dice.randint(1, 8))
            case 1:
                draw.ellipse((x, y, x + dice.randint(5, 50), y + dice.randint(5, 50)), fill=colour)
            case 2:
                draw.rectangle((x, 0, x + dice.randint(2, 25), height), fill=colour)
            case 3:
                image = image.filter(ImageFilter.GaussianBlur(dice.random() * 3))
    return image


def test_noise_and_pictures_without_a_symbol_show_nothing() -> None:
    for seed in range(4):
        assert decode_image(file(noisy(Image.new("L", (300, 200), 128), 80, seed))) == []
    stripes = Image.new("L", (400, 200), 255)
    for x in range(0, 400, 6):
        ImageDraw.Draw(stripes).line((x, 0, x, 200), fill=0, width=3)
    assert decode_image(file(stripes)) == []
    for colour in (0, 127, 255):
        assert decode_image(file(Image.new("L", (50, 50), colour))) == []
    assert decode_image(file(Image.new("L", (1, 1)))) == []


def test_several_symbols_of_one_picture_are_found_with_their_places() -> None:
    paper = Image.new("L", (900, 900), 255)
    for number, name in enumerate(("datamatrix", "code128", "qr")):
        paper.paste(picture(SYMBOLS[name], 3, 20), (10, 10 + number * 280))
    seen = decode_image(file(paper))
    assert [one.format for one in seen] == ["Data Matrix", "Code 128", "QR Code"]
    assert [min(y for _, y in one.corners) // 280 for one in seen] == [0, 1, 2]


def test_the_same_label_twice_is_seen_twice_when_it_is_a_matrix() -> None:
    paper = Image.new("L", (700, 300), 255)
    for x in (0, 350):
        paper.paste(picture(SYMBOLS["qr"], 4, 30), (x, 20))
    assert len(decode_image(file(paper))) == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_each_kind_of_file_is_read(kind: str) -> None:
    assert decode_image(file(picture(SYMBOLS["datamatrix"]), kind))[0].identifier == "]d2"


MODES = {
    "one bit": lambda image: image.convert("1"),
    "palette": lambda image: image.convert("P"),
    "colour": lambda image: ImageOps.colorize(image, "#003060", "#ffd0a0"),
    "four inks": lambda image: image.convert("CMYK"),
    "16 bits": lambda image: image.convert("I;16").point(lambda value: value * 200 + 0),
    "16 bits, dark": lambda image: image.convert("I;16").point(lambda value: value * 2 + 500),
    "black on nothing": lambda image: Image.merge("LA", (Image.new("L", image.size, 0), ImageOps.invert(image))),
    "white on nothing": lambda image: Image.merge("LA", (Image.new("L", image.size, 255), ImageOps.invert(image))),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_kind_of_pixel_is_read(mode: str) -> None:
    image = MODES[mode](picture(SYMBOLS["qr"]))
    kind = "TIFF" if image.mode in ("CMYK", "I;16") else "PNG"
    assert [seen.text for seen in decode_image(file(image, kind))] == [SYMBOLS["qr"].content]


def test_a_photograph_held_sideways_is_read_upright() -> None:
    """EXIF says which way is up; the corners are those of the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = picture(SYMBOLS["code128"])
    (seen,) = decode_image(file(wide, "JPEG", quality=90, exif=exif))
    assert seen.text == DRUG and max(x for x, _ in seen.corners) < wide.height


def test_a_large_photograph_with_a_small_symbol_is_read() -> None:
    paper = Image.new("L", (4000, 3000), 200)
    paper.paste(picture(SYMBOLS["datamatrix"], 5), (3000, 2200))
    (seen,) = decode_image(file(paper, "JPEG", quality=80))
    assert all(3000 < x < 3400 and 2200 < y < 2600 for x, y in seen.corners)


def test_symbols_of_other_encoders_are_read() -> None:
    """qrcode and python-barcode know nothing of zint."""
    link = f"https://suyuan.example/t/{TRACE}"
    made = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_H, border=4)
    made.add_data(link)
    assert [seen.scanned for seen in decode_image(file(made.make_image().get_image().convert("L")))] == [f"]Q1{link}"]
    for kind, text, sent in (("ean13", "6901234567892", "]E06901234567892"), ("code128", TRACE, f"]C0{TRACE}")):
        image = barcode.get(kind, text, writer=ImageWriter()).render({"write_text": False})
        assert [seen.scanned for seen in decode_image(file(image))] == [sent]
    image = barcode.get("gs1_128", "010690123456789210LOT1", writer=ImageWriter()).render({"write_text": False})
    assert [seen.scanned for seen in decode_image(file(image))] == ["]C1010690123456789210LOT1"]


# --- From what is seen to a code --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [
        ("datamatrix", Reading.PACK, "01/06901234567892/21/AbC9zY"),
        ("gs1_128", Reading.LOT, "01/06901234567892/10/LOT1"),
        ("code128", Reading.DRUG, f"urn:suyuan:drug:{DRUG}"),
        ("ean13", Reading.PRODUCT, "01/06901234567892"),
        ("ean8", Reading.PRODUCT, "01/00000069012341"),
    ],
)
def test_what_is_seen_becomes_a_code(name: str, kind: Reading, key: str) -> None:
    code = decode_image(file(picture(SYMBOLS[name])))[0].code(today=TODAY)
    assert (code.kind, code.key, code.symbology) == (kind, key, SYMBOLS[name].identifier)


def test_a_symbol_that_holds_no_code_is_refused_by_parse_symbol() -> None:
    (seen,) = decode_image(file(picture(qr("hello"))))
    with pytest.raises(Unreadable):
        seen.code(today=TODAY)


# --- What is no image ---------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is enormous."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "size", [(7100, 7100), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (PIXELS_MAX + 1, 1)]
)
def test_a_bomb_is_refused_before_it_is_unpacked(size: tuple[int, int]) -> None:
    with pytest.raises(LimitExceeded, match="pixels"):
        decode_image(bomb(*size))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="bytes"):
        decode_image(bytes((32 << 20) + 1))
    with (tmp_path / "large.png").open("wb") as large:
        large.truncate(5 << 30)
    assert [str(found)[:22] for _, found in decode_folder(tmp_path)] == ["the file has 536870912"]


GOOD = file(picture(SYMBOLS["qr"]))
GARBAGE = {
    "nothing": b"",
    "text": b"not an image",
    "a PDF": b"%PDF-1.7\n",
    "an SVG": SYMBOLS["qr"].svg().encode(),
    "EPS, which would start a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "half a PNG": GOOD[: len(GOOD) // 2],
    "a broken PNG": GOOD[:60] + b"\x00" * 40 + GOOD[100:],
    "half a JPEG": file(picture(SYMBOLS["qr"]), "JPEG")[:1500],
    "a PNG of no pixels": bomb(0, 0),
    "a PNG that is too short": bomb(3000, 3000),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_said_to_be_no_image(name: str) -> None:
    with pytest.raises(UnreadableCode, match="is not a image"):
        decode_image(GARBAGE[name])


def test_any_changed_bytes_are_refused_or_read_rightly() -> None:
    dice = random.Random(7)
    for original in (GOOD, file(picture(SYMBOLS["qr"]), "JPEG"), file(picture(SYMBOLS["qr"]), "GIF")):
        for _ in range(40):
            data = bytearray(original)
            for _ in range(dice.randint(1, 5)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            try:
                found = decode_image(bytes(data))
            except (UnreadableCode, LimitExceeded):
                continue
            assert {seen.text for seen in found} <= {SYMBOLS["qr"].content}


def test_a_folder_is_read_file_by_file_with_the_reason_for_each_that_fails(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(GOOD)
    (tmp_path / "a.txt").write_bytes(b"text")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.png").write_bytes(file(picture(SYMBOLS["ean13"])))
    (tmp_path / ".hidden.png").write_bytes(GOOD)
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    found = {str(path.relative_to(tmp_path)): seen for path, seen in decode_folder(tmp_path)}
    assert [*found] == ["a.txt", "b.png", "deeper/c.png"]
    assert isinstance(found["a.txt"], str) and "is not a image" in found["a.txt"]
    assert [seen.text for seen in found["b.png"] if isinstance(seen, Seen)] == [SYMBOLS["qr"].content]
    assert [seen.text for seen in found["deeper/c.png"] if isinstance(seen, Seen)] == ["6901234567892"]
    with pytest.raises(FileNotFoundError):
        [*decode_folder(tmp_path / "nowhere")]
