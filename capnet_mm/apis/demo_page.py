"""A page in the browser: what pictures show, where, and new words."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported

import gradio as gr  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from gradio.utils import get_upload_folder  # noqa: E402
from gradio_client.utils import is_file_obj, traverse  # noqa: E402
from jinja2 import (  # noqa: E402
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
)

from ..visualization.theme import GROUP_COLORS  # noqa: E402
from .asking import Label, SharedInferencer, check_picture, split_words  # noqa: E402
from .http_endpoint import add_endpoint  # noqa: E402
from .writers import open_writer  # noqa: E402

TITLE = "What does a picture show?"
_COLORS = {**GROUP_COLORS, "new word": "#009e73", None: "#6b7280"}
_MAX_PICTURES = 100
# Seconds: how often Gradio looks for uploads and downloads to delete, and their age.
_KEPT = (600, 3600)


class _Told(gr.Error):
    """What somebody did wrong: a message on the page, nothing in the server's log."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_exception=False)


class _Page(gr.Blocks):
    """Takes no files but those that were uploaded.

    Gradio makes sure of that only of pages that it serves itself. On one that is
    mounted, whoever names a path of the server, or a web address, gets the file.
    """

    async def preprocess_data(self, block_fn, inputs: list, *args, **kwargs) -> list:
        traverse(inputs, _refuse_what_was_not_uploaded, is_file_obj)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build_app(
    shared: SharedInferencer, max_megabytes: int = 20, has_endpoint: bool = False
) -> FastAPI:
    """Build the application, for uvicorn or any other server.

    Nothing is fetched from the network and nothing is reported to anybody. Of the
    server's files none but uploads and downloads can be read.

    Args:
        shared: What is asked.
        max_megabytes: Largest file that is taken.
        has_endpoint: Whether there is ``POST /api/predict`` too.

    Returns:
        The application.
    """
    # The pages that FastAPI documents itself with come from the network.
    app = FastAPI(title=TITLE, docs_url=None, redoc_url=None)
    if has_endpoint:
        add_endpoint(app, shared, max_megabytes * 1_000_000)
    fonts = ["system-ui", "sans-serif"]
    return gr.mount_gradio_app(
        app,
        build_page(shared),
        path="/",
        theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
        css_paths=Path(__file__).with_name("demo_page.css"),
        max_file_size=f"{max_megabytes}mb",
        allowed_paths=[],
        footer_links=[],
        ssr_mode=False,
        show_error=False,
    )


def build_page(shared: SharedInferencer) -> gr.Blocks:
    """Lay the page out.

    Args:
        shared: What is asked.

    Returns:
        The page.
    """
    with _Page(title=TITLE, analytics_enabled=False, delete_cache=_KEPT) as page:
        gr.Markdown(f"# {TITLE}")
        with gr.Tab("One picture"):
            _lay_out_one(shared)
        with gr.Tab("Several pictures"):
            _lay_out_several(shared)
    return page


def _lay_out_one(shared: SharedInferencer) -> None:
    with gr.Row():
        with gr.Column():
            picture = _upload()
            settings = _settings(shared)
            most = min(20, len(shared.classes))
            number = gr.Slider(1, most, min(8, most), step=1, label="Bars shown")
        with gr.Column():
            bars = gr.HTML(_render("note", "The answer appears here."))
            label = gr.Dropdown(label="A class in detail", visible=False)
            heat = gr.Image(
                label="Where", buttons=[], interactive=False, height=280, visible=False
            )
            beside = gr.HTML()

    def look(
        file: str | None, typed: str, own: bool, limit: float, shown: float, chosen: str
    ):
        labels, html = _bars(shared, file, typed, None if own else limit, int(shown))
        names = [each.name for each in labels]
        if chosen not in names:
            chosen = names[0] if names else None
        return html, gr.update(choices=names, value=chosen, visible=bool(names))

    def show_where(file: str | None, name: str | None, typed: str):
        return _map_and_neighbors(shared, file, name, typed)

    asked = [picture, *settings, number, label]
    words, own, limit = settings
    triggers = [picture.change, words.submit, words.blur, own.change, limit.release]
    triggers.append(number.release)
    options = dict(api_visibility="private", show_progress="minimal")
    place = [picture, label, words]
    # What is typed while an answer is under way is not passed over.
    seen = gr.on(
        triggers, look, asked, [bars, label], trigger_mode="always_last", **options
    )
    seen.then(show_where, place, [heat, beside], **options)
    label.input(show_where, place, [heat, beside], **options)


