"""A config of unknown origin is read, never run."""

import math

import pytest
from conftest import REPOSITORY
from mmengine.config import Config

from capnet_mm.apis.stored_config import check_imports, check_types, parse_config


@pytest.mark.parametrize(
    "name", ["capnet_coco_lt", "demo/zero_shot", "mixed/swin-tiny_capnet_head_voc_lt"]
)
def test_what_mmengine_writes_is_read_back(name):
    cfg = Config.fromfile(REPOSITORY / "configs" / f"{name}.py")
    assert parse_config(cfg.pretty_text).to_dict() == cfg.to_dict()


def test_numbers_that_are_no_literals_and_keys_that_are_no_names():
    cfg = Config(dict(a=math.inf, b=-1e-3, c=[{"x.y": (1, None)}], d={3: True}))
    assert parse_config(cfg.pretty_text).to_dict() == cfg.to_dict()
    assert math.isnan(parse_config("a = dict(b=nan)").a.b)


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.system('touch {0}')",
        "a = __import__('os').system('touch {0}')",
        "a = dict(b=open('{0}', 'w'))",
        "a = [open('{0}', 'w') for _ in 'a']",
        "a = (lambda: open('{0}', 'w'))()",
        "a = dict(**dict(b=open('{0}', 'w')))",
        "a = f\"{{open('{0}', 'w')}}\"",
        "dict = open\na = dict('{0}', 'w')",
        "class A:\n    open('{0}', 'w')",
        "a: open('{0}', 'w') = 1",
        "a = " + "(" * 500 + ")" * 500,
        "a = 1 +",
    ],
)
def test_a_text_with_code_is_refused_and_not_run(text, tmp_path):
    mark = tmp_path / "ran"
    text = text.format(mark) if "{0}" in text else text
    with pytest.raises(ValueError, match="isn't plain data"):
        parse_config(text)
    assert not mark.exists()


def test_mmengine_itself_would_have_run_it(tmp_path):
    """The exploit is real: this is what parse_config() stands in for."""
    mark = tmp_path / "ran"
    Config.fromstring(f"a = open({str(mark)!r}, 'w').name", ".py")
    assert mark.exists()


def test_modules_of_others_are_not_imported():
    check_imports(Config(dict(custom_imports=dict(imports="capnet_mm"))))
    check_imports(Config(dict()))
    for names in ("antigravity", ["capnet_mm", "antigravity"], ["capnet_mm.evil"]):
        with pytest.raises(ValueError, match="trust_config=True"):
            check_imports(Config(dict(custom_imports=dict(imports=names))))


@pytest.mark.parametrize(
    "name",
    [
        "subprocess.run",
        "os.system",
        "antigravity",
        "mmengine.config.Config.fromfile",
        "mmpretrain.apis.get_model",
        "evil.LoadImage",
        "DumpResults",
        "HuggingFaceClassifier",
        "",
        None,
        3,
    ],
)
def test_a_type_that_is_no_registered_class_is_refused(name):
    config = dict(type="LoadImage", nested=[dict(a=(dict(type=name, args=[1]),))])
    with pytest.raises(ValueError, match="was not built"):
        check_types(config)


def test_registered_classes_pass_without_scope_and_init_cfg():
    config = Config(
        dict(
            a=dict(type="mmpretrain.ResNet", init_cfg=dict(type="Pretrained")),
            b=[dict(type="capnet_mm.models.CLIPClassifier"), dict(type="LoadImage")],
        )
    )
    check_types(config._cfg_dict)
    assert config.a == dict(type="ResNet")
    assert [each.type for each in config.b] == ["CLIPClassifier", "LoadImage"]
