"""What a person does with the page, in a real browser: open it, step through it, filter, search, compare."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed (scripts/setup dev)")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from computer_use_cache.report import render
from computer_use_cache.report.build import build
from computer_use_cache.run_models import Run
from computer_use_cache.store.disk import DiskStore
from report import made_runs, shop

CONTRAST = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const colour = rgb(getComputedStyle(element).backgroundColor);
    if (colour.length < 4 || colour[3] > 0.9) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!says || !element.checkVisibility() || element.closest("script, style")) continue;
  const [one, other] = [light(rgb(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < 4.5) found.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """A Chromium without a window, which logs what it asks for."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (on Debian the packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    profile = f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--window-size=1280,900", profile, *sandbox):
        options.add_argument(argument)
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


class Shown:
    """A page in the browser."""

    def __init__(self, browser: WebDriver, file: Path) -> None:
        self.browser = browser
        browser.get_log("performance")
        browser.get(file.as_uri())

    def all(self, selector: str) -> list[Any]:
        """What is visible of the elements that a selector finds."""
        return [found for found in self.browser.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    @property
    def step(self) -> int:
        """The number of the only step that is shown."""
        [step] = self.all("section.step.now")
        return int(step.get_attribute("data-step"))

    @property
    def listed(self) -> list[int]:
        """The steps in the filmstrip."""
        return [int(item.get_attribute("data-step")) for item in self.all("#film li")]

    def when(self, holds: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 20).until(lambda _: holds())

    def asked_for(self) -> set[str]:
        """The schemes of everything that the page has loaded."""
        sent = [entry["message"] for entry in self.browser.get_log("performance")]
        return {
            message.partition('"url":"')[2].partition(":")[0]
            for message in sent
            if '"Network.requestWillBeSent"' in message
        }


def written(path: Path, store: DiskStore, *runs: Run) -> Path:
    with path.open("wb") as file:
        render.write(build(store, runs), file)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskStore]:
    opened = DiskStore(tmp_path_factory.mktemp("report") / "store", 2**28)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def orders(store: DiskStore) -> tuple[Run, Run]:
    """The same task twice; from step 7 on, the second one sees another screen."""
    first = made_runs.add_run(store, "first", made_runs.order("14:00"))
    return first, made_runs.add_run(store, "second", made_runs.order("15:00"))


def test_a_person_reads_a_run(browser: WebDriver, store: DiskStore, orders: tuple[Run, Run], tmp_path: Path) -> None:
    page = Shown(browser, written(tmp_path / "run.html", store, orders[1]))
    assert page.step == 1
    assert page.listed == list(range(1, 11))
    assert len(page.all("section.step")) == 1
    page.press("j", Keys.ARROW_RIGHT, Keys.ARROW_DOWN, "k")
    assert page.step == 3
    page.when(lambda: browser.current_url.endswith("#step-3"))
    told = browser.find_element(By.ID, "told").get_property("textContent")
    assert re.sub(r"\s+", " ", told) == "Step 3 of 10: 3 ENTER key(ENTER) hit"

    page.press("m")
    assert (page.listed, page.step) == ([7, 8, 9, 10], 7)
    assert "0.14% of the pixels differ, in 3 places" in page.all(".comparison")[0].text
    pictures = page.all(".comparison .both img")
    page.when(lambda: all(picture.get_property("naturalWidth") == 1280 for picture in pictures))
    assert all(picture.get_attribute("alt") for picture in browser.find_elements(By.TAG_NAME, "img"))
    page.all(".comparison summary")[0].click()
    assert not page.all(".comparison .both")
    page.press("j", "m")
    assert (len(page.listed), page.step) == (10, 8)

    page.press("/", *"stopped BEFORE")
    assert (page.listed, page.step) == ([10], 10)
    page.press(*" nothing")
    assert page.listed == []
    assert [found.text for found in page.all("#film .nothing")] == ["No step matches."]
    page.press(Keys.ESCAPE)
    assert len(page.listed) == 10

    page.press("?")
    assert page.all("dialog")
    page.press(Keys.ESCAPE)
    assert not page.all("dialog")
    page.all("#film a")[4].click()
    assert page.step == 5
    assert page.asked_for() == {"file", "blob"}
    assert browser.get_log("browser") == []


def test_two_runs_are_beside_each_other(
    browser: WebDriver, store: DiskStore, orders: tuple[Run, Run], tmp_path: Path
) -> None:
    page = Shown(browser, written(tmp_path / "runs.html", store, *orders))
    assert len(page.all("h1")) == 2
    assert page.all(".comparison") == []
    page.all("#film .divergence")[0].click()
    assert page.step == 7
    assert page.all(".comparison summary")[0].text == "Where the runs differ"
    assert len(page.all("section.step article")) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read(
    browser: WebDriver, store: DiskStore, orders: tuple[Run, Run], tmp_path: Path, theme: str, width: int
) -> None:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for runs in (orders[1:], orders):
        Shown(browser, written(tmp_path / f"{len(runs)}.html", store, *runs)).press("m")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(CONTRAST) == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_run_of_one_step_and_one_of_two_hundred(browser: WebDriver, store: DiskStore, tmp_path: Path) -> None:
    click: Any = ("The home page.", {"type": "click", "x": 9, "y": 9}, shop.png(shop.Screen()))
    short = made_runs.add_run(store, "short", made_runs.conversation([click], task="Click once."))
    long = Run(id="long", name="agent", began=short.began, ended=short.ended)
    store.run_log.add_run(long)
    store.run_log.add_calls("long", store.run_log.calls("short") * 200)
    for run, number in ((short, 1), (long, 200)):
        page = Shown(browser, written(tmp_path / f"{number}.html", store, run))
        assert len(browser.find_elements(By.CSS_SELECTOR, "#film li")) == number
        page.press("k", *"j" * 3)
        assert page.step == min(number, 4)
        image = page.all("section.step.now img")[0]
        page.when(lambda image=image: image.get_property("naturalWidth") == 1280)
