"""The contract of an augmentation: each image depends on its own draws alone."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from metricforge.contracts import TakingVectors, TurningIntoClasses, Warping
from metricforge.model_card import offers_of
from metricforge.testing.checks import Broken, Skipped, checks, on_input
from metricforge.testing.growth import growth_note, measured
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject
from metricforge.training.augmentation import Chain

SHAPES = ((1, 16, 16), (3, 20, 24))
LENGTHS = ((24,), (7,))
SAME = 0.01  # of values up to 255

Shape: TypeAlias = tuple[int, ...]


def builds(subject: Subject) -> None:
    """It is built from channels and image size, or the length of vectors, and its options."""
    for shape in shapes(subject):
        made(subject, shape)


def is_applied_as_agreed(subject: Subject) -> None:
    """It is called with images and draws or has `warp`; `orientations` is absent, 4 or 8."""
    step = made(subject)
    if not isinstance(step, Warping) and not callable(step):
        raise Broken("can't be called; give it __call__(images, draws) or warp(grid, draws).")
    if isinstance(step, TurningIntoClasses) and step.orientations not in (4, 8):
        raise Broken(f"has orientations {step.orientations!r}; give 4 or 8, or none.")


def gives_images_of_the_same_shape(subject: Subject) -> None:
    """float32 images or vectors stay that and finite: grey or colour, of many, one or none."""
    for shape in shapes(subject):
        for count in (8, 1, 0):
            with on_input(f"{count} images of {list(shape)}"):
                after = augmented(made(subject, shape), images(count, shape))
                if not bool(after.isfinite().all()):
                    raise Broken("gave values that are not finite.")


def images_are_independent(subject: Subject) -> None:
    """An image becomes the same in any batch: alone, among others, in another order."""
    before, indices = shown(subject, 8), torch.arange(8) + 40
    together = augmented(made(subject), before, indices)
    rows = range(len(before))
    alone = [augmented(made(subject), before[i : i + 1], indices[i : i + 1]) for i in rows]
    turned = augmented(made(subject), before.flip(0), indices.flip(0)).flip(0)
    for other, how in ((torch.cat(alone), "alone"), (turned, "in another order")):
        if not torch.allclose(together, other, atol=SAME):
            raise Broken(
                f"made something else of an image {how}; use its own row and draws, nothing of "
                "the batch."
            )


def each_image_has_its_own_draws(subject: Subject) -> str | None:
    """Images that are alike become different ones, where it draws at all."""
    alike = shown(subject, 1).repeat_interleave(64, 0)
    step = made(subject)
    first, second = (augmented(step, alike, epoch=epoch) for epoch in (0, 1))
    if bool((first != first[:1]).any()):
        return None
    if not torch.equal(first, second):
        raise Broken("drew once for the whole batch; ask draws for a number for each image.")
    return "it draws nothing."


def same_place_same_images(subject: Subject) -> None:
    """A fresh one makes the same of an image at the same seed, epoch and index."""
    set_globals(1)
    first = augmented(made(subject), shown(subject, 8))
    set_globals(2)
    if not torch.allclose(first, augmented(made(subject), shown(subject, 8)), atol=SAME):
        raise Broken("made something else of the same images; draw from nothing but `draws`.")


def global_generators_stay(subject: Subject) -> None:
    """Building and using it leave the generators of python, numpy and torch alone."""
    with untouched("building and augmenting"):
        augmented(made(subject), shown(subject, 8))


def input_stays(subject: Subject) -> None:
    """It leaves the images that it is given as they are."""
    step = made(subject)
    if isinstance(step, Warping):
        return
    before = shown(subject, 8).float()
    # Chain passes on float32 images without a copy.
    augmented(step, before)
    if not before.equal(shown(subject, 8).float()):
        raise Broken("changed its input in place; begin with a copy.")


def stays_on_the_device(subject: Subject) -> None:
    """On a GPU its images are there too, and the same to rounding."""
    if not torch.cuda.is_available():
        raise Skipped("there is no GPU.")
    expected = augmented(made(subject), shown(subject, 8))
    actual = augmented(made(subject), shown(subject, 8).to("cuda"))
    if actual.device.type != "cuda":
        raise Broken(f"gave images on {actual.device}; keep them where they are.")
    if (actual.cpu() - expected).abs().mean() > 1:
        raise Broken("made something else of the images on a GPU than on the CPU.")


def growth(subject: Subject) -> str:
    """How the time and memory of augmenting grow with the batch."""
    step = made(subject)
    usages = [measured(n, lambda n=n: augmented(step, shown(subject, n))) for n in (64, 256)]  # type: ignore[misc]
    each = usages[-1].seconds / 256 * 1e6
    return f"{each:,.0f} us for one of {list(shapes(subject)[0])}; {growth_note(usages, 'B')}"


def shapes(subject: Subject) -> tuple[Shape, ...]:
    """The shapes that it is tried on: images, or vectors if it takes these."""
    if "shapes" not in subject.cache:
        # It may ask for either.
        step = subject.build(**offers_of(SHAPES[0]), **offers_of(LENGTHS[0]))
        takes_vectors = isinstance(step, TakingVectors) and step.takes_vectors is True
        subject.cache["shapes"] = LENGTHS if takes_vectors else SHAPES
    cached: tuple[Shape, ...] = subject.cache["shapes"]
    return cached


def shown(subject: Subject, count: int) -> Tensor:
    """Images of the first shape that it is tried on."""
    return images(count, shapes(subject)[0])


def made(subject: Subject, shape: Shape | None = None) -> Any:
    """The augmentation for images of a shape, by default the first that it is tried on."""
    return subject.build(**offers_of(shape or shapes(subject)[0]))


def images(count: int, shape: Shape) -> Tensor:
    """Images uint8 [count, C, H, W] or vectors [count, V] in which every row and column differs."""
    noise = torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(3))
    return noise.to(torch.float32 if len(shape) == 1 else torch.uint8)


def augmented(step: Any, before: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:
    """The images as the training loop would show them, float32."""
    indices = torch.arange(len(before)) if indices is None else indices
    fill = [] if before.ndim == 2 else [0.0] * before.shape[1]
    return Chain([step], 0, fill)(before, epoch, indices)


AUGMENTATION_CHECKS = checks(
    builds,
    is_applied_as_agreed,
    gives_images_of_the_same_shape,
    images_are_independent,
    each_image_has_its_own_draws,
    same_place_same_images,
    global_generators_stay,
    input_stays,
    stays_on_the_device,
    growth,
    first=3,
)
