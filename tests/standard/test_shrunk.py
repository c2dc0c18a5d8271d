"""The head `shrunk`: axes, codes, their bytes, and searches among these."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from metricforge_standard._codes import Binary, Int8, Plain, Product
from metricforge_standard.heads.shrunk import Shrunk

from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing import check_head

REGISTRY = Registry.installed()
WIDE, FEATURES = 16, 20


def build(text: str, dim: int = 8) -> Shrunk:
    torch.manual_seed(0)
    made = REGISTRY.build("head", Spec.parse(text), {"in_features": FEATURES, "dim": dim})
    assert isinstance(made, Shrunk)
    return made.eval()


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    """Clusters of unit length, whose dimensions have unlike deviations."""
    rng = torch.Generator().manual_seed(1)
    centres = torch.randn(40, WIDE, generator=rng).repeat(10, 1)
    spread = torch.linspace(1, 0.1, WIDE)
    return F.normalize((centres + 0.3 * torch.randn(400, WIDE, generator=rng)) * spread + 0.2)


def fitted(text: str, rows: torch.Tensor, dim: int = 8) -> Shrunk:
    head = build(text, dim)
    head.fit(rows)
    return head


def test_its_axes_are_the_principal_components(rows):
    small = fitted(f"shrunk:width={WIDE}", rows).smaller(rows)
    wide = rows.double()
    values, vectors = torch.linalg.eigh(wide.T @ wide)
    top = vectors[:, values.argsort(descending=True)[:8]]
    expected = F.normalize(wide @ top)
    distances = torch.cdist(expected, expected).float()
    assert torch.allclose(torch.cdist(small, small), distances, atol=1e-3)


def test_first_keeps_the_first_dimensions(rows):
    small = fitted(f"shrunk:width={WIDE},axes=first", rows).smaller(rows)
    assert torch.allclose(small, F.normalize(rows[:, :8]), atol=1e-6)


def test_before_it_is_fitted_it_is_the_head_within():
    features = torch.randn(5, FEATURES)
    head = build("shrunk:of=linear")
    inner = F.normalize(head.of(features))
    assert torch.allclose(head(features), inner, atol=1e-6)


@pytest.mark.parametrize("of", ["linear", '"linear:normalize=false"'])
def test_all_axes_keep_all_distances(rows, of):
    rows = rows if of == "linear" else 3 * rows * torch.linspace(1, 2, len(rows))[:, None]
    small = fitted(f"shrunk:of={of},width={WIDE}", rows, WIDE).smaller(rows)
    assert torch.allclose(torch.cdist(small, small), torch.cdist(rows, rows), atol=5e-3)


def test_rows_that_are_not_scaled_are_centred(rows):
    head = fitted(f'shrunk:of="linear:normalize=false",width={WIDE}', 3 * rows)
    small = head.smaller(3 * rows)
    assert small.norm(dim=1).std() > 0.01
    assert small.mean(0).abs().max() < 1e-5


def test_bits_are_above_and_below_means(rows):
    head = fitted(f"shrunk:width={WIDE},code=binary", rows + 2, WIDE)
    share = (head.smaller(rows + 2) > 0).float().mean(0)
    assert ((share > 0.2) & (share < 0.8)).all()


@pytest.mark.parametrize("code", ["float", "int8", "binary", "pq,parts=4"])
def test_bytes_stand_for_the_rows_and_are_searched_as_these(rows, code):
    head = fitted(f"shrunk:width={WIDE},code={code}", rows)
    small = head.smaller(rows)
    codes = head.pack(small)
    assert codes.dtype == torch.uint8
    assert codes.shape == (400, head.code_bytes)
    assert torch.allclose(head.unpack(codes), small, atol=1e-6)
    index = head.index(codes)
    asked = codes if isinstance(index, faiss.IndexBinary) else small
    distances, nearest = index.search(asked[:30].numpy(), 10)
    exact = torch.cdist(small[:30].double(), small.double()).square()
    found = exact.gather(1, torch.from_numpy(nearest))
    assert np.allclose(found, exact.sort(dim=1).values[:, :10], atol=1e-5)
    assert (np.diff(distances, axis=1) >= -1e-5).all()


def test_codes_have_the_bytes_that_are_promised():
    codes = (Plain(12), Int8(12), Binary(12), Product(12, 3))
    assert [code.bytes for code in codes] == [48, 12, 2, 3]


def test_int8_errs_by_half_a_step_at_most(rows):
    code = Int8(WIDE)
    code.fit(rows)
    low, high = rows.aminmax(dim=0)
    span = high - low
    step = 1.4 * span / 255
    assert ((code(rows) - rows).abs() <= step / 2 + 1e-6).all()
    # A fifth beyond what it was fitted to it has values, and no further.
    assert ((code(rows + 0.2 * span) - rows - 0.2 * span).abs() <= step / 2 + 1e-6).all()
    assert torch.allclose(code(rows + 10)[0], high + 0.2 * span)


def test_a_dimension_without_deviation_stays_finite():
    code = Int8(2)
    code.fit(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    row = torch.tensor([[1.0, 0.5]])
    assert torch.allclose(code(row), row, atol=5e-3)
    assert torch.allclose(code.half()(row.half()).float(), row, atol=1e-2)


def test_each_part_of_a_product_is_its_nearest_centroid(rows):
    code = Product(WIDE, 4)
    code.fit(rows)
    made = code(rows).unflatten(1, (4, -1))
    for part in range(4):
        own = rows.unflatten(1, (4, -1))[:, part]
        nearest = torch.cdist(own.double(), code.centroids[part].double()).min(dim=1).values
        assert torch.allclose((made[:, part] - own).norm(dim=1), nearest.float(), atol=1e-5)


@pytest.mark.parametrize("code", [Binary(WIDE), Product(WIDE, 4)])
def test_a_turn_is_a_rotation_after_which_a_code_loses_less(rows, code):
    turn = code.turn(rows)
    assert torch.allclose(turn @ turn.T, torch.eye(WIDE), atol=1e-4)
    lost = []
    for each in (rows, rows @ turn.T):
        code.fit(each)
        lost.append(float((F.normalize(code(each)) - each).norm(dim=1).mean()))
    assert lost[1] < lost[0]


@pytest.mark.parametrize("code", ["binary", "pq,parts=4"])
def test_a_head_turns_its_axes_for_the_code(rows, code):
    plain, turned = (
        fitted(f"shrunk:width={WIDE},code={each}", rows).axes for each in ("float", code)
    )
    assert torch.allclose(turned @ turned.T, torch.eye(8), atol=1e-4)
    assert not torch.allclose((turned @ plain.T).abs(), torch.eye(8), atol=0.1)
    # Both span the same space.
    assert torch.allclose(torch.linalg.svdvals(turned @ plain.T), torch.ones(8), atol=1e-3)


def loss_of(code: Plain, rows: torch.Tensor) -> float:
    """How far rows are from their codes, around their mean as bits are."""
    code.fit(rows)
    around = rows - rows.mean(0) if isinstance(code, Binary) else rows
    return float((code(rows) - F.normalize(around)).norm(dim=1).mean())


@pytest.mark.parametrize(("dim", "code"), [(WIDE, Binary(WIDE)), (WIDE, Product(WIDE, 4))])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_a_turn_loses_less_than_random_ones(rows, dim, code, offset):
    rows = rows + offset if isinstance(code, Binary) else rows
    turn = code.turn(rows)
    least = loss_of(code, rows @ turn.T)
    others = [torch.linalg.qr(torch.randn(dim, dim)).Q for _ in range(8)]
    assert least < min(loss_of(code, rows @ other.T) for other in (*others, turn.T))


def test_a_head_rounds_as_its_turned_code_does(rows):
    head = fitted(f"shrunk:width={WIDE},code=binary", rows, WIDE)
    plain = fitted(f"shrunk:width={WIDE}", rows, WIDE)
    projected = plain.smaller(rows)
    code = Binary(WIDE)
    turned = projected @ code.turn(projected).T
    code.fit(turned)
    assert (head.smaller(rows) == code(turned)).float().mean() > 0.99


def test_few_dimensions_keep_their_lengths(rows):
    small = fitted(f"shrunk:width={WIDE}", rows, 1).smaller(rows)
    assert len(small.unique()) > 100


def test_nothing_is_rounded_in_training():
    head, features = build("shrunk:code=binary"), torch.randn(5, FEATURES)
    assert len(head.train()(features).unique()) > 2
    assert len(head.eval()(features).unique()) == 2


def test_too_few_rows_span_fewer_axes(rows):
    small = fitted(f"shrunk:width={WIDE}", rows[:4]).smaller(rows)
    assert small.isfinite().all()
    assert torch.linalg.matrix_rank(small) <= 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shrunk:width=4", "width of 8 or more, not 4"),
        ("shrunk:code=pq,parts=3", "8 dimensions into equal parts, not 3"),
        ("shrunk:of=linaer", "did you mean 'linear'"),
    ],
)
def test_what_can_not_be_shrunk_is_refused(text, told):
    with pytest.raises(UsageError, match=told):
        build(text)


def test_product_quantization_needs_rows_for_its_centroids(rows):
    with pytest.raises(UsageError, match="needs 256 training images or more, and has 255"):
        fitted(f"shrunk:width={WIDE},code=pq,parts=4", rows[:255])


def test_the_kit_finds_nothing():
    check_head('shrunk:of="linear:normalize=false",code=int8')
