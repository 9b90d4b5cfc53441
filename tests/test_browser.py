"""Pages in a browser: no error, no request, controls that work, and no fault of accessibility.

Needs chromium. Without it, the tests skip; with GTN_BENCH_BROWSER=required, they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from helpers.graded import certificates_of, graded_records, write_run
from helpers.pages import MARKUP, page_run, write_page

from gtn_bench.analysis.records import summarize
from gtn_bench.reporting import numbers
from gtn_bench.reporting.html import curve_data

REQUIRED = os.environ.get("GTN_BENCH_BROWSER") == "required"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {1280: 900, 390: 844}

if not REQUIRED:
    pytest.importorskip("playwright", reason="needs playwright")
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if REQUIRED:
            pytest.fail(f"expects one of {', '.join(BROWSERS)}, found none")
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with samples, example images and two architectures."""
    folder = page_run(tmp_path_factory.mktemp("run"), architectures=["linear", "wide"], betas=(0.02, 0.05, 0.1))
    return write_page(folder, ["gtn is less robust"], ["another sentence"])


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with every grade and certificates."""
    records = graded_records({"plain": 0.0, "certified": 0.04})
    folder = write_run(tmp_path_factory.mktemp("graded"), summarize(records), certificates_of(records))
    return write_page(folder, ["gtn is less robust"], ["another sentence"])


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose names are markup."""
    folder = page_run(
        tmp_path_factory.mktemp("odd"), modes=MARKUP[:3], perturbations=MARKUP[3:5], architectures=MARKUP[5:], seeds=[0]
    )
    return write_page(folder, ["gtn is less robust"], ["another sentence"])


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, **options: Any) -> Iterator[Page]:
    """Open a page; in the end, check that it had no error and asked for nothing."""
    context = browser.new_context(viewport={"width": width, "height": SIZES[width]}, **options)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: problems.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    yield page
    assert [problem for problem in problems if not problem.startswith("data:")] == []
    context.close()


def lines(page: Page, kind: str = ".line") -> int:
    return page.locator(f".plots {kind}").count()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["made", "certified", "odd"])
def test_pages_are_accessible(browser: Browser, kind: str, scheme: Any, request: pytest.FixtureRequest) -> None:
    with opened(browser, request.getfixturevalue(kind), color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details:not(.menu)').forEach((each) => { each.open = true; })")
        found = Axe().run(page).response["violations"]
    grave = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert grave == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["made", "certified", "odd"])
