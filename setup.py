"""Installs CAPNET for MMPretrain: ``pip install -e .``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# Version ranges, and why each package is here. `constraints.txt` holds the exact
# versions that the tests were run with.
REQUIREMENTS = [
    # Tensors and autograd. From 2.6 on `torch.load` refuses checkpoints that carry
    # code unless told otherwise; older versions run that code.
    "torch>=2.6,<3",
    # Needed by MMPretrain, which imports torchvision's transforms on start.
    "torchvision>=0.21,<1",
    # Runner, registries, hooks, configs.
    "mmengine>=0.10.4,<1",
    # MMPretrain asserts mmcv 2.0 to 2.3. Nothing here needs the compiled operators
    # of the full mmcv, so the pure Python build of the same code serves. It is not
    # among MMPretrain's own requirements. Keep one of the two: both install `mmcv`.
    "mmcv-lite>=2.0.1,<2.4",
    # The framework that this package plugs into: classifiers, pipelines, TTA.
    "mmpretrain>=1.2,<2",
    # The CLIP towers and their tokenizers, weights by (architecture, tag); from 3.0
    # on it loads `local-dir:`.
    "open_clip_torch>=3.0,<4",
    # Average precision, class counts, random states.
    "numpy>=1.24,<3",
    # Decodes images, and tells a truncated file from a whole one.
    "pillow>=9.4",
    # Textures and threads of the benchmark of loading; mmcv-lite, which loads with
    # it, asks for the same build.
    "opencv-python>=4.5",
    # Reads CLIP weights that need no pickle, and writes those of the demo.
    "safetensors>=0.4",
    # Tables of logs and terminals, the progress bar.
    "rich>=13,<16",
    # Figures; from 3.7 on a legend has its place outside the axes.
    "matplotlib>=3.7,<4",
    # The page of a report; escapes all that is put in.
    "jinja2>=3.1,<4",
]

EXTRAS = {
    "export": [
        # Writes ONNX files, with what belongs to them.
        "onnx>=1.18,<2",
        # Runs them, for the check at export, and makes eight bits of them.
        "onnxruntime>=1.20,<2",
        # What PyTorch's exporter translates with.
        "onnxscript>=0.5,<1",
    ],
    "demo": [
        # The page; 6.15.1 mends holes in its security.
        "gradio>=6.15.1,<7",
        # What it is served with, and the HTTP endpoint; all come with gradio.
        "fastapi>=0.115,<1",
        "gradio_client>=2,<3",
        "pydantic>=2,<3",
        "starlette>=0.40,<2",
        "uvicorn>=0.30,<1",
    ],
    "test": [
        # As in the extras above, which tests run.
        "fastapi>=0.115,<1",
        "gradio>=6.15.1,<7",
        "gradio_client>=2,<3",
        "onnx>=1.18,<2",
        "onnxruntime>=1.20,<2",
        "onnxscript>=0.5,<1",
        "pydantic>=2,<3",
        "starlette>=0.40,<2",
        "uvicorn>=0.30,<1",
        "pytest>=7",
        # Runs the tests in several processes.
        "pytest-xdist>=3.2",
        # Draws the input that readers and losses are tested with.
        "hypothesis>=6.100",
        # Tests check style as well.
        "ruff>=0.5",
        # The independent source that average precision is checked against.
        "scikit-learn>=1.3",
        # Sigmoid and Pareto density that the loss and the draw are checked against.
        "scipy>=1.10",
        # Reads the Markdown of tables as a reader's program does.
        "markdown-it-py>=3",
        # Opens the page in a browser, where there is one.
        "playwright>=1.48,<2",
        # Reads the declarations above, to compare them with the imports.
        "packaging>=22",
    ],
}


def read_version() -> str:
    """Returns ``__version__`` of the package without importing it."""
    text = (ROOT / "capnet_mm" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError("capnet_mm/__init__.py does not define __version__")
    return found.group(1)


setup(
    name="capnet_mm",
    version=read_version(),
    description="Long-tailed multi-label recognition with CLIP, for MMPretrain",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["capnet_mm", "capnet_mm.*"]),
    # The mark of a package with type hints (PEP 561), and what reports are made from.
    package_data={
        "capnet_mm": ["py.typed"],
        "capnet_mm.apis": ["*.jinja", "*.css"],
        "capnet_mm.visualization": ["*.jinja", "*.css"],
    },
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
)
