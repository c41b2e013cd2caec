"""The terminal page with a camera, and its slips on paper: a browser whose camera sees a film that the test made."""

import contextlib
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pypdfium2
from PIL import Image
from playwright.sync_api import Browser, expect

from ledger.access import Role
from scanners.camera import decode_image
from scanners.labels import Symbol, code128, datamatrix
from tests.browser import DESK, PHONE, Visitor, Visitors, browser, visitors
from tests.test_access import server
from tests.test_http import Server
from tests.test_packs import CORNER, City
from tests.test_pages import PACK, drugs, key_of, market, sales, says, stall
from tests.test_scans import MARKET, STALL, opened

__all__ = ["browser", "drugs", "market", "server", "visitors"]
SIZE = (640, 480)
FRAMES = 5


def picture(symbol: Symbol | None, module_px: int = 3) -> Image.Image:
    """A label held before a camera, or an empty counter."""
    frame = Image.new("L", SIZE, 190)
    if symbol is not None:
        label = Image.open(BytesIO(symbol.png(module_px=module_px))).convert("L")
        frame.paste(label, ((SIZE[0] - label.width) // 2, (SIZE[1] - label.height) // 2))
    return frame


def film(path: Path, frame: Image.Image) -> Path:
    """The same picture again and again, as YUV4MPEG2."""
    colourless = bytes([128]) * (SIZE[0] * SIZE[1] // 2)
    head = f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F10:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + b"".join(b"FRAME\n" + frame.tobytes() + colourless for _ in range(FRAMES)))
    return path


@contextlib.contextmanager
def seeing(browser: Browser, server: Server, seen: Path) -> Iterator[Visitors]:
    """Browsers whose camera sees that film. At the end none of their pages has complained."""
    with browser.browser_type.launch(executable_path=shutil.which("chromium"), args=[
        "--no-sandbox", "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={seen}",
    ]) as other:  # fmt: skip
        found = Visitors(other, server.url)
        yield found
        found.leave()
    assert found.told_on() == []


def till(visitors: Visitors, city: City, width: int = PHONE, **more: object) -> Visitor:
    return visitors.come(width, key_of(city.at[CORNER]), "/terminal", **more)


def test_a_pack_is_sold_from_the_camera_of_a_telephone(
    browser: Browser, server: Server, drugs: City, tmp_path: Path
) -> None:  # fmt: skip
    """Who has no scanner has a telephone; where its browser reads no codes, the server reads the frames."""
    with seeing(browser, server, film(tmp_path / "label.y4m", picture(code128(PACK), 2))) as visitors:
        here = till(visitors, drugs, permissions=["camera"])
        here.page.click("#camera")
        says(here.page, "admitted", "可以", "已售出")
        expect(here.page.locator("#video")).to_be_hidden()
        assert not here.page.evaluate("document.querySelector('#video').srcObject.active"), "the camera is let go"
        here.accessible()
    assert sales(drugs) == 1


def test_a_camera_that_sees_nothing_records_nothing_and_can_be_closed(
    browser: Browser, server: Server, drugs: City, tmp_path: Path
) -> None:  # fmt: skip
    with seeing(browser, server, film(tmp_path / "counter.y4m", picture(None))) as visitors:
        here = till(visitors, drugs, permissions=["camera"])
        here.page.click("#camera")
        expect(here.page.locator("#video")).to_be_visible()
        with here.page.expect_response("**/symbols/look") as looked:
            pass
        assert looked.value.json() == {"symbols": []}
        here.page.click("#camera")
        expect(here.page.locator("#video")).to_be_hidden()
        assert here.page.locator("#answer").inner_text() == ""
    assert sales(drugs) == 0


def test_without_a_camera_it_says_so(visitors: Visitors, drugs: City) -> None:
    """Else a stall keeper presses a button that does nothing."""
    here = till(visitors, drugs)
    here.page.click("#camera")
    says(here.page, "conditional", "摄像头不可用")


def test_pictures_are_looked_at_for_those_who_scan(server: Server, market: httpx.Client) -> None:
    """What is no picture, too large, or another's, is an error that says so; two labels are two symbols."""
    terminal = server.client(Role.TERMINAL, MARKET)
    both, buffer = picture(code128(PACK), 2), BytesIO()
    other = Image.open(BytesIO(datamatrix("(01)06901234567892(21)A1").png(module_px=4))).convert("L")
    both.paste(other, (10, 10))
    both.save(buffer, "PNG")
    jpeg = {"Content-Type": "image/jpeg"}
    found = terminal.post("/symbols/look", content=buffer.getvalue(), headers={"Content-Type": "image/png"}).json()
    scanned = [one["scanned"] for one in found["symbols"]]
    assert scanned == ["]d2010690123456789221A1", f"]C0{PACK}"], "top down, as a scanner with identifiers sends them"
    assert terminal.post("/symbols/look", content=b"GIF89a", headers={"Content-Type": "image/gif"}).status_code == 415
    assert terminal.post("/symbols/look", content=b"no picture", headers=jpeg).status_code == 400
    assert terminal.post("/symbols/look", content=bytes(3 << 20), headers=jpeg).status_code == 413
    assert server.client(Role.REGULATOR).post("/symbols/look", content=b"", headers=jpeg).status_code == 403


# --- slips on paper -----------------------------------------------------------------------------------


def printed(visitor: Visitor) -> str:
    """What lies on the paper when the page is printed."""
    paper = pypdfium2.PdfDocument(visitor.page.pdf(width="80mm", height="200mm"))
    return "".join(page.get_textpage().get_text_range() for page in paper)


def test_a_slip_is_printed_alone_with_its_code(visitors: Visitors, server: Server, market: httpx.Client) -> None:
    """Menus and buttons on a slip of 80 mm would push its code off the paper; without a sale there is no slip."""
    opened(market, MARKET, "20", STALL)
    here = stall(visitors, server, DESK, device_scale_factor=2)  # about the dots of a printer of slips
    page = here.page
    page.evaluate("() => { window.printed = 0; window.print = () => { window.printed += 1; }; }")
    expect(page.locator("#print")).to_be_hidden()
    page.fill("#goods", "21113011")
    page.fill("#quantity", "1.5")
    page.fill("#price", "25.8")
    page.click("#send")
    says(page, "admitted", "已记录")
    code = page.locator("#slip .code").first.inner_text()
    page.click("#print")
    assert page.evaluate("window.printed") == 1
    paper = printed(here)
    assert code in paper.replace("\r\n", "").replace(" ", "") and "猪肉" in paper
    for word in ("退出", "扫码终端", "摄像头", "导航"):
        assert word not in paper, "the rest of the page stays on the screen"
    expect(page.locator("#slip img")).to_have_count(2)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 302, "height": 900})  # 80 mm
    seen = {one.text for one in decode_image(page.locator("#slip").screenshot())}
    assert seen == {code, f"{server.url}/t/{code}"}, "for the next node's scanner, and for a telephone"
