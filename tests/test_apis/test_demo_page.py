"""The page, in a real browser."""

import http.client
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import REPOSITORY
from gradio.utils import get_upload_folder

from capnet_mm.apis import demo_page

from .exporting import CLASSES
from .serving import make_shared, serving

WAIT = 60_000  # milliseconds; a busy machine is slow


@pytest.fixture(scope="module")
def served(clips):
    shared = make_shared(clips, pooling=dict(weight=0.5))
    with serving(shared, max_megabytes=1) as port:
        yield shared, port


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page; afterwards nothing may have been asked of other machines."""
    asked, contexts = [], []

    def open_page(**options):
        context = browser.new_context(**options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{served[1]}/")
        page.get_by_role("heading", name=demo_page.TITLE).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    own = re.compile(rf"(http://127\.0\.0\.1:{served[1]}/|data:|blob:)")
    assert [url for url in asked if not own.match(url)] == []


def read(port, method, path, content=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = None if content is None else json.dumps(content)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    return connection.getresponse().read()


def fetch(*request):
    return json.loads(read(*request))


def upload(page, path):
    page.locator("input[type=file]").first.set_input_files(path)


def bars(page):
    """Names and scores shown."""
    page.locator("ol.bars li").first.wait_for()
    names = page.locator("ol.bars .name").all_inner_texts()
    scores = page.locator("ol.bars .score").all_inner_texts()
    return dict(zip(names, map(float, scores), strict=True))


def type_words(page, words):
    field = page.get_by_label("New words").first
    field.fill(words)
    field.press("Enter")


def test_a_picture_gets_bars_places_and_neighbors(visit, served, pictures):
    page = visit()
    upload(page, pictures[1])
    labels = served[0].ask([pictures[1]])[0]["labels"]
    assert bars(page) == {each.name: round(each.score, 2) for each in labels}
    groups = page.locator("ol.bars .group").all_inner_texts()
    assert groups == [each.group for each in labels]
    page.locator("ul.neighbors li").first.wait_for()
    assert page.locator("ul.neighbors li").count() == 2
    page.locator("img[src*='/file=']").nth(1).wait_for()  # the map, after the picture


def test_new_words_are_seen_at_once(visit, pictures):
    page = visit()
    upload(page, pictures[1])
    bars(page)
    type_words(page, "red umbrella, <b>kite</b>")
    page.locator("ol.bars li").nth(4).wait_for()
    assert set(bars(page)) == {*CLASSES, "red umbrella", "<b>kite</b>"}
    assert page.get_by_text("new word", exact=True).count() == 2


def test_what_is_no_picture_is_said_without_a_path(visit, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    page = visit()
    upload(page, str(tmp_path / "text.png"))
    page.get_by_text("no picture that can be read").first.wait_for()
    assert "/tmp/" not in page.locator("body").inner_text()


def test_the_class_in_detail_stays_while_it_is_shown(visit, served, pictures):
    page = visit()
    upload(page, pictures[1])
    *_, last = bars(page)
    detail = page.get_by_label("A class in detail")
    detail.click()
    page.get_by_role("option", name=last).click()
    type_words(page, "kite")
    page.locator("ol.bars li").nth(3).wait_for()
    assert detail.input_value() == last
    page.get_by_text(f"In the label graph {last} takes from").wait_for()


def test_two_people_see_their_own_words(visit, pictures):
    pages, words = [visit(), visit()], ["kite", "lamp"]
    for page in pages:
        upload(page, pictures[1])
    for page, word in zip(pages, words, strict=True):
        type_words(page, word)
    for page, word in zip(pages, words, strict=True):
        page.locator("ol.bars li").nth(3).wait_for()
        assert set(bars(page)) == {*CLASSES, word}


def test_several_pictures_make_a_gallery_and_files(visit, pictures, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    before = set(Path(tempfile.gettempdir()).glob("*/answers.*"))
    page = visit()
    page.get_by_role("tab", name="Several pictures").click()
    files = page.locator("input[type=file][multiple]").first
    files.set_input_files([pictures[0], pictures[1], str(tmp_path / "text.png")])
    page.get_by_role("button", name="Look at them").click()
    page.get_by_text("no picture that can be read").first.wait_for()
    page.locator(".thumbnail-item").nth(1).wait_for()
    with page.expect_download() as started:
        page.get_by_text("Download JSON lines").click()
    lines = started.value.path().read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [each["img_path"] for each in found] == ["a.jpg", "b.png", "text.png"]
    assert "error" in found[2] and len(found[0]["pred_scores"]) == 3
    with page.expect_download() as started:
        page.get_by_text("Download CSV").click()
    assert started.value.path().read_text().startswith("image_path,label,score")
    # None but Gradio's copies, which it deletes.
    assert set(Path(tempfile.gettempdir()).glob("*/answers.*")) == before


def test_a_telephone_shows_the_page_without_scrolling_sideways(visit, pictures):
    page = visit(viewport=dict(width=390, height=844))
    upload(page, pictures[1])
    bars(page)
    width = "document.scrollingElement.scrollWidth"
    assert page.evaluate(width) <= 390
    page.get_by_role("tab", name="Several pictures").click()
    page.locator("input[type=file][multiple]").first.set_input_files(pictures[:3])
    page.get_by_role("button", name="Look at them").click()
    page.locator(".thumbnail-item").nth(2).wait_for()
    assert page.evaluate(width) <= 390


@pytest.mark.parametrize(
    "path", ["/etc/passwd", str(REPOSITORY / "setup.py"), "../../etc/passwd"]
)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/file=", "/gradio_api/file/"])
def test_files_of_the_server_cannot_be_read(served, route, path):
    connection = http.client.HTTPConnection("127.0.0.1", served[1], timeout=60)
    connection.request("GET", f"{route}{path}")
    response = connection.getresponse()
    content = response.read().decode()
    assert response.status >= 400
    assert "root:" not in content and "setuptools" not in content


@pytest.mark.parametrize("name", ["look", "show_where", "look_at_all"])
@pytest.mark.parametrize("path", ["picture", "../picture", "http://127.0.0.1:9/a.png"])
def test_what_was_not_uploaded_is_not_looked_at(served, pictures, name, path):
    """A request of one's own making names a picture that lies on the server."""
    uploads = get_upload_folder()
    replaced = dict(picture=pictures[1])
    replaced["../picture"] = f"{uploads}/{os.path.relpath(pictures[1], uploads)}"
    path = replaced.get(path, path)
    before = set(Path(uploads).rglob("*"))

    functions = fetch(served[1], "GET", "/config")["dependencies"]
    (function,) = [each for each in functions if each["api_name"] == name]
    file = dict(path=path, meta=dict(_type="gradio.FileData"))
    rest = dict(look=["", True, 0.5, 3, None], show_where=[None, ""])
    values = [file, *rest[name]] if name in rest else [[file], "", True, 0.5]
    asked = dict(data=values, fn_index=function["id"], session_hash=name)
    fetch(served[1], "POST", "/gradio_api/queue/join", asked)
    answer = read(served[1], "GET", f"/gradio_api/queue/data?session_hash={name}")
    assert b"was not uploaded" in answer and b'"success":true' not in answer
    assert set(Path(uploads).rglob("*")) == before


def test_a_file_that_is_too_large_is_not_taken(served):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + bytes(1_200_000) + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    connection = http.client.HTTPConnection("127.0.0.1", served[1], timeout=60)
    connection.request("POST", "/gradio_api/upload", body, headers)
    assert connection.getresponse().status == 413
