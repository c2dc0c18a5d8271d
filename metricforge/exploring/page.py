"""The HTML file: data, thumbnails, program and drawing library in one, which loads nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray

from metricforge.evaluation import Ints
from metricforge.exploring.spaces import Space
from metricforge.exploring.thumbnails import Thumbnails
from metricforge.report.page import printable


@dataclass(frozen=True)
class Content:
    """What the page shows of N images.

    Args:
        title: Its heading.
        about: A sentence on what is shown.
        names: The name of each image, [N].
        labels: int64 [N], the class of each.
        classes: Names of the classes.
        groups: int64 [N], the group of each, or None.
        group_names: Names of the groups.
        parts: int64 [N], the part of each.
        part_names: Names of the parts.
        spaces: Embeddings of the images, the trained network's first.
        thumbnails: The images, or None of vectors.
    """

    title: str
    about: str
    names: Sequence[str]
    labels: Ints
    classes: Sequence[str]
    groups: Ints | None
    group_names: Sequence[str]
    parts: Ints
    part_names: Sequence[str]
    spaces: Sequence[Space]
    thumbnails: Thumbnails | None


def page(content: Content) -> str:
    """The file's text; the same content gives the same bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["shown"] = printable
    own = files(__package__)
    read = {name: own.joinpath(name).read_text(encoding="utf-8") for name in _FILES}
    return environment.from_string(read["page.html.jinja"]).render(
        title=content.title,
        about=content.about,
        style=read["page.css"],
        library=read["vendor/scatterplot.js"],
        licences=read["vendor/LICENSES.txt"],
        program=read["page.js"],
        # No name can end the element: "<" is spelled out.
        data=json.dumps(_data(content)).replace("<", "\\u003c"),
    )


_FILES = (
    "page.html.jinja",
    "page.css",
    "page.js",
    "vendor/scatterplot.js",
    "vendor/LICENSES.txt",
)


def _data(content: Content) -> dict[str, Any]:
    """The content as plain values; arrays are base64 of their little-endian bytes."""
    tiles = content.thumbnails
    return {
        "names": [printable(name) for name in content.names],
        "classes": [printable(name) for name in content.classes],
        "labels": _packed(content.labels, "<i4"),
        "groups": None if content.groups is None else _packed(content.groups, "<i4"),
        "groupNames": [printable(name) for name in content.group_names],
        "parts": _packed(content.parts, "<i4"),
        "partNames": list(content.part_names),
        "thumbnails": tiles
        and {
            "side": tiles.side,
            "across": tiles.across,
            "sheets": [
                f"data:image/jpeg;base64,{base64.b64encode(sheet).decode()}"
                for sheet in tiles.sheets
            ],
        },
        "spaces": [
            {
                "name": space.name,
                "maps": [
                    {"name": name, "places": _packed(places, "<f4")}
                    for name, places in space.maps.items()
                ],
                "near": space.nearest.shape[1],
                "nearest": _packed(space.nearest, "<i4"),
                "distances": _packed(space.distances, "<f4"),
                "fromClass": _packed(space.from_class, "<f4"),
            }
            for space in content.spaces
        ],
    }


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
