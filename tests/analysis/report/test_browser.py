"""The report in a real browser: headless Chromium, driven by chromedriver, both from Debian."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis import report, table
from analysis.effects import CHOICES
from analysis.report import Options
from tests import limits
from tests.analysis import made

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER) and not os.environ.get("CI"):
    pytest.skip("no chromium: make chromium", allow_module_level=True)

DESKTOP, PHONE = (1280, 900), (390, 844)
MANY = 5000
PAGES = 10
"""Pages of rows that could be drawn in the time of an answer, at the most: there are fifty."""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of a sweep and a curriculum, and one of very many rows."""
    place = tmp_path_factory.mktemp("pages")
    made.sweep(place / "runs" / "grid", 120, cause=made.HOSTILE)
    made.curriculum(place / "runs" / "stages")
    about = Options(title=made.HOSTILE, time=datetime(2026, 1, 2, tzinfo=UTC))
    pages = {"both": place / "both.html", "many": place / "many.html"}
    report.write(analysis.load(place / "runs"), pages["both"], about)
    pages["many"].write_text(report.html(Many(), about))  # type: ignore[arg-type]
    return pages


class Many:
    """As many rows as a page must take, in all columns."""

    notes = ()

    def table(self, unfinished: bool) -> pd.DataFrame:
        rows = table.frame([])
        columns = {name: range(1, MANY + 1) for name in rows.columns}
        columns |= {name: [i % 97 for i in range(1, MANY + 1)] for name in CHOICES}
        words = {
            name: [f"{name} {i % 97}" for i in range(MANY)]
            for name in ("cause", "remark", "hosts", "model")
        }
        outcomes = {"outcome": ["ok", "oom", "failed"] * (MANY // 3) + ["ok"] * (MANY % 3)}
        fixed = {"sweep": "s", "stage": None, "backend": "megatron", "folder": None}
        return pd.DataFrame({**columns, **words, **outcomes, **fixed})[list(rows.columns)]

    def steps(self) -> pd.DataFrame:
        columns = ["folder", "sweep", "tokens", "step", "loss", "step_ms", "tokens_per_s"]
        return pd.DataFrame(columns=columns)

    def events(self) -> pd.DataFrame:
        return pd.DataFrame(columns=["folder", "sweep", "kind", "step", "time"])

    def attempts(self) -> pd.DataFrame:
        return pd.DataFrame(columns=["folder", "sweep", "started", "ended", "gpu_hours", "hosts"])


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    assert CHROMIUM and DRIVER, "no chromium: make chromium"
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(limits.EVENT)
    driver.set_page_load_timeout(limits.EVENT)
    driver.command_executor.client_config.timeout = limits.COMMAND
    yield driver
    driver.quit()


@pytest.fixture
def show(driver: Any, pages: dict[str, Path]) -> Open:
    """Open a report, in a window of some size, and wait until all its charts are drawn."""

    def load(name: str = "both", size: tuple[int, int] = DESKTOP) -> Any:
        driver.get("about:blank")
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": size[0],
                "height": size[1],
                "deviceScaleFactor": 1,
                "mobile": size == PHONE,
            },
        )
        driver.get(pages[name].as_uri())
        wait(driver, "document.documentElement.dataset.charts == charts.length")
        return driver

    return load


def wait(driver: Any, condition: str) -> None:
    limits.until(lambda: driver.execute_script(f"return {condition}"))


def run(driver: Any, script: str, *values: Any) -> Any:
    return driver.execute_script(script, *values)


def cells(driver: Any, name: str) -> list[str]:
    """Cells of a column in the rows on the screen."""
    return run(
        driver,
        """
        const heads = [...document.querySelectorAll('#points-table th[data-name]')];
        const place = heads.findIndex((head) => head.dataset.name === arguments[0]);
        return [...document.querySelectorAll('#points-body tr')]
            .map((row) => row.children[place].textContent);""",
        name,
    )


def type_in(driver: Any, selector: str, text: str) -> None:
    run(
        driver,
        """
        const field = document.querySelector(arguments[0]);
        field.value = arguments[1]; field.dispatchEvent(new Event('input'));""",
        selector,
        text,
    )


def count(driver: Any) -> int:
    return int(run(driver, "return shown.length"))


