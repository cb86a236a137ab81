"""The config that a checkpoint carries, read without running anything of it."""

import ast
from collections.abc import Iterator

from mmengine.config import Config
from mmpretrain.registry import MODELS, TRANSFORMS

# Where the classes come from that a checkpoint may ask for. What can fetch code from
# a hub (MMPretrain's HuggingFaceClassifier, its multimodal models) is none of them.
_TRUSTED_PACKAGES = (
    "capnet_mm.models.",
    "capnet_mm.datasets.transforms.",
    "mmpretrain.models.backbones.",
    "mmpretrain.models.classifiers.image.",
    "mmpretrain.models.heads.",
    "mmpretrain.models.losses.",
    "mmpretrain.models.necks.",
    "mmpretrain.models.tta.",
    "mmpretrain.models.utils.",
    "mmpretrain.datasets.transforms.",
    "mmcv.cnn.",
    "mmcv.transforms.",
    "mmengine.model.",
    "torch.nn.",
)
_TRUSTED_SCOPES = ("capnet_mm", "mmcv", "mmengine", "mmpretrain", "torch")
_OPT_IN = (
    "If the file comes from somebody you trust, say trust_config=True, or give the "
    "config file itself before the checkpoint."
)


def parse_config(text: str) -> Config:
    """Read the text that MMEngine writes of a config, as plain data.

    MMEngine's own ``Config.fromstring`` runs such a text as Python. This function
    takes only what MMEngine writes: names that are given numbers, strings, lists,
    tuples and dicts of these.

    Args:
        text (str): Content of ``meta['cfg']``.

    Returns:
        Config: The config.

    Raises:
        ValueError: There is anything else in the text.
    """
    try:
        statements = ast.parse(text).body
        pairs = [_name_and_value(statement) for statement in statements]
        return Config(dict(pairs))
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            "The config in the checkpoint isn't plain data, as MMEngine writes it "
            f"({error}): it was not run. Give the config file before the checkpoint."
        ) from error


def _name_and_value(statement: ast.stmt) -> tuple[str, object]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id, ast.literal_eval(_Plain().visit(statement.value))
    raise ValueError(f"line {statement.lineno} is more than name = value")


class _Plain(ast.NodeTransformer):
    """Writes ``dict(…)``, ``inf`` and ``nan`` as literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        is_dict = isinstance(node.func, ast.Name) and node.func.id == "dict"
        if not is_dict or any(keyword.arg is None for keyword in node.keywords):
            return node  # which literal_eval refuses
        if not node.args:
            keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
            return ast.Dict(keys, [keyword.value for keyword in node.keywords])
        # dict({'a.b': 1}): keys that are no names.
        only = len(node.args) == 1 and not node.keywords
        return node.args[0] if only and isinstance(node.args[0], ast.Dict) else node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in ("inf", "nan"):
            return ast.Constant(float(node.id))
        return node


def check_imports(cfg: Config) -> None:
    """Make sure that a config imports nothing but this package.

    Args:
        cfg (Config): A config that isn't trusted.

    Raises:
        ValueError: ``custom_imports`` names another module.
    """
    names = cfg.get("custom_imports", {}).get("imports") or []
    names = [names] if isinstance(names, str) else names
    others = [name for name in names if name not in ("capnet_mm", "mmpretrain.models")]
    if others:
        raise ValueError(
            f"The config in the checkpoint imports {others}, whose code would run "
            f"here: they were not imported. {_OPT_IN}"
        )


def check_types(part: dict | list) -> None:
    """Make sure that a config names only registered classes of known packages.

    MMEngine's registry takes a ``type`` that it doesn't know for the path of any
    object of any module, and calls it: ``subprocess.run`` as well. Scopes and modules
    ahead of a name are taken off, so that the registry finds what was checked. So is
    ``init_cfg``: the weights are in the checkpoint, and nothing need be fetched.

    Args:
        part (dict | list): Part of a config; changed in place.

    Raises:
        ValueError: A ``type`` is something else.
    """
    for node in _dicts(part):
        node.pop("init_cfg", None)
        if "type" not in node:
            continue
        scope, _, name = str(node["type"]).rpartition(".")
        found = _registered(name)
        module = f"{getattr(found, '__module__', '')}."
        if not module.startswith(_TRUSTED_PACKAGES) or (
            scope and scope.split(".")[0] not in _TRUSTED_SCOPES
        ):
            raise ValueError(
                f"The config in the checkpoint asks for {node['type']!r}, which is no "
                "model or transform of MMPretrain, MMCV, MMEngine or this package: it "
                f"was not built. {_OPT_IN}"
            )
        node["type"] = name


def _dicts(part: object) -> Iterator[dict]:
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list | tuple):
        for each in part:
            yield from _dicts(each)


def _registered(name: str) -> object | None:
    """What MMPretrain's registries and their parents know by a name."""
    for registry in (MODELS, TRANSFORMS):
        registry.import_from_location()
        while registry is not None:
            if name in registry.module_dict:
                return registry.module_dict[name]
            registry = registry.parent
    return None
