"""One HTTP endpoint, JSON in and out: ``POST /api/predict``."""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from starlette.concurrency import run_in_threadpool

from .asking import MAX_LETTERS, MAX_WORDS, Label, SharedInferencer

PATH = "/api/predict"
_Word = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_LETTERS)
]


class PredictRequest(BaseModel):
    """What is asked.

    Attributes:
        image: Content of a picture file, in base64.
        words: Names to ask for beside the model's own classes.
        threshold: Probability from which a class is predicted; null: the model's own.
        topk: At most so many labels.
    """

    model_config = ConfigDict(extra="forbid")

    image: str
    words: list[_Word] = Field([], max_length=MAX_WORDS)
    threshold: float | None = Field(None, ge=0, le=1)
    topk: int | None = Field(None, ge=1)


class PredictedLabel(BaseModel):
    """A class that is predicted.

    Attributes:
        name: Of the class.
        score: Its probability.
        threshold: From which it is predicted.
        group: head, medium or tail; null where not known.
    """

    name: str
    score: float
    threshold: float
    group: str | None


class PredictResponse(BaseModel):
    """What the picture shows.

    Attributes:
        labels: Classes that are predicted, the most probable first.
        scores: Probability of every class, by name.
    """

    labels: list[PredictedLabel]
    scores: dict[str, float]


def add_endpoint(app: FastAPI, shared: SharedInferencer, max_bytes: int) -> None:
    """Have an application answer ``POST /api/predict``.

    Bad requests get 400 (no picture), 413 (too large), 415 (no JSON) or 422 (another
    JSON), with the reason as ``detail``.

    Args:
        app: Changed in place.
        shared: What is asked.
        max_bytes: Largest picture file that is taken, in bytes.
    """
    body = dict(schema=PredictRequest.model_json_schema())
    document = dict(requestBody=dict(required=True, content={"application/json": body}))

    @app.post(PATH, openapi_extra=document, description="Says what a picture shows.")
    async def predict(request: Request) -> PredictResponse:
        # Base64 takes four bytes for three.
        content = await _read(request, max_bytes * 4 // 3 + 100_000)
        return await run_in_threadpool(answer, shared, content, max_bytes)


def answer(shared: SharedInferencer, content: bytes, max_bytes: int) -> PredictResponse:
    """Answer the body of a request.

    Args:
        shared: What is asked.
        content: JSON of a :class:`PredictRequest`.
        max_bytes: Largest picture file that is taken, in bytes.

    Returns:
        The answer.

    Raises:
        HTTPException: The request is bad.
    """
    try:
        asked = PredictRequest.model_validate_json(content)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)
        raise HTTPException(422, detail) from error
    try:
        file = base64.b64decode(asked.image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, "image is no base64.") from error
    if len(file) > max_bytes:
        raise HTTPException(413, f"The picture has more than {max_bytes} bytes.")
    try:
        with tempfile.TemporaryDirectory() as folder:
            # From a file, since large JPEGs are decoded smaller from files alone.
            path = Path(folder, "picture")
            path.write_bytes(file)
            (result,) = shared.ask([str(path)], asked.words, asked.threshold)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if "error" in result:
        raise HTTPException(400, result["error"])
    labels = result["labels"]
    predicted = [label for label in labels if label.is_predicted][: asked.topk]
    scores = {label.name: label.score for label in labels}
    return PredictResponse(labels=list(map(_as_json, predicted)), scores=scores)


def _as_json(label: Label) -> PredictedLabel:
    return PredictedLabel(
        name=label.name,
        score=label.score,
        threshold=label.threshold,
        group=label.group,
    )


async def _read(request: Request, limit: int) -> bytes:
    """The body, as far as it isn't too large."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Also keeps pages of other sites from asking without the browser's leave.
    if kind != "application/json":
        raise HTTPException(415, "Send JSON, with content-type application/json.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise HTTPException(413, f"The request has more than {limit} bytes.")
    return bytes(content)