def test_no_errors_and_nothing_leaves_the_page(show: Open, pages: dict[str, Path]) -> None:
    driver = show()
    run(driver, "fetch('https://example.invalid/x').catch(() => { window.refused = true; })")
    wait(driver, "window.refused === true")
    messages = [line["message"] for line in driver.get_log("browser")]
    assert len(messages) == 2 and all("Content Security Policy" in line for line in messages), (
        messages
    )
    events = [json.loads(event["message"])["message"] for event in driver.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    sent = [url for url in urls if not url.startswith(("data:", "about:"))]
    assert sent == [pages["both"].as_uri()]


def test_charts_are_drawn(show: Open) -> None:
    driver = show()
    drawn = run(
        driver,
        """return [...document.querySelectorAll('.plot')].map((plot) =>
        [plot.classList.contains('js-plotly-plot'), plot.querySelectorAll('svg .trace').length])""",
    )
    assert len(drawn) == 11 and all(plotly and traces for plotly, traces in drawn)
    assert run(driver, "return document.querySelector('h1').textContent").startswith("</script><b>")
    assert run(driver, "return document.querySelectorAll('body b').length") == run(
        driver, "return document.querySelectorAll('.shared b').length"
    )


def test_clicks_sort(show: Open) -> None:
    driver = show()
    head = "#points-table th[data-name=tokens_per_s]"
    for way in ("ascending", "descending"):
        driver.find_element("css selector", f"{head} button").click()
        assert run(driver, f"return document.querySelector('{head}').ariaSort") == way
        numbers = [float(cell.replace(",", "")) for cell in cells(driver, "tokens_per_s") if cell]
        assert numbers == sorted(numbers, reverse=way == "descending")
    run(driver, "state.page = 1; draw()")
    assert cells(driver, "tokens_per_s")[-1] == "", "unknown is last in both ways"
    from selenium.webdriver.common.keys import Keys

    driver.find_element("css selector", f"{head} button").send_keys(Keys.ENTER)
    assert run(driver, f"return document.querySelector('{head}').ariaSort") == "ascending"


def test_words_outcomes_and_columns_filter(show: Open) -> None:
    driver = show()
    every = count(driver)
    assert every == 123
    type_in(driver, "#search", "does not DIVIDE")
    assert set(cells(driver, "outcome")) == {"rejected"} and count(driver) == 12
    type_in(driver, "#search", "")
    driver.find_element("css selector", "[data-outcome=oom]").click()
    assert set(cells(driver, "outcome")) == {"oom"}
    assert any("</script><b>" in cell for cell in cells(driver, "cause"))
    driver.find_element("css selector", "[data-outcome=oom]").click()
    for text, holds in (
        (">=2", lambda v: v >= 2),
        ("2", lambda v: v == 2),
        ("!2", lambda v: v != 2),
        (">1,<3", lambda v: 1 < v < 3),
    ):
        type_in(driver, "[aria-label='filter micro_batch']", text)
        values = cells(driver, "micro_batch")
        assert values and all(holds(int(cell)) for cell in values), text
    type_in(driver, "[aria-label='filter micro_batch']", ">x")
    assert run(driver, "return document.querySelectorAll('[aria-invalid=true]').length") == 1
    type_in(driver, "[aria-label='filter micro_batch']", "")
    type_in(driver, "[aria-label='filter recompute']", "=full")
    assert set(cells(driver, "recompute")) == {"full"}
    type_in(driver, "[aria-label='filter recompute']", "")
    assert count(driver) == every


def test_all_columns_can_be_shown_and_rows_taken_as_csv(show: Open) -> None:
    driver = show()
    count = len(driver.find_elements("css selector", "#points-heads th"))
    run(driver, "document.querySelector('#choice button').click()")
    every = len(driver.find_elements("css selector", "#points-heads th"))
    assert every == run(driver, "return columns.length") > count
    run(
        driver,
        "points.rows && columns.find((one) => one.name === 'cause').texts.splice(0, 1, '=1+1')",
    )
    lines = run(driver, "return csv()").split("\r\n")
    assert len(lines) == 1 + 123 + 1 and lines[0].startswith("row,")
    assert any(",'=1+1" in line for line in lines)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["both", "many"])
def test_the_page_is_not_wider_than_the_screen(
    show: Open, name: str, size: tuple[int, int]
) -> None:
    driver = show(name, size)
    wide = run(driver, "return [document.scrollingElement.scrollWidth, innerWidth]")
    assert wide == [size[0], size[0]]


def test_the_reason_of_a_failure_is_seen_without_scrolling(show: Open) -> None:
    driver = show()
    run(driver, "state.outcomes.add('oom').add('rejected'); filter()")
    edges, rights, heights = run(
        driver,
        """
        const cells = [...document.querySelectorAll('#points-body td.long:has(.fold:not(:empty))')];
        const lines = cells.map((cell) => cell.querySelector('.fold')).map((fold) =>
            fold.clientHeight / parseFloat(getComputedStyle(fold).lineHeight));
        return [innerWidth, cells.filter((cell) => cell.cellIndex < 4).map(
            (cell) => cell.getBoundingClientRect().right), lines];""",
    )
    assert rights and max(rights) <= edges and max(heights) <= 2.1
    assert (
        run(
            driver,
            """const fold = document.querySelector('#points-body .fold:not(:empty)');
        const before = fold.clientHeight; fold.textContent += ' more'.repeat(200);
        const cut = fold.clientHeight; fold.click();
        return [fold.title.length > 0, cut <= before * 2.1, fold.clientHeight > cut]""",
        )
        == [True] * 3
    )


def test_on_a_phone_what_went_wrong_is_stacked(show: Open) -> None:
    driver = show(size=PHONE)
    rights = run(
        driver,
        """return [...document.querySelectorAll('.stack td')].map(
        (cell) => cell.getBoundingClientRect().right)""",
    )
    assert rights and max(rights) <= PHONE[0]


def test_very_many_rows_answer_at_once(show: Open) -> None:
    driver = show("many")
    run(driver, "document.querySelector('#choice button').click()")  # all columns
    assert run(driver, "return document.querySelectorAll('#points-body tr').length") == 100
    took = run(
        driver,
        """
        const best = (work) => Math.min(...[1, 2, 3].map(() => {
            const began = performance.now(); work(); document.body.offsetHeight;
            return performance.now() - began; }));
        return [best(draw), best(() => sort(columns.find((one) => one.name === 'tokens_per_s'))),
                best(() => { state.text = 'cause 13'; filter(); }),
                best(() => { state.text = ''; filter(); })];""",
    )
    page, *answers = took
    assert max(answers) < PAGES * page, took


def test_it_prints(show: Open) -> None:
    driver = show("many")
    pdf = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
    assert "first 1,000 of 5,000 rows" in run(driver, "return byId('cut').textContent")
    assert run(driver, "return document.querySelectorAll('#points-body tr').length") == 100
