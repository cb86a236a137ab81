import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_python
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import Runner, turn_on_activation_checkpointing
from mmengine.runner.checkpoint import _load_checkpoint, save_checkpoint
from mmpretrain.apis import ImageClassificationInferencer

from capnet_mm import compat

REPOSITORY = Path(__file__).resolve().parent.parent


def test_nothing_is_said_of_the_operator_that_mmcv_lite_lacks():
    done = run_python("import capnet_mm, mmcv.cnn; print('imported')")
    assert done.stdout.endswith("imported\n")
    assert "MultiScaleDeformableAttention" not in done.stderr


class RunsCode:
    """What an attacker puts into a checkpoint."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def refers_to(name, *args):
    """Bytes of a pickle that calls ``name`` (module.function) with ``args``."""

    class Call:
        def __reduce__(self):
            return compat._get_known_method, args  # replaced below

    mine = b"capnet_mm.compat\n_get_known_method\n"
    data = pickle.dumps(Call(), protocol=2)
    assert mine in data
    module, function = name.rsplit(".", 1)
    return data.replace(mine, f"{module}\n{function}\n".encode())


def read_plain(data):
    """Read a pickle as ``torch.load`` does, in the file format before zip files."""
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {})
    file = b"".join(pickle.dumps(part, protocol=2) for part in head)
    file += data + pickle.dumps([], protocol=2)  # no tensors
    return torch.load(io.BytesIO(file), weights_only=True)


def test_torchvision_is_importable_whatever_wheel_is_installed():
    code = (
        "from capnet_mm import compat; compat.import_torchvision();"
        "import torch, torchvision.transforms.functional as F;"
        "assert F.hflip(torch.tensor([[0, 1, 2]])).tolist() == [[2, 1, 0]]"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


# A torchvision that fails as the CUDA wheel beside PyTorch for CPU does.
BROKEN_TORCHVISION = """
import torchvision.first
import torch
try:
    torch.ops.torchvision.nms, torch.ops.torchvision.qnms
except AttributeError:
    raise RuntimeError("operator torchvision::nms does not exist")
