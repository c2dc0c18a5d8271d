"""The form of a smaller embedding: its dimensions, and the bits of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable

from torch import Tensor, nn

from metricforge.errors import UsageError
from metricforge.model_card import Card
from metricforge.spec import Spec

Code: TypeAlias = Literal["float", "int8", "binary", "pq"]
HEAD = "shrunk"
"""The head that shrinks another's embedding."""

USUAL_DIMS = (256, 128, 64, 32)


@runtime_checkable
class Shrinks(Protocol):
    """A head around another, `of`, whose embeddings it makes smaller."""

    of: nn.Module
    code_bytes: int

    def smaller(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, W] of `of` as rows [B, D]."""

    def fit(self, embeddings: Tensor) -> None:
        """Fit it to embeddings float32 [N, W] of training images."""

    def pack(self, rows: Tensor) -> Tensor:
        """Rows [N, D] as uint8 [N, code_bytes]."""

    def index(self, codes: Tensor) -> Any:
        """A faiss index of packed rows."""


@dataclass(frozen=True)
class EmbeddingForm:
    """A form of embeddings.

    Args:
        dim: Dimensions. Default: those of the model.
        code: "float", "int8", "binary", or "pq", product quantization.
        parts: Bytes of a row, of "pq".
        axes: "pca", or "first" for the first dimensions, of a model trained with the loss `nested`.
    """

    dim: int | None = None
    code: Code = "float"
    parts: int = 16
    axes: Literal["pca", "first"] = "pca"

    def of(self, card: Card) -> tuple[str, int]:
        """The spec of the head for a model, and its dimensions; UsageError for too many."""
        dim = card.dim if self.dim is None else self.dim
        if not 1 <= dim <= card.dim:
            raise UsageError(f"keep at most the {card.dim} dimensions of the model, not {dim}.")
        options = {"of": card.head, "width": str(card.dim), "axes": self.axes, "code": self.code}
        if self.code == "pq":
            options["parts"] = str(self.parts)
        return str(Spec(HEAD, options)), dim

    def name(self, dim: int) -> str:
        """E.g. "64 x int8"."""
        first = "first " if self.axes == "first" else ""
        return f"{first}{dim} x {self.code}"


def rounding(card: Card) -> Code:
    """How a model rounds its embeddings; "float" if it does not."""
    if card.head.startswith("object "):
        return "float"
    spec = Spec.parse(card.head)
    code = spec.options.get("code", "float") if spec.name == HEAD else "float"
    return cast(Code, code)


def usual(dim: int) -> Iterator[EmbeddingForm]:
    """The forms to compare for a model of so many dimensions."""
    yield from (EmbeddingForm(each) for each in USUAL_DIMS if each < dim)
    yield EmbeddingForm(code="int8")
    yield from (EmbeddingForm(each, "int8") for each in USUAL_DIMS[1:3] if each < dim)
    yield EmbeddingForm(code="binary")
    small = min(64, dim)
    yield from (EmbeddingForm(small, "pq", parts) for parts in (32, 16) if small % parts == 0)
