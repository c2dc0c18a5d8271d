"""The head `shrunk`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from metricforge.contracts import Build, InnerSpec, ScalingItself
from metricforge.errors import UsageError
from metricforge.pairwise import unit_rows
from metricforge_standard._codes import Binary, Int8, Plain, Product

CODES = {"float": Plain, "int8": Int8, "binary": Binary}


class Shrunk(nn.Module):
    """The embedding of another head in fewer dimensions, and in fewer bits for each.

    Features [B, F] to rows [B, D]: the embedding of `of` along D axes, then rounded to a code. If
    that of `of` has unit length, so have rows of three or more dimensions before they are rounded;
    if it has not, it is centred. In
    training nothing is rounded. `metricforge shrink` fits axes and code to the training images of a
    finished run; until then the axes are the first D dimensions.

    Args:
        in_features: F, the features of the backbone.
        dim: D, the dimensions of the rows.
        of: Spec of the head.
        width: W, the dimensions of its embedding, D or more; none: D.
        axes: The principal components of its embeddings, or its first dimensions, as the loss
            `nested` trains them.
        code: The form of a row: float (4 D bytes), int8 (D bytes), binary (a bit for each
            dimension), or pq, product quantization.
        parts: M of pq, the bytes of a row; a divisor of D.

    Reference: Jégou & Chum, Negative Evidences and Co-occurrences in Image Retrieval, 2012.
    """

    unit_length = False
    centre: Tensor
    axes: Tensor

    def __init__(
        self,
        in_features: int,
        dim: int,
        build: Build[nn.Module],
        *,
        of: InnerSpec = "linear",
        width: int | None = None,
        axes: Literal["pca", "first"] = "pca",
        code: Literal["float", "int8", "binary", "pq"] = "float",
        parts: int = 16,
    ) -> None:
        super().__init__()
        width = dim if width is None else width
        if width < dim:
            raise UsageError(f"head 'shrunk' needs a width of {dim} or more, not {width}.")
        self.of = build(of, in_features=in_features, dim=width)
        self._kind = axes
        self.code: Plain = Product(dim, parts) if code == "pq" else CODES[code](dim)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("axes", torch.eye(dim, width))

    @property
    def code_bytes(self) -> int:
        """The bytes of a packed row."""
        return self.code.bytes

    def forward(self, features: Tensor) -> Tensor:
        wide = self._wide(features)
        return self._projected(wide) if self.training else self.smaller(wide)

    def smaller(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, W] of `of` as rows [B, D]."""
        rows: Tensor = self.code(self._projected(embeddings))
        return rows

    def fit(self, embeddings: Tensor) -> None:
        """Fit axes and code.

        Args:
            embeddings: float32 [N, W] of `of`, of training images.
        """
        wide = embeddings.double()
        # To centre rows of unit length, and scale them again, would change their distances.
        centre = torch.zeros_like(wide[0]) if self._scaled else wide.mean(0)
        axes = torch.eye(*self.axes.shape, dtype=torch.float64)
        if self._kind == "pca":
            found = torch.linalg.svd(wide - centre, full_matrices=False).Vh[: len(axes)]
            axes[: len(found)] = found
            # Fewer rows than dimensions span no more axes.
            axes[len(found) :] = 0
        self._set(centre, axes)
        turn = self.code.turn(self._projected(embeddings))
        if turn is not None:
            self._set(centre, turn.double() @ axes)
        self.code.fit(self._projected(embeddings))

    def pack(self, rows: Tensor) -> Tensor:
        """Embeddings float32 [N, D] as uint8 [N, code_bytes]."""
        return self.code.pack(rows)

    def unpack(self, codes: Tensor) -> Tensor:
        """The embeddings float32 [N, D] that were packed."""
        return self.code.unpack(codes)

    def index(self, codes: Tensor) -> Any:
        """A faiss index of packed embeddings, by euclidean distance.

        That of binary ones is by the Hamming distance, and takes packed queries.
        """
        return self.code.index(codes)

    def _wide(self, features: Tensor) -> Tensor:
        """The embedding of `of` [B, W], as a model of it alone gives it."""
        embedding: Tensor = self.of(features)
        if embedding.dtype != torch.float64:
            embedding = embedding.float()
        return unit_rows(embedding) if self._scaled else embedding

    @property
    def _scaled(self) -> bool:
        return bool(self.of.unit_length) if isinstance(self.of, ScalingItself) else True

    def _projected(self, wide: Tensor) -> Tensor:
        rows = (wide - self.centre.to(wide.dtype)) @ self.axes.to(wide.dtype).T
        # One or two dimensions of unit length would keep no more than a sign or an angle.
        return unit_rows(rows) if self._scaled and len(self.axes) > 2 else rows

    def _set(self, centre: Tensor, axes: Tensor) -> None:
        self.centre.copy_(centre)
        self.axes.copy_(axes)