@pytest.mark.parametrize("scripted", [True, False])
def test_pages_fit_a_telephone(browser: Browser, kind: str, scripted: bool, request: pytest.FixtureRequest) -> None:
    with opened(browser, request.getfixturevalue(kind), 390, java_script_enabled=scripted) as page:
        if scripted:
            page.evaluate("document.querySelectorAll('details:not(.menu)').forEach((each) => { each.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        else:
            box = page.locator("main").bounding_box()
            assert box and box["width"] <= 390


def test_curves_can_be_switched(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        assert lines(page) == 4 and page.locator(".plots .chart").count() == 2
        page.get_by_role("button", name="gtn", exact=True).click()
        assert lines(page) == 2 and lines(page, '.line[data-mode="vanilla"]') == 2
        assert page.get_by_role("button", name="gtn", exact=True).get_attribute("aria-pressed") == "false"
        page.get_by_role("button", name="gtn", exact=True).click()
        page.locator("summary", has_text="Architectures").click()
        page.get_by_label("wide").check()
        assert lines(page) == 8 and "Architectures: accepted (pooled), wide" in page.locator("#controls").inner_text()
        page.get_by_label("wide").uncheck()
        page.locator("summary", has_text="Single seeds").click()
        page.get_by_label("1", exact=True).check()
        assert lines(page, ".single") == 4 and lines(page, '.single[data-seed="1"]') == 4
        before = page.locator(".plots .band").first.get_attribute("d")
        page.get_by_role("button", name="whole curve").click()
        assert page.locator(".plots .band").first.get_attribute("d") != before
        page.get_by_role("button", name="none", exact=True).click()
        assert lines(page, ".band") == 0


def test_axes_can_be_switched(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        text = page.locator(".plots .chart").first.text_content() or ""
        assert "clean" in text and "beta: radius, pixel value" in text
        place = page.locator(".plots .line").first.get_attribute("d")
        page.get_by_role("button", name="log", exact=True).click()
        assert page.locator(".plots .line").first.get_attribute("d") != place
        page.get_by_role("button", name="L2", exact=True).click()
        assert "mean L2 distance, pixel value" in page.locator(".plots .chart").first.text_content()
        page.get_by_role("button", name="L∞", exact=True).click()
        assert "mean L-infinity distance" in (page.locator(".plots .chart").first.text_content() or "")
        page.get_by_role("button", name="linear", exact=True).click()
        assert "0.06" in (page.locator(".plots .chart").first.text_content() or "")


def test_values_are_read_with_the_pointer_and_the_keyboard(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        chart, tip = page.locator(".plots .chart").first, page.locator(".plots .tip").first
        point = page.locator(".plots .chart").first.locator("g").nth(1)
        chart.scroll_into_view_if_needed()
        box = point.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert tip.is_visible() and "fooled images" in tip.inner_text() and "grade" in tip.inner_text()
        page.mouse.move(1, 1)
        assert not tip.is_visible()
        page.keyboard.press("Tab")
        chart.focus()
        page.keyboard.press("ArrowRight")
        first = page.locator("#reading").inner_text()
        assert first.startswith("gtn: ") and "accuracy 0." in first
        page.keyboard.press("ArrowDown")
        assert page.locator("#reading").inner_text().startswith("vanilla: ")
        page.keyboard.press("End")
        assert "beta 0.1;" in page.locator("#reading").inner_text()
        page.keyboard.press("Escape")
        assert not tip.is_visible()


def test_numbers_have_the_digits_of_tables(browser: Browser) -> None:
    """Exact ties, decimal ties whose nearest number lies below or above, and sums with an error in the last digit."""
    ties = [place / 16 for place in range(17)] + [place / 80 for place in range(81)] + [1.125, 11.25, 0.1 + 0.2475]
    sums = [sum([place / 4000] * 10) / 10 for place in range(1, 4000, 7)]
    script = files("gtn_bench.reporting.html").joinpath("static", "numbers.js").read_text(encoding="utf-8")
    page = browser.new_page()
    values = curve_data.numbers([*ties, *sums])
    found = page.evaluate(
        f"(values) => {{{script}\nreturn values.map((each) => [share(each), distance(each)]); }}", values
    )
    page.close()
    assert [tuple(texts) for texts in found] == [
        (numbers.accuracy(value), numbers.distance(value)) for value in (*ties, *sums)
    ]


def test_the_data_of_a_chart_follow_what_is_switched_on(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        details = page.locator("details.points").first
        details.locator("summary").click()
        assert details.locator("tbody tr").count() == 2 * 4
        served = details.locator("tbody tr").nth(1).inner_text().split()
        page.get_by_role("button", name="vanilla", exact=True).click()
        assert details.locator("tbody tr").count() == 4
        shown = details.locator("tbody tr").nth(1).inner_text().split()
        assert [text for text in shown if text != "accepted"] == served  # the same digits


def test_tables_are_sorted(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        table = page.locator("#areas table").first
        header = table.locator("th", has_text="fgsm")

        def column() -> list[float]:
            return [
                float(text.split()[0].rstrip("†✓"))
                for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts()
            ]

        header.locator("button").click()
        assert header.get_attribute("aria-sort") == "ascending" and column() == sorted(column())
        header.locator("button").focus()
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "descending" and column() == sorted(column(), reverse=True)


def test_comparisons_samples_and_classes_are_filtered(browser: Browser, made: Path) -> None:
    with opened(browser, made) as page:
        rows = page.locator(".forest tbody tr:visible")
        assert rows.count() == 2
        page.locator("#forest-filter select").select_option("noise")
        assert rows.count() == 1 and "noise" in rows.first.inner_text()
        samples = page.locator("#viewer .sample")
        assert samples.count() == 4 and "softmax probability" in page.locator("#viewer").inner_text()
        page.locator("#viewer select").nth(1).select_option("2")
        assert samples.count() == 1 and "class 2" in samples.first.inner_text()
        page.locator("#viewer select").nth(1).select_option("")
        page.locator("#viewer input[type=range]").fill("2")
        for outcome in ("broken", "survived"):
            page.get_by_role("button", name=outcome, exact=True).click()
            texts = page.locator("#viewer .sample figcaption").all_inner_texts()
            assert all(outcome in text for text in texts if not text.startswith("clean"))
        page.locator("#class-controls select").nth(1).select_option("0.1")
        assert page.locator("#class-table tbody tr").count() == 2


def test_without_javascript_figures_and_tables_show(browser: Browser, made: Path) -> None:
    with opened(browser, made, java_script_enabled=False) as page:
        figures = page.locator("img.figure")
        assert figures.count() == 2 + 2 + 2 and all(each.is_visible() for each in figures.all())
        sizes = [each.bounding_box() for each in figures.all()]
        assert all(size and size["width"] > 200 and size["height"] > 50 for size in sizes)
        assert page.locator("main table:visible").count() >= 7 and page.locator(".forest circle").count() == 2
        assert not page.locator(".controls").first.is_visible()


def test_certificates_and_grades_are_drawn(browser: Browser, certified: Path) -> None:
    with opened(browser, certified) as page:
        assert lines(page, ".certified") == 6 and lines(page, ".proof") == 6 and lines(page, ".ring") > 0
        hollow = page.locator('.plots .point[fill-opacity="0"]').count()
        suspects = page.evaluate(
            "JSON.parse(document.getElementById('data').textContent).curves"
            ".filter((curve) => curve.architecture === 'linear')"
            ".flatMap((curve) => curve.grade).filter((grade) => grade === 'suspect').length"
        )
        assert hollow == suspects > 0
        assert "neither attack nor certificate" in page.locator(".symbols").inner_text()


def test_names_with_markup_are_shown_as_they_are(browser: Browser, odd: Path) -> None:
    with opened(browser, odd) as page:
        shown = page.locator("body").inner_text()
        for name in MARKUP:
            assert " ".join(name.split()) in " ".join(shown.split())
        assert page.locator("img:not(.figure)").count() == 0 and page.locator("script").count() == 2
