"""Fixtures: tiny CLIPs in open_clip's format, and the shared data where it is."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import capnet_mm  # noqa: F401  (makes torchvision importable and registers all)

REPOSITORY = Path(__file__).resolve().parent.parent

# Two layers a tower and the tokenizer's whole vocabulary: real, but small.
TEXT_CONFIG = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)
VISION_CONFIGS = dict(
    vit=dict(image_size=32, patch_size=8, width=32, head_width=16, layers=2),
    vit_224=dict(image_size=224, patch_size=56, width=32, head_width=16, layers=2),
    vit_336=dict(image_size=336, patch_size=84, width=32, head_width=16, layers=2),
    resnet=dict(image_size=64, layers=[1, 1, 1, 1], width=8, head_width=16),
    resnet_224=dict(image_size=224, layers=[1, 1, 1, 1], width=8, head_width=16),
    timm=dict(
        timm_model_name="mobilenetv2_035",
        timm_pool="avg",
        timm_proj="linear",
        image_size=32,
    ),
    timm_vit=dict(
        timm_model_name="vit_tiny_patch16_224",
        timm_pool="token",
        timm_proj="linear",
        image_size=32,
    ),
)


def write_clip(folder: Path, vision: str, seed: int = 0) -> str:
    """Save a random CLIP in open_clip's directory format; return its model name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = dict(
        embed_dim=16, vision_cfg=VISION_CONFIGS[vision], text_cfg=dict(TEXT_CONFIG)
    )
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    # Real towers have norm statistics and class differences worth a test.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.weight.data.uniform_(0.5, 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.25])
    (folder / "open_clip_config.json").write_text(
        json.dumps(dict(model_cfg=config, preprocess_cfg=preprocess))
    )
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def run_python(
    code: str, *args: str, timeout: float | None = None
) -> subprocess.CompletedProcess:
    """Run code in a new Python that finds this repository's package."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=timeout,
    )


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


# Imports once, which takes longer than most tests do, then becomes several processes.
# The package comes first, before anything imports torchvision.
_FORK = """
import capnet_mm, os, runpy, signal, sys
number, outputs, *sys.argv = sys.argv[1:]
children = []
def end(*_):
    for child in children:
        os.kill(child, signal.SIGKILL)
    os._exit(1)
signal.signal(signal.SIGTERM, end)
for rank in range(int(number)):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        os.dup2(os.open(os.path.join(outputs, str(rank)), os.O_WRONLY | os.O_CREAT), 1)
        runpy.run_path(sys.argv[0], {}, "__main__")
        sys.exit()
    children.append(child)
for _ in range(len(children)):
    child, status = os.wait()
    children.remove(child)
    if status:  # the others would wait for it
        end()
"""


def in_processes(number: int, file: str, *args: str) -> list:
    """Run a test's file as a script in several processes that can form a group.

    Returns what each of them prints last, as JSON.
    """
    environment = dict(
        os.environ,
        WORLD_SIZE=str(number),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=free_port(),
        OMP_NUM_THREADS="1",
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    with tempfile.TemporaryDirectory() as outputs:
        errors = Path(outputs, "errors")
        with errors.open("w") as stderr:
            parent = subprocess.Popen(
                [sys.executable, "-c", _FORK, str(number), outputs, file, *args],
                env=environment,
                stderr=stderr,
            )
            try:
                code = parent.wait(timeout=900)
            finally:
                parent.terminate()  # and with it the processes
        assert code == 0, errors.read_text()
        texts = [Path(outputs, str(rank)).read_text() for rank in range(number)]
    return [json.loads(text.splitlines()[-1]) for text in texts]


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> dict[str, str]:
    """Model names of tiny CLIPs by image tower."""
    root = tmp_path_factory.mktemp("clips")
    return {vision: write_clip(root / vision, vision) for vision in VISION_CONFIGS}


@pytest.fixture(scope="session")
def tiny_clip(clips) -> str:
    """A tiny CLIP with ViT image tower."""
    return clips["vit"]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The shared data and models beside the repository."""
    path = Path(os.environ.get("CAPNET_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path}; set CAPNET_SHARED to its folder")
    return path


@pytest.fixture
def make_clip_runner(clips, tmp_path):
    """Builds a runner of CAPNET on four images of noise, for one step of SGD.

    Its trained weights are random, so that each of them has a gradient.
    """
    import itertools

    import torch
    from mmengine.config import ConfigDict
    from mmengine.runner import Runner
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

    class Noise(torch.utils.data.Dataset):
        metainfo = dict(classes=("dog", "cat", "hot air balloon"))

        def __init__(self, size):
            self.size = size

        def __len__(self):
            return 4

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            shape = 3, self.size, self.size
            pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
            sample = DataSample().set_gt_label([index % 3])
            return dict(inputs=pixels, data_samples=sample)

    numbers = itertools.count()

    def make(vision, adapter, hooks=(), **kwargs):
        clip = dict(model=clips[vision])
        loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
        head = dict(
            classes=Noise.metainfo["classes"], prompt=dict(num_context=2), loss=loss
        )
        backbone = dict(adapter=adapter)
        config = dict(type="CLIPClassifier", clip=clip, backbone=backbone, head=head)
        model = MODELS.build(ConfigDict(config))
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim:
                torch.nn.init.normal_(parameter, std=0.1)
        work_dir = tmp_path / f"clip{next(numbers)}"
        return Runner(
            model,
            str(work_dir),
            train_dataloader=dict(
                dataset=Noise(VISION_CONFIGS[vision]["image_size"]),
                sampler=dict(type="DefaultSampler", shuffle=False),
                batch_size=4,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
            default_hooks=dict(checkpoint=None),
            custom_hooks=list(hooks),
            experiment_name=f"{work_dir}",
            default_scope="mmpretrain",
            cfg=kwargs,
        )

    return make