"""


def fake_torchvision(folder, init):
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(init)
    (package / "first.py").write_text("print('imported')")
    return str(folder)


IMPORT_FAKE = (
    "import sys, importlib.util as u; sys.path.insert(0, sys.argv[1]);"
    "s = u.spec_from_file_location('compat', 'capnet_mm/compat.py');"
    "m = u.module_from_spec(s); s.loader.exec_module(m); m.import_torchvision();"
    "m.import_torchvision(); print('schemas', len(m._operator_schemas))"
)


def test_missing_operators_are_declared_and_the_import_starts_afresh(tmp_path):
    done = run_python(IMPORT_FAKE, fake_torchvision(tmp_path, BROKEN_TORCHVISION))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["imported", "imported", "schemas", "1"]


def test_nothing_is_declared_where_torchvision_works(tmp_path):
    done = run_python(
        IMPORT_FAKE, fake_torchvision(tmp_path, "import torchvision.first")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["imported", "schemas", "0"]


def test_other_failures_of_torchvision_are_not_hidden(tmp_path):
    broken = "raise RuntimeError('libcudart is gone')"
    done = run_python(IMPORT_FAKE, fake_torchvision(tmp_path, broken))
    assert done.returncode == 1
    assert "RuntimeError: libcudart is gone" in done.stderr


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode="tensor"):
        return dict(loss=self.layer(torch.stack(list(x))).pow(2).mean())


class Points(torch.utils.data.Dataset):
    metainfo = dict(classes=("a", "b"), weights=np.array([0.25, 0.75]))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.full((2,), float(index)))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_real_checkpoint_of_mmengine_is_read_and_resumed(tmp_path, optimizer):
    def make(**kwargs):
        return Runner(
            Model(),
            str(tmp_path),
            train_dataloader=dict(
                dataset=Points(), batch_size=4, sampler=dict(type="DefaultSampler")
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(
                optimizer=dict(type=optimizer, lr=0.01), clip_grad=dict(max_norm=1.0)
            ),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.1, end=1),
                # which saves a reference to its own method
                dict(type="OneCycleLR", eta_max=0.1, total_steps=10, by_epoch=False),
            ],
            custom_hooks=[dict(type="EMAHook")],
            experiment_name=f"compat_{optimizer}_{bool(kwargs)}",
            default_scope="mmpretrain",  # which stays set, for other tests too
            **kwargs,
        )

    runner = make()
    runner.message_hub.update_scalar("val/mAP", np.float64(0.5))
    runner.message_hub.update_info("val/best", np.float32(0.25))
    runner.message_hub.update_info("val/per_class", np.arange(3))
    runner.train()

    path = tmp_path / "epoch_2.pth"
    checkpoint = torch.load(path, weights_only=True)
    hub = checkpoint["message_hub"]
    assert hub["runtime_info"]["val/best"] == np.float32(0.25)
    assert hub["runtime_info"]["val/per_class"].tolist() == [0, 1, 2]
    assert isinstance(hub["log_scalars"]["train/loss"], HistoryBuffer)
    assert len(hub["log_scalars"]["train/loss"].data[0]) == 4
    assert hub["log_scalars"]["val/mAP"].mean() == 0.5
    assert checkpoint["meta"]["dataset_meta"]["weights"].tolist() == [0.25, 0.75]

    resumed = make(load_from=str(tmp_path / "epoch_1.pth"), resume=True)
    resumed.train()
    assert resumed.iter == 4
    history = resumed.message_hub.get_scalar("train/loss").data[0]
    assert len(history) == 4


VALUES = [
    np.arange(3),
    np.linspace(0, 1, 5, dtype=np.float32),
    np.array([0.5], dtype=np.float16),
    np.array([True, False]),
    np.array(["cat", "dog"]),
    np.float64(0.5),
    np.float32(0.5),
    np.int64(7),
    np.uint8(7),
    np.bool_(True),
]


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_numpy_values_are_read_from_files_of_numpy_1_and_2(value, core):
    data = pickle.dumps(value, protocol=2)
    for name in (b"cnumpy._core.", b"cnumpy.core."):
        data = data.replace(name, f"c{core}.".encode())
    assert f"c{core}.multiarray".encode() in data
    read = read_plain(data)
    np.testing.assert_array_equal(read, value)
    assert read.dtype == value.dtype
    assert type(read) is type(value)


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_not_run(tmp_path):
    compat.prepare()
    evidence = tmp_path / "evidence"
    path = tmp_path / "bad.pth"
    torch.save(dict(state_dict={}, meta=RunsCode(evidence)), path)
    for read in (torch.load, _load_checkpoint):
        with pytest.raises(pickle.UnpicklingError, match="system"):
            read(str(path))
    assert not evidence.exists()
    os.system(RunsCode(evidence).__reduce__()[1][0])  # it would have
    assert evidence.exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [(HistoryBuffer, "mean"), (OneCycleParamScheduler, "_annealing_cos")],
)
def test_the_methods_that_mmengine_refers_to_are_found(owner, name):
    assert read_plain(refers_to("builtins.getattr", owner, name)) is getattr(
        owner, name
    )


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (HistoryBuffer, "__init__"),
        (HistoryBuffer, "update"),
        (OneCycleParamScheduler, "__init__"),
        (np.ndarray, "tofile"),
        (np.dtype, "__class__"),
    ],
)
def test_no_other_attribute_is_reached_through_getattr(owner, name):
    with pytest.raises(pickle.UnpicklingError, match=name):
        read_plain(refers_to("builtins.getattr", owner, name))


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.exec", "subprocess.call"])
def test_functions_stay_refused(name):
    with pytest.raises(pickle.UnpicklingError, match=name.split(".")[1]):
        read_plain(refers_to(name, "1"))


def test_a_loader_that_falls_back_to_running_code_is_replaced(tmp_path, monkeypatch):
    from mmengine.runner import checkpoint

    def fall_back(file, map_location=None, weights_only=None):
        return torch.load(file, map_location=map_location, weights_only=False)

    monkeypatch.setattr(checkpoint, "_safe_torch_load", fall_back, raising=False)
    compat.refuse_code_in_checkpoints()
    torch.save(RunsCode(tmp_path / "evidence"), tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError, match="system"):
        checkpoint._safe_torch_load(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "evidence").exists()
    torch.save(torch.ones(2), tmp_path / "good.pth")
    assert checkpoint._safe_torch_load(str(tmp_path / "good.pth")).tolist() == [1, 1]


class Gradients(Hook):
    """Keeps the gradients that the optimizer steps by."""

    def before_train(self, runner):
        model = runner.model

        def keep(*_):
            self.values = {
                name: p.grad for name, p in model.named_parameters() if p.requires_grad
            }

        runner.optim_wrapper.optimizer.register_step_pre_hook(keep)


VIT = dict(type="AdaptFormer", bottleneck_dim=3)
CNN = [dict(type="ScaleShift"), dict(type="BiasTuning")]


@pytest.mark.parametrize(
    ("vision", "adapter", "modules"),
    [
        ("vit", VIT, ["backbone.visual"]),
        ("vit", VIT, "backbone.visual.transformer.resblocks.1"),  # the last
        ("vit", VIT, ["backbone.visual.transformer.resblocks.0", "head.text_encoder"]),
        ("vit", dict(type="LoRA", drop_rate=0.5), ["backbone.visual"]),
        ("resnet", CNN, ["backbone.visual"]),
        ("timm", CNN, ["backbone.visual", "backbone.visual.trunk"]),
    ],
)
def test_gradients_with_activation_checkpointing_are_those_without(
    make_clip_runner, vision, adapter, modules
):
    gradients, calls = [], []
    for options in (dict(), dict(activation_checkpointing=modules)):
        hook = Gradients()
        runner = make_clip_runner(vision, adapter, [hook], **options)
        part = runner.model.get_submodule(
            modules if isinstance(modules, str) else modules[0]
        )
        first = next(module for module in part.modules() if not list(module.children()))
        times = []
        first.register_forward_hook(lambda *_, times=times: times.append(1))
        torch.manual_seed(0)
        runner.train()
        gradients.append(hook.values)
        calls.append(len(times))
    plain, checkpointed = gradients
    assert calls[0] == 1 < calls[1]  # computed again
    for part in ("backbone.visual", "head.prompt", "head.gcn"):
        assert any(name.startswith(part) for name in plain)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_a_checkpointed_part_takes_keyword_arguments_and_predicts_the_same():
    class Scaled(torch.nn.Linear):
        def forward(self, x, scale=1.0, debug=False):  # debug: checkpoint() has it
            return super().forward(x) * scale + debug

    model = torch.nn.ModuleDict(dict(layer=Scaled(2, 2)))
    x = torch.rand(3, 2)
    expected = model.layer(x, scale=2.0, debug=True)
    for _ in range(2):  # twice is once
        compat.prepare()
        turn_on_activation_checkpointing(model, "layer")
    torch.testing.assert_close(model.layer(x, scale=2.0, debug=True), expected)
    with torch.no_grad():
        assert torch.equal(model.layer(x, scale=2.0, debug=True), expected)


@pytest.mark.parametrize(
    ("head", "count"), [("MultiLabelLinearClsHead", 1), ("LinearClsHead", 0)]
)
def test_the_inferencer_of_one_label_names_that_of_several_once(head, count):
    compat.name_the_inferencer_for_several_labels()  # a second time
    model = dict(
        type="ImageClassifier",
        backbone=dict(type="LeNet5"),
        head=dict(type=head, in_channels=84, num_classes=3),
    )
    dataset = dict(type="CustomDataset", pipeline=[dict(type="PackInputs")])
    test = dict(dataset=dataset)
    cfg = Config(dict(model=model, test_dataloader=test))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ImageClassificationInferencer(cfg, pretrained=False, device="cpu")
    said = [each for each in told if "MultiLabelInferencer" in str(each.message)]
    assert len(said) == count
    assert all(each.filename == __file__ for each in said)


def test_mmengine_writes_files_whole_or_not_at_all(tmp_path, monkeypatch):
    path, link = tmp_path / "epoch_1.pth", tmp_path / "link.pth"
    link.symlink_to(path)
    save_checkpoint(dict(state_dict={}, meta=dict(epoch=1)), str(path))
    before = path.read_bytes()

    def cut_off(_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cut_off)
        for name in (path, link):
            with pytest.raises(OSError, match="full"):
                save_checkpoint(dict(state_dict={}, meta=dict(epoch=2)), str(name))
    assert path.read_bytes() == before
    save_checkpoint(dict(state_dict={}, meta=dict(epoch=3)), str(link))
    assert link.is_symlink() and torch.load(path)["meta"]["epoch"] == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, link.name]


def test_texts_and_devices_are_written_to_as_before(tmp_path):
    backend = get_file_backend(str(tmp_path))
    backend.put_text("é", tmp_path / "new" / "text")
    assert (tmp_path / "new" / "text").read_bytes() == "é".encode()
    backend.put(b"gone", os.devnull)
    assert not os.path.isfile(os.devnull)
