"""Files of unknown origin run no code and fetch nothing, whichever way they come in."""

import contextlib
import http.server
import io
import json
import os
import pickle
import struct
import threading
import warnings
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpretrain.registry import DATASETS, MODELS

from capnet_mm import cli, compat
from capnet_mm.apis import MultiLabelInferencer
from capnet_mm.checkpoint import add_to_meta, check_checkpoint, read_checkpoint
from capnet_mm.datasets import COCOLT, NUSWIDE, VOCLT, ImageListDataset
from capnet_mm.datasets.class_names import read_class_names
from capnet_mm.datasets.feature_store import FeatureStore
from capnet_mm.datasets.transforms import LoadImage
from capnet_mm.evaluation.score_file import read_scores
from capnet_mm.models.towers.loading import load_clip
from capnet_mm.preparation import (
    read_coco_lt,
    read_nus_wide,
    read_own_data,
    read_voc_lt,
)


class Exploit:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, evidence):
        self.evidence = evidence

    def __reduce__(self):
        return os.mkdir, (str(self.evidence),)


@pytest.fixture
def evidence(tmp_path):
    """What an exploit leaves; each test ends with none, after a check that it would."""
    path = tmp_path / "evidence"
    yield path
    assert not path.exists()
    pickle.loads(pickle.dumps(Exploit(path)))
    assert path.exists()


def save_as_zip(content, path):
    torch.save(content, path)


def save_as_tar(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_as_bare_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture(params=[save_as_zip, save_as_tar, save_as_bare_pickle])
def bad(request, evidence, tmp_path):
    """A checkpoint that carries code."""
    path = tmp_path / "bad.pth"
    request.param(dict(state_dict={}, meta=Exploit(evidence)), path)
    return path


@contextlib.contextmanager
def served(folder):
    """Web address of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run_settings(work_dir, load_from=None, resume=False):
    return Config(dict(work_dir=str(work_dir), load_from=load_from, resume=resume))


WAYS = dict(
    load_from=lambda path, _: cli.apply_resume(run_settings(".", str(path)), None),
    resume=lambda path, _: cli.apply_resume(run_settings("."), str(path)),
    check=lambda path, _: check_checkpoint(str(path)),
    read=lambda path, _: read_checkpoint(str(path)),
    add_to_meta=lambda path, _: add_to_meta(str(path), dict(a=1)),
    inferencer=lambda path, _: MultiLabelInferencer(str(path)),
    pretrained=lambda path, _: load_clip("ViT-B-32", str(path)),
    clip=lambda path, _: MODELS.build(
        dict(type="CLIPBackbone", model="ViT-B-32", pretrained=str(path))
    ),
    inferencer_pretrained=lambda path, clip: MultiLabelInferencer(
        clip="ViT-B-32", pretrained=str(path), classes=["dog"]
    ),
)


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_that_carries_code_is_refused(way, bad, tiny_clip):
    with pytest.raises(ValueError, match=r"bad.pth was refused"):
        WAYS[way](bad, tiny_clip)


def test_resuming_the_latest_checkpoint_runs_no_code_in_it(bad, tmp_path):
    (tmp_path / "last_checkpoint").write_text(str(bad))
    with pytest.raises(ValueError, match="bad.pth was refused"):
        cli.apply_resume(run_settings(tmp_path), "auto")


def test_a_download_runs_no_code_in_ours_or_in_mmengines_reader(
    bad, tmp_path, monkeypatch
):
    """MMEngine's reader is that of ``init_cfg`` and of ``Runner.load_from``."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    torch.save(dict(state_dict=dict(weight=torch.ones(1, 1))), tmp_path / "good.pth")
    layer = torch.nn.Linear(1, 1, bias=False)
    with served(tmp_path) as address:
        with pytest.raises(pickle.UnpicklingError):
            load_checkpoint(layer, f"{address}/bad.pth")
        with pytest.raises(ValueError, match="was refused"):
            MultiLabelInferencer(f"{address}/bad.pth")
        load_checkpoint(layer, f"{address}/good.pth")
    assert layer.weight.item() == 1


def test_a_config_in_yaml_is_data(evidence, tmp_path):
    """A .py config is a program; .json and .yaml are not taken for one."""
    path = tmp_path / "config.yaml"
    path.write_text(f"a: !!python/object/apply:os.mkdir ['{evidence}']\n")
    with pytest.raises(Exception, match="could not determine a constructor"):
        Config.fromfile(path)
    compat.refuse_code_in_yaml()  # once more does nothing
    config = Config(dict(a=(1, dict(b=[0.5, None])), c="ü"))
    config.dump(tmp_path / "dumped.yaml")
    assert Config.fromfile(tmp_path / "dumped.yaml").to_dict() == config.to_dict()


@pytest.fixture
def checkpoint_with_config(tiny_clip, tmp_path):
    """Writes a checkpoint that carries the text of a config."""

    def write(text):
        path = tmp_path / "stored.pth"
        meta = dict(cfg=text, dataset_meta=dict(classes=["dog"]))
        torch.save(dict(state_dict={}, meta=meta), path)
        return str(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        "_base_ = ['{evil}']",
        "_base_ = '{evil}'\nmodel = dict(type='CLIPClassifier')",
        "import os\nos.mkdir('{evidence}')",
        "model = __import__('os').mkdir('{evidence}')",
        "model = dict(type='os.mkdir', path='{evidence}')",
        "model = dict(type='CLIPClassifier', head=dict(type='os.mkdir'))",
        "custom_imports = dict(imports=['evil'])\nmodel = dict(type='CLIPClassifier')",
        "from mmengine.config import read_base\nwith read_base():\n    import evil",
        "model = [dict(type='CLIPClassifier') for _ in range(10)]",
        "a = '''{{{{$HOME:x}}}}'''\nmodel = dict(type=f'{{__import__(\"os\")}}')",
    ],
)
def test_a_stored_config_runs_no_code(
    text, checkpoint_with_config, evidence, tmp_path, monkeypatch
):
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(evidence)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = text.format(evil=tmp_path / "evil.py", evidence=evidence)
    with pytest.raises((ValueError, AttributeError, KeyError)):
        MultiLabelInferencer(checkpoint_with_config(text))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [list, dict])