def _bars(
    shared: SharedInferencer,
    file: str | None,
    typed: str,
    threshold: float | None,
    shown: int,
) -> tuple[list[Label], str]:
    """The best classes and the new words, and their bars."""
    if file is None:
        return [], _render("note", "The answer appears here.")
    (result,) = _ask(shared, [file], typed, threshold)
    if "error" in result:
        return [], _render("errors", [(result["img_path"], result["error"])])
    own = [each for each in result["labels"] if not each.is_new][:shown]
    labels = [each for each in result["labels"] if each.is_new or each in own]
    return labels, _render("bars", labels, _COLORS)


def _map_and_neighbors(
    shared: SharedInferencer, file: str | None, name: str | None, typed: str
) -> tuple:
    if file is None or name is None:
        return gr.update(visible=False), ""
    drawn = shared.where(file, name, split_words(typed))
    around = _render("neighbors", name, shared.neighbors(name))
    if drawn is None:
        missing = "This model cannot say where: it was trained without local pooling."
        return gr.update(visible=False), _render("note", missing) + around
    return gr.update(value=drawn, visible=True), around


def _lay_out_several(shared: SharedInferencer) -> None:
    files = gr.File(
        file_count="multiple", file_types=["image"], label="Pictures", height=160
    )
    settings = _settings(shared)
    button = gr.Button("Look at them", variant="primary")
    gallery = gr.Gallery(
        label="Answers", columns=4, height="auto", buttons=[], elem_classes="answers"
    )
    failed = gr.HTML()
    with gr.Row():
        downloads = [
            gr.DownloadButton(f"Download {kind}", interactive=False, size="sm")
            for kind in ("JSON lines", "CSV")
        ]

    def look_at_all(paths: list[str] | None, typed: str, own: bool, limit: float):
        paths = paths or []
        if len(paths) > _MAX_PICTURES:
            raise _Told(f"At most {_MAX_PICTURES} pictures at once.")
        results = _ask(shared, paths, typed, None if own else limit)
        pairs = list(zip(paths, results, strict=True))
        shown = [(path, _caption(each)) for path, each in pairs if "error" not in each]
        errors = [(e["img_path"], e["error"]) for e in results if "error" in e]
        files = _write(results, gallery.GRADIO_CACHE)
        written = [gr.update(value=file, interactive=True) for file in files]
        return shown, _render("errors", errors), *written

    button.click(
        look_at_all,
        [files, *settings],
        [gallery, failed, *downloads],
        api_visibility="private",
    )


def _refuse_what_was_not_uploaded(file: dict) -> None:
    uploads = Path(get_upload_folder()).resolve()
    if not Path(file["path"]).resolve().is_relative_to(uploads):
        raise _Told("This picture was not uploaded.")


def _upload() -> gr.Image:
    picture = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        buttons=[],
        height=320,
        label="Picture",
    )

    def path_or_why_not(payload: gr.components.image.ImageData | None) -> str | None:
        """Gradio's own message names the place on the server, or nothing at all."""
        if payload is None:
            return None
        try:
            check_picture(str(payload.path))
        except ValueError as error:
            raise _Told(str(error)) from None
        return payload.path

    # Of this one object: for a subclass Gradio would write a file beside this module.
    picture.preprocess = path_or_why_not
    return picture


def _settings(shared: SharedInferencer) -> list[gr.components.Component]:
    words = gr.Textbox(
        label="New words, with commas between",
        placeholder="red umbrella, kite",
        visible=shared.takes_words,
    )
    own = gr.Checkbox(True, label="The model's own thresholds")
    limit = gr.Slider(
        0, 1, 0.5, step=0.01, label="Threshold of all classes", visible=False
    )
    own.change(
        lambda is_own: gr.update(visible=not is_own),
        own,
        limit,
        api_visibility="private",
    )
    return [words, own, limit]


def _ask(
    shared: SharedInferencer,
    paths: Sequence[str],
    typed: str,
    threshold: float | None,
) -> list[dict]:
    try:
        return shared.ask(paths, split_words(typed), threshold)
    except ValueError as error:
        raise _Told(str(error)) from None


def _caption(result: dict) -> str:
    scored = zip(result["pred_class"], result["pred_score"], strict=True)
    return ", ".join(f"{name} {score:.2f}" for name, score in scored) or "nothing"


def _write(results: Iterable[dict], cache: str) -> list[str]:
    """Write files to download to where Gradio deletes them later."""
    os.makedirs(cache, exist_ok=True)
    folder = tempfile.mkdtemp(dir=cache)
    paths = [os.path.join(folder, name) for name in ("answers.jsonl", "answers.csv")]
    plain = [
        {key: value for key, value in result.items() if key != "labels"}
        for result in results
    ]
    for path in paths:
        with open_writer(path) as write:
            for _ in write(plain):
                pass
    return paths


def _render(macro: str, *values: object) -> str:
    return str(getattr(_template().module, macro)(*values))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("answers.html.jinja")
