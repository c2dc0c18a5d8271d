"""The page in a real browser: it loads nothing, and answers to pointer and keyboard."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metricforge.exploring.explore import Explored
from metricforge.recipes.components import make_dataset
from metricforge.registry import Registry
from metricforge.spec import Spec
from tests.exploring.conftest import CLASSES, EACH, HOSTILE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="there is no Chromium on this machine")

QUIET = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-sync", "--disable-component-update",
)  # fmt: skip


@pytest.fixture(scope="module")
def opened(made: Explored) -> Iterator[tuple[Any, list[str]]]:
    """The page, and what went wrong or was asked of a network so far."""
    told: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1300, "height": 800})
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: (told.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda asked: told.append(asked.url))
        page.goto(made.path.as_uri())
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        yield page, told
        browser.close()


@pytest.fixture
def page(opened: tuple[Any, list[str]]) -> Iterator[Any]:
    shown, told = opened
    shown.locator("#points").focus()
    shown.keyboard.press("Escape")
    yield shown
    # The drivers of a browser without a GPU warn of their own slowness.
    own = [each for each in told if "GL Driver Message" not in each]
    assert [each for each in own if not each.startswith(("data:", "blob:", "file:"))] == []


def test_classes_are_listed_by_what_fails_most(page: Any) -> None:
    numbers = page.locator("#class-list .number").all_inner_texts()
    assert len(numbers) == CLASSES + 1
    rates = [int(text.partition(" ")[0]) for text in numbers]
    assert rates == sorted(rates)
    assert all(text.endswith(f"of {EACH}") for text in numbers)
    assert HOSTILE in page.locator("#class-list .label").all_inner_texts()


def test_a_class_that_is_clicked_is_selected(page: Any) -> None:
    page.locator("#class-list button").first.click()
    assert page.locator("#save").inner_text() == f"Save {EACH} as CSV"
    assert page.locator("#told").inner_text() == f"{EACH} images are selected."


def test_an_image_that_is_clicked_shows_its_neighbours(page: Any) -> None:
    page.locator("details").nth(1).evaluate("each => { each.open = true; }")
    page.locator("#far button").first.click()
    page.wait_for_timeout(700)
    assert page.locator("#shown").is_visible()
    assert page.locator("#neighbours h2").all_inner_texts() == [
        "Nearest, trained", "Nearest, untrained",
    ]  # fmt: skip
    assert page.locator("#neighbours button").count() == 16
    name = page.locator("#name").inner_text()
    page.locator("#neighbours button").nth(1).click()
    assert page.locator("#name").inner_text() != name


def test_hovering_a_point_names_its_class(page: Any) -> None:
    page.locator("#home").click()
    page.wait_for_timeout(600)
    box = page.locator("#points").bounding_box()
    assert page.locator("#tip").is_hidden()
    for x in range(10, 100, 2):  # somewhere on this line lies an image
        for y in (40, 50, 60):
            page.mouse.move(box["x"] + box["width"] * x / 100, box["y"] + box["height"] * y / 100)
            if page.locator("#tip").is_visible():
                assert page.locator("#tip div").inner_text()
                picture = page.locator("#tip canvas").bounding_box()
                assert picture["width"] == picture["height"]
                return
    pytest.fail("no point was found")


def test_a_lasso_around_all_selects_all(page: Any) -> None:
    page.keyboard.press("0")
    page.wait_for_timeout(600)
    page.keyboard.press("l")
    assert page.locator("#lasso").get_attribute("aria-pressed") == "true"
    box = page.locator("#points").bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.02)]
    x, y, width, height = (box[name] for name in ("x", "y", "width", "height"))
    page.mouse.move(x + width * corners[0][0], y + height * corners[0][1])
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(x + width * across, y + height * down, steps=20)
        page.wait_for_timeout(50)  # nobody draws faster, and the page takes a corner each 10 ms
    page.mouse.up()
    every = f"Save {(CLASSES + 1) * EACH} as CSV"
    sync_api.expect(page.locator("#save")).to_have_text(every)
    page.keyboard.press("l")


def test_search_selects_what_is_named_so_and_saves_it_as_a_dataset(
    page: Any, made: Explored, tmp_path: Path
) -> None:
    page.keyboard.press("/")
    page.keyboard.type("0")
    page.keyboard.press("Backspace")
    page.keyboard.type("1")
    with page.expect_download() as download:
        page.locator("#save").click()
    file = tmp_path / "selection.csv"
    download.value.save_as(file)
    page.locator("#search").fill("")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows
    assert all("1" in row["path"] for row in rows)
    spec = Spec.parse(f"csv:path={file},images={made.path.parent / 'all'}")
    dataset = make_dataset(Registry.installed(), spec, "data")
    assert len(dataset) == len(rows)
    assert {*dataset.classes} == {row["label"] for row in rows}


def test_arrow_keys_go_from_image_to_image(page: Any) -> None:
    page.locator("#points").focus()
    names = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        names.add(page.locator("#name").inner_text())
    assert len(names) > 1
    assert "class" in page.locator("#told").inner_text()


@pytest.mark.parametrize("colour", ["nearest is right", "distance from its class", "class"])
def test_colours_and_maps_can_be_changed(page: Any, colour: str) -> None:
    page.locator("#colour").select_option(label=colour)
    page.locator("#map").select_option(label="PCA")
    page.wait_for_timeout(700)
    page.locator("#space").select_option(label="untrained")
    page.wait_for_timeout(700)
    page.locator("#space").select_option(label="trained")
    assert page.locator("#legend").is_visible() == (colour != "class")
