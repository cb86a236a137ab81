"""What the terminal shows of a run. The log file in the work dir has all of it."""

import argparse
import logging
import sys
import warnings
from typing import NoReturn

from mmengine.logging import MMLogger

# What `args.console` may be: MMEngine's whole log; a summary; only what is wrong.
LOG, SUMMARY, WARNINGS = "log", "summary", "warnings"

# Packages whose use of what is deprecated is no business of a user.
_DEPENDENCIES = (
    "torch|torchvision|mmengine|mmcv|mmpretrain|open_clip|timm|safetensors|"
    "huggingface_hub|numpy|PIL|matplotlib|networkx|mat4py|modelindex|einops"
)
# MMEngine logs these at each training: of its own CheckpointHook's doing.
_OWN_DEPRECATIONS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of',
)


def stop(reason: object) -> NoReturn:
    """End with a sentence, and status 2 as argparse does.

    Args:
        reason (object): The sentence, or an error that says it.
    """
    print(f"error: {reason}", file=sys.stderr)
    sys.exit(2)


def add_console_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how much the terminal shows, as ``console``.

    Args:
        parser (ArgumentParser): Changed in place.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--verbose",
        dest="console",
        action="store_const",
        const=LOG,
        default=SUMMARY,
        help="show the whole log in the terminal; its file always has everything",
    )
    group.add_argument(
        "--quiet",
        dest="console",
        action="store_const",
        const=WARNINGS,
        help="show only the progress bar, warnings and errors",
    )


def prepare_console(console: str) -> None:
    """Have the process show what was asked for, before there is a runner.

    Unless the whole log is wanted, loggers that exist already show warnings and
    errors alone, as one does that reading a config makes; and Python no longer warns
    of what dependencies do that is deprecated, unless it was told of which warnings to
    show (``python -W``, ``PYTHONWARNINGS``).

    Args:
        console (str): ``'log'``, ``'summary'`` or ``'warnings'``.
    """
    if console == LOG:
        return
    if not sys.warnoptions:
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings(
                "ignore", category=category, module=rf"({_DEPENDENCIES})(\.|$)"
            )
    show_warnings_only(MMLogger.get_current_instance())


def show_warnings_only(logger: logging.Logger) -> logging.Logger:
    """Have a logger show warnings and errors alone; its files stay as they are.

    Args:
        logger (Logger): Changed in place. A higher level of its own is kept.

    Returns:
        Logger: The logger that was given.
    """
    for handler in logger.handlers:
        is_stream = isinstance(handler, logging.StreamHandler)
        if is_stream and not isinstance(handler, logging.FileHandler):
            handler.setLevel(max(handler.level, logging.WARNING))
            handler.addFilter(_concerns_the_user)
    return logger


def _concerns_the_user(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_OWN_DEPRECATIONS)
