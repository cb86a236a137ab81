"""The HTTP endpoint, asked by real clients."""

import base64
import http.client
import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from capnet_mm.apis.http_endpoint import PATH

from .exporting import CLASSES
from .serving import make_shared, serving

CLIENTS = 8
REQUESTS = int(os.environ.get("CAPNET_REQUESTS", "100"))  # docs/demo.md: of 1000
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served(clips):
    shared = make_shared(clips)
    with serving(shared, max_megabytes=1, has_endpoint=True) as port:
        yield shared, port


def post(port, body, headers=JSON):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def encoded(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()


def test_no_request_of_many_clients_is_lost(served, tmp_path):
    shared, port = served
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{index}.png") for index in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    bodies = [json.dumps(dict(image=encoded(path))) for path in paths]
    expected = [
        {label.name: label.score for label in result["labels"]}
        for result in shared.ask(paths)
    ]

    def ask(client):
        """One connection, kept open."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        answers = []
        for number in range(client, REQUESTS, CLIENTS):
            connection.request("POST", PATH, bodies[number % 5], JSON)
            response = connection.getresponse()
            answers.append((number, response.status, json.loads(response.read())))
        connection.close()
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = sorted(chain.from_iterable(pool.map(ask, range(CLIENTS))))
    assert [number for number, *_ in answers] == list(range(REQUESTS))
    for number, status, answer in answers:
        assert status == 200, answer
        assert answer["scores"] == pytest.approx(expected[number % 5], abs=1e-6)


def test_words_threshold_and_number_are_heeded(served, pictures):
    _, port = served
    body = dict(image=encoded(pictures[0]), words=["kite"], threshold=0, topk=2)
    status, answer = post(port, json.dumps(body))
    assert status == 200
    assert set(answer["scores"]) == {*CLASSES, "kite"}
    first, second = answer["labels"]
    assert first["score"] >= second["score"] and first["threshold"] == 0
    best = sorted(answer["scores"].values(), reverse=True)
    assert [first["score"], second["score"]] == best[:2]
    body.update(threshold=1, topk=None)
    assert post(port, json.dumps(body))[1]["labels"] == []


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, dict(image="no base64!"), JSON),
        (400, dict(image=base64.b64encode(b"no picture").decode()), JSON),
        (400, dict(image="", words=[]), JSON),
        (413, dict(image=base64.b64encode(bytes(1_000_001)).decode()), JSON),
        (413, dict(image="A" * 2_000_000), JSON),
        (415, dict(image=""), {"Content-Type": "text/plain"}),
        (422, dict(), JSON),
        (422, dict(image="", threshold=2), JSON),
        (422, dict(image="", topk=0), JSON),
        (422, dict(image="", word="kite"), JSON),
        (422, dict(image="", words="kite"), JSON),
        (422, dict(image="", words=[" "]), JSON),
        (422, dict(image="", words=["x" * 101]), JSON),
        (422, dict(image="", words=[f"w{i}" for i in range(101)]), JSON),
        (422, dict(image=5), JSON),
        (422, [1, 2], JSON),
    ],
)
def test_bad_requests_are_told_what_is_wrong(served, status, body, headers):
    found, answer = post(served[1], json.dumps(body), headers)
    assert found == status and answer["detail"]


@pytest.mark.parametrize("body", [b"", b"{not json", b"[" * 100_000, b'{"\xff": 1}'])
def test_what_is_no_json_is_a_bad_request(served, body):
    status, answer = post(served[1], body)
    assert status == 422 and "JSON" in answer["detail"][0]["msg"]


@pytest.mark.parametrize(
    ("mode", "size"), [("1", (9_000, 9_000)), ("1", (14_000, 14_000)), ("L", (999, 1))]
)
def test_a_picture_that_would_take_gigabytes_is_a_bad_request(
    served, tmp_path, mode, size
):
    Image.new(mode, size).save(tmp_path / "bomb.png")
    body = dict(image=encoded(tmp_path / "bomb.png"))
    status, answer = post(served[1], json.dumps(body))
    assert status == 400 and isinstance(answer["detail"], str)


def test_a_picture_that_ends_too_early_is_a_bad_request(served, pictures):
    with open(pictures[1], "rb") as file:
        cut = base64.b64encode(file.read()[:20_000]).decode()
    status, answer = post(served[1], json.dumps(dict(image=cut)))
    assert status == 400 and answer["detail"]


def test_the_endpoint_is_documented_and_there_only_when_asked_for(served):
    def openapi(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/openapi.json")
        return json.loads(connection.getresponse().read())["paths"]

    document = openapi(served[1])[PATH]["post"]
    body = document["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"image", "words", "threshold", "topk"}
    with serving(served[0]) as port:
        assert PATH not in openapi(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", PATH, "{}", JSON)
        assert connection.getresponse().status in (404, 405)
