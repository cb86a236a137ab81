#!/usr/bin/env python
"""A page that says what pictures show: ``python tools/demo_app.py CHECKPOINT``."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Ask a trained model about pictures, in the browser"
    )
    cli.add_model_arguments(parser)
    add = parser.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="0.0.0.0 lets others of the network ask too; default: %(default)s, this "
        "machine alone",
    )
    add("--port", type=int, default=7860, help="default: %(default)s")
    add(
        "--max-megabytes",
        type=int,
        default=20,
        metavar="MB",
        help="largest picture file that is taken; default: %(default)s",
    )
    add("--api", action="store_true", help="also answer POST /api/predict, JSON")
    return parser.parse_args()


def main() -> None:
    """Serve."""
    args = parse_args()
    cli.prepare_console("warnings")
    try:
        import uvicorn

        from capnet_mm.apis.asking import SharedInferencer
        from capnet_mm.apis.demo_page import build_app

        shared = SharedInferencer(cli.build_inferencer(args))
    except ModuleNotFoundError as error:
        cli.stop(f'The page needs {error.name}: pip install -e ".[demo]"')
    except (ValueError, FileNotFoundError) as error:
        cli.stop(error)
    app = build_app(shared, args.max_megabytes, args.api)
    print(f"http://{args.host}:{args.port}  (Ctrl-C ends it)", flush=True)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
