"""A small model behind a real server on a port of this machine."""

import threading
import time
from contextlib import contextmanager

import uvicorn

from capnet_mm.apis.asking import SharedInferencer
from capnet_mm.apis.demo_page import build_app

from .exporting import CLASSES, make_inferencer

GROUPS = dict(head=(0,), medium=(1,), tail=(2,))


def make_shared(clips, tower="timm", pooling=None) -> SharedInferencer:
    inferencer = make_inferencer(clips, tower, pooling)
    inferencer._dataset_meta = dict(classes=CLASSES, groups=GROUPS)
    inferencer._take_names(inferencer.classes)
    return SharedInferencer(inferencer)


@contextmanager
def serving(shared, **options):
    """Gives the port."""
    app = build_app(shared, **options)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