def test_pickles_are_never_loaded_as_lists(content, protocol, evidence, tmp_path):
    what = [Exploit(evidence)] if content is list else dict(data_list=Exploit(evidence))
    names = ("list.pkl", "list.txt", "list.json", "list.csv", "list.jsonl")
    for name in names:
        (tmp_path / name).write_bytes(pickle.dumps(what, protocol))
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    bad = {name: tmp_path / name for name in names}
    reads = [partial(read_class_names, bad["list.pkl"])]
    for name in names[:3]:
        settings = dict(type="ImageListDataset", ann_file=name, data_root=str(tmp_path))
        reads.append(partial(DATASETS.build, dict(settings, check_images=False)))
    for name in names[3:]:
        reads.append(partial(read_own_data, tmp_path, bad[name]))
    pkl = bad["list.pkl"]
    reads += [
        partial(read_voc_lt, tmp_path, pkl, pkl),
        partial(read_coco_lt, tmp_path, pkl),
        partial(read_nus_wide, tmp_path, train_list=pkl, test_list=pkl),
        partial(read_nus_wide, tmp_path, table=pkl),
        partial(read_own_data, tmp_path, bad["list.csv"], classes=pkl),
    ]
    for read in reads:
        with pytest.raises(ValueError, match="is a Python pickle. It is not loaded"):
            read()


