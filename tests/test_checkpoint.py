"""Checkpoints are looked at before a run."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import torch

from capnet_mm import cli


def test_a_web_address_is_downloaded_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    source = tmp_path / "source.pth"
    torch.save(dict(state_dict={}), source)
    fetched = []

    def download(url, path, progress):
        fetched.append(url)
        os.link(source, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    url = "https://example.org/models/net.pth?version=2"
    path = Path(cli.check_checkpoint(url))
    assert cli.check_checkpoint(url) == str(path)
    assert path.parent == tmp_path / "hub" / "checkpoints"
    assert path.name.startswith("net-") and path.suffix == ".pth"
    assert fetched == [url]


def test_addresses_that_end_alike_are_different_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / "served" / folder).mkdir(parents=True)
        weights = dict(state_dict=dict(weight=torch.tensor(value)))
        torch.save(weights, tmp_path / "served" / folder / "epoch_10.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        ends = ("a/epoch_10.pth", "b/epoch_10.pth", "b/epoch_10.pth?version=2")
        files = [cli.check_checkpoint(f"{address}/{end}") for end in ends]
        server.shutdown()
    assert len(set(files)) == 3
    assert [float(torch.load(f)["state_dict"]["weight"]) for f in files] == [1, 2, 2]


def test_schemes_of_mmengine_are_left_to_mmengine():
    assert cli.check_checkpoint("open-mmlab://resnet50") == "open-mmlab://resnet50"


def test_entries_are_added_to_the_meta_and_a_link_stays_a_link(tmp_path):
    file, link = tmp_path / "epoch_2.pth", tmp_path / "latest.pth"
    weights = dict(weight=torch.arange(3.0))
    torch.save(dict(meta=dict(epoch=2), state_dict=weights, other=[1]), file)
    link.symlink_to(file)
    cli.add_to_meta(str(link), dict(note=[0.5]))
    content = torch.load(file, weights_only=True)
    assert link.is_symlink() and content["other"] == [1]
    assert content["meta"] == dict(epoch=2, note=[0.5])
    assert torch.equal(content["state_dict"]["weight"], weights["weight"])


def test_entries_can_go_to_another_file_and_into_bare_weights(tmp_path):
    torch.save(dict(weight=torch.ones(1)), tmp_path / "bare.pth")
    before = (tmp_path / "bare.pth").read_bytes()
    cli.add_to_meta(str(tmp_path / "bare.pth"), dict(a=1), str(tmp_path / "out.pth"))
    assert (tmp_path / "bare.pth").read_bytes() == before
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    assert content["meta"] == dict(a=1)