def test_words_that_begin_and_end_as_a_pickle_are_read(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n(other)\netc.\n")
    assert read_class_names(tmp_path / "classes.txt")[0][3] == "etc."


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def shard(images=("d",), checksums=((1,),)):
    return json.dumps(dict(images=images, checksums=checksums))


@pytest.mark.parametrize(
    ("records", "about"),
    [
        (lambda e: pickle.dumps(Exploit(e)), shard()),
        (lambda e: npy(np.array([[[Exploit(e)]]], dtype=object)), shard()),
        (lambda e: npz(a=np.zeros((1, 1, 4), np.uint8)), shard()),
        (lambda e: npy(np.zeros((1, 1, 4), np.float32)), shard()),
        (lambda e: npy(np.zeros(4, np.uint8)), shard()),
        *(
            (lambda e: npy(np.zeros((1, 1, 4), np.uint8)), text)
            for text in (
                "[]",
                "3",
                "{}",
                "[" * 10**5,
                "\udcff",
                shard(images=3),
                shard(images="d"),
                shard(images=[["d"]]),
                shard(images=["d", "e"]),
                shard(checksums=[[-1]]),
                shard(checksums=[["a"]]),
                shard(checksums=[[1, 2]]),
                shard(checksums={}),
            )
        ),
    ],
)
def test_a_feature_cache_runs_no_code_and_what_is_damaged_is_missing(
    records, about, evidence, tmp_path
):
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "a.npy").write_bytes(records(evidence))
    (tmp_path / "key" / "a.json").write_bytes(about.encode(errors="surrogateescape"))
    files = json.dumps({"image": [1, 2, "d"]})
    (tmp_path / "files.json").write_text(files)
    assert FeatureStore(tmp_path, "key").get("image", 0) is None


@pytest.mark.parametrize(
    "files", ["[]", "null", "[" * 10**5, '{"a": 3}', '{"a": [1, 2, 3]}', '{"a": [1]}']
)
def test_a_damaged_record_of_the_files_seen_counts_as_none(files, tmp_path):
    (tmp_path / "files.json").write_text(files)
    (tmp_path / "a").write_bytes(b"image")
    store = FeatureStore(tmp_path, "key")
    with store.locked(lambda: None):
        assert list(store.missing([str(tmp_path / "a")]).values()) == [
            str(tmp_path / "a")
        ]
    assert store.get("a", 0) is None


def test_scores_that_carry_code_are_refused(evidence, tmp_path):
    path = tmp_path / "scores.npz"
    np.savez(path, scores=np.array([Exploit(evidence)], dtype=object))
    with pytest.raises(ValueError):
        read_scores(path)


# Paths


@pytest.fixture
def layout(tmp_path):
    """A data root, and something beside it that a list may want to reach."""
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    for place in (root / "images", tmp_path / "secret"):
        (place / "a.jpg").write_bytes(b"")
    (root / "classes.txt").write_text("dog\n")
    (root / "file.jpg").symlink_to(tmp_path / "secret" / "a.jpg")
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "images" / "deep").symlink_to("../../secret")
    (root / "inside").symlink_to("images")
    return root


LEADS_OUT = ("../secret/a.jpg", "images/../../secret/a.jpg", "{root}/images/a.jpg")
LINKS_OUT = ("file.jpg", "folder/a.jpg", "images/deep/a.jpg", "inside/deep/a.jpg")


def of_list(root, img_path, form, **options):
    path = img_path.format(root=root)
    if form == "list.txt":
        (root / form).write_text(f"{path} 0\n")
    else:
        entry = dict(img_path=path, gt_label=[0])
        (root / form).write_text(json.dumps(dict(metainfo={}, data_list=[entry])))
    options = dict(classes=["dog"], data_root=str(root), pipeline=[], **options)
    return ImageListDataset(form, **options)


@pytest.mark.parametrize("form", ["list.txt", "list.json"])
@pytest.mark.parametrize(
    "path", [*LEADS_OUT, *LINKS_OUT, "https://example.org/a.jpg", "s3://a/b.jpg"]
)
def test_a_list_cannot_have_files_outside_of_the_data_root_read(path, form, layout):
    is_link = path in LINKS_OUT
    place = "" if is_link else "(, line 1|, data_list.0.): the path"
    with pytest.raises(ValueError, match=f"{form}{place}.*allow_outside=True"):
        of_list(layout, path, form)
    options = dict(check_images=False)
    if is_link:  # they are found when the image is asked for
        dataset = of_list(layout, path, form, **options)
        with pytest.raises(ValueError, match="allow_outside=True"):
            dataset[0]
    else:
        with pytest.raises(ValueError, match="allow_outside=True"):
            of_list(layout, path, form, **options)


@pytest.mark.parametrize("path", [*LEADS_OUT, *LINKS_OUT])
def test_the_config_can_allow_paths_outside(path, layout):
    dataset = of_list(layout, path, "list.txt", allow_outside=True)
    assert os.path.isfile(dataset[0]["img_path"])


def test_links_within_the_data_root_and_the_root_itself_as_a_link(layout, tmp_path):
    assert len(of_list(layout, "inside/a.jpg", "list.txt")) == 1
    (tmp_path / "link").symlink_to(layout)
    assert len(of_list(tmp_path / "link", "images/a.jpg", "list.txt")) == 1
    # The config's own folder may be anywhere, the list's paths start from there.
    options = dict(data_prefix=str(tmp_path / "secret"))
    assert len(of_list(layout, "a.jpg", "list.txt", **options)) == 1
    assert len(of_list(layout, "a.jpg", "list.txt", data_prefix="folder")) == 1


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        (VOCLT, "VOCdevkit"),
        (VOCLT, "VOCdevkit/VOC2007"),
        (VOCLT, "VOCdevkit/VOC2012/JPEGImages"),
        (COCOLT, "train2017"),
        (COCOLT, "val2017"),
        (NUSWIDE, "Flickr"),
    ],
)
def test_folders_that_a_layout_names_may_be_links(kind, folder, tmp_path):
    (tmp_path / "disk" / "VOC2012").mkdir(parents=True)
    (tmp_path / "disk" / "a.jpg").write_bytes(b"")
    (tmp_path / "root" / folder).parent.mkdir(parents=True)
    (tmp_path / "root" / folder).symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "list.txt").write_text(f"{folder}/a.jpg 0\n")
    options = dict(data_root=str(tmp_path / "root"), train_ann_file="list.txt")
    assert len(kind("list.txt", **options)) == 1
    (tmp_path / "disk" / "b.jpg").symlink_to("/etc/hostname")
    (tmp_path / "root" / "list.txt").write_text(f"{folder}/b.jpg 0\n")
    with pytest.raises(ValueError, match="'/etc/hostname' through a link"):
        kind("list.txt", **options)


def test_tables_cannot_lead_outside_either(layout):
    table = layout / "t.csv"
    for path in ("../secret/a.jpg", "/etc/passwd", "images/../../secret/a.jpg"):
        table.write_text(f"image,tags\n{path},dog\n")
        with pytest.raises(ValueError, match="t.csv, line 2: the path .* leads out"):
            read_own_data(layout, table)


# Pictures


def bomb(edge, color_type=0):
    """A PNG of edge x edge black pixels, compressed as far as the format goes."""
    bits = 1 if color_type == 0 else 8
    row = b"\0" * (1 + (edge * (3 if color_type else 1) * bits + 7) // 8)
    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(row) for _ in range(edge)) + pack.flush()
    head = struct.pack(">IIBBBBB", edge, edge, bits, color_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, part in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + part))
        parts += [struct.pack(">I", len(part)), kind, part, check]
    return b"".join(parts)


@pytest.mark.parametrize(("edge", "color_type"), [(50_000, 0), (10_000, 0), (9500, 2)])
def test_a_decompression_bomb_is_refused_and_not_decoded(
    edge, color_type, tmp_path, monkeypatch
):
    """Pillow only warns of 89 to 179 million pixels, which take 2 GB."""
    from PIL import ImageFile

    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(edge, color_type))
    assert path.stat().st_size < edge * edge / 300
    monkeypatch.setattr(ImageFile.ImageFile, "load", pytest.fail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="bomb.png .*decompression bomb"):
            LoadImage(min_edge=448)(dict(img_path=str(path)))


def test_a_large_photograph_that_is_decoded_smaller_is_no_bomb(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.new("RGB", (120, 120), "red").save(tmp_path / "a.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = LoadImage(min_edge=40)(dict(img_path=str(tmp_path / "a.jpg")))["img"]
        assert pixels.shape == (60, 60, 3)
        with pytest.raises(ValueError, match="120 x 120 pixels are more than"):
            LoadImage()(dict(img_path=str(tmp_path / "a.jpg")))


def test_no_ghostscript_is_run(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin, Image

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", pytest.fail)
    for mode in ("RGB", "L"):
        Image.new(mode, (8, 8)).save(tmp_path / "a.jpg", format="EPS")
        with pytest.raises(ValueError, match="EPS is a program"):
            LoadImage()(dict(img_path=str(tmp_path / "a.jpg")))


# Names


REFUSED = ["dog\ncat", "dog\x1b[2J", "dog\x07", "dog\u202e", "x" * 10**7, " ", 3, None]
ODD = [
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    r"$\frac{1}$",
    "$x",
    "{{7*7}} {% raise %}",
    "[red]x[/red] [/]",
    "| a | `b` **c** &lt;",
    "%s {0} \\",
    "=cmd()|'/c'!A1",
    "x" * 1000,
    "猫 👩‍🚒",
]


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: repr(name)[:20])
def test_names_that_spoil_a_line_are_refused_wherever_they_stand(name, tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg 0\n")
    metainfo = dict(classes=["cat", name])
    content = dict(metainfo=metainfo, data_list=[dict(img_path="a", gt_label=[])])
    (tmp_path / "list.json").write_text(json.dumps(content))
    root = dict(data_root=str(tmp_path), check_images=False)
    head = dict(type="CorrelationPromptHead", text_encoder=dict(model="ViT-B-32"))
    reads = [
        lambda: ImageListDataset("list.txt", classes=["cat", name], **root),
        lambda: ImageListDataset("list.json", **root),
        lambda: read_own_data(tmp_path, tmp_path / "t.jsonl"),
        lambda: MODELS.build(dict(head, classes=["cat", name])),
    ]
    row = dict(path="a.jpg", labels=[name, "cat"])
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    if name == " ":  # of a row it means nothing; a head may have it
        reads = reads[:2]
    if name == 3:  # the number of a class, in a row
        del reads[2]
    for read in reads:
        with pytest.raises(ValueError) as caught:
            read()
        assert str(caught.value).replace("\n", "").isprintable()
        assert len(str(caught.value)) < 1000


def test_odd_names_are_shown_as_they_are_in_report_tables_and_page(capsys):
    from html.parser import HTMLParser

    from test_visualization.conftest import entry

    from capnet_mm.tables import Table
    from capnet_mm.visualization.report import Prediction, RunReport, report_files

    classes = [entry(name, 99 - i, "medium", 50.0) for i, name in enumerate(ODD)]
    shown = np.zeros((8, 8, 3), np.uint8)
    scores = np.linspace(0, 1, len(ODD))
    files = report_files(
        RunReport(
            config="<b>",
            phase="test",
            metrics={"multi-label/mAP": 50.0},
            classes=classes,
            names=ODD,
            predictions=[Prediction(shown, scores, np.ones(len(ODD), int))],
        )
    )

    class Page(HTMLParser):
        tags, text = set(), ""

        def handle_starttag(self, tag, attributes):
            self.tags.add(tag)
            assert not [name for name, _ in attributes if name.startswith("on")]

        def handle_data(self, data):
            self.text += data

    page = Page()
    page.feed(files["report.html"].decode())
    assert "script" not in page.tags and "b" not in page.tags
    assert [name for name in ODD if name not in page.text] == []
    numbers = json.loads(files["report.json"])
    assert [each["name"] for each in numbers["classes"]] == ODD
    Table(("class", "AP"), [(name, "1") for name in ODD]).print()
    printed = capsys.readouterr().out
    assert [name for name in ODD if name not in printed] == []


def test_a_table_writes_out_what_a_terminal_would_act_upon():
    from capnet_mm.tables import Table

    text = Table(("pict\x1bure",), [("a\x1b]0;x\x07.jpg",)]).to_text()
    assert text.splitlines() == [r"pict\x1bure", r"a\x1b]0;x\x07.jpg"]
