"""A report in a browser: no errors, no requests, right numbers, readable and accessible throughout.

Needs Chromium (a system package), Playwright (its Python package alone) and for one test axe-core.
Without them the tests are skipped with the reason, except under CI=true, where they fail.
"""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.units import parse_quantity
from tests.fixtures import hostile_fit, report_fit

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
AXE = Path(
    os.environ.get("SCALEBAYES_AXE", Path.home() / ".cache" / "scalebayes-tests" / "axe.min.js")
)
WIDTHS = (390, 1280)


def without(reason):
    """Skip with a reason, or fail where everything must be there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("SCALEBAYES_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if path is None:
        without("no Chromium: install the system's package, or set SCALEBAYES_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("no Playwright: pip install playwright (its own browsers are not needed)")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def fit():
    return report_fit("coupled-discrepancy")


@pytest.fixture(scope="module")
def written(fit, tmp_path_factory):
    return sb.report(
        fit, tmp_path_factory.mktemp("page") / "report.html", N="70B", D="1.4T", C="1e23"
    )


@contextmanager
def opened(browser, path, **options):
    """The page; at the end there must be no console message, error or foreign request."""
    context = browser.new_context(**options)
    page, seen = context.new_page(), []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: seen.append(f"request: {request.url}"))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert seen == [f"request: {path.as_uri()}"]


@pytest.fixture
def page(browser, written):
    with opened(browser, written, viewport={"width": 1280, "height": 900}) as page:
        yield page


def ask(page, **values):
    """Write into the inputs, and wait until the answers are drawn."""
    for name, value in values.items():
        page.fill(f"#ask-{name}", value)
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def answer(page, name):
    """Median and bounds that the page tells."""
    text = page.text_content(f"#tell-{name}")
    median, low, high = re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", text).groups()
    return np.array([parse_quantity(value) for value in (median, low, high)])


def bounds(dataset, quantity):
    return (
        dataset[quantity].isel({dataset[quantity].dims[-1]: 0}).quantile([0.5, 0.05, 0.95]).values
    )


@pytest.mark.parametrize(
    ("N", "D"), [("70B", "1.4T"), ("1B", "20B"), ("300M", "2e11"), ("20B", "4T")]
)
def test_a_run_has_the_loss_that_python_gives(page, fit, N, D):
    ask(page, N=N, D=D)
    expected = sb.predict(fit, N=N, D=D)
    np.testing.assert_allclose(answer(page, "run-loss"), bounds(expected, "loss"), rtol=0.01)
    np.testing.assert_allclose(answer(page, "run-new"), bounds(expected, "new_run"), rtol=0.01)
    decades = float(expected["decades_beyond"][0])
    told = "no more compute" if decades == 0 else f"{decades:.2f} orders of magnitude"
    assert page.text_content("#tell-run-beyond") == told


@pytest.mark.parametrize("C", ["1e20", "6e21", "5.76e23", "3e25"])
def test_a_budget_has_the_optimum_that_python_gives(page, fit, C):
    ask(page, C=C)
    expected = sb.frontier(fit, C=C)
    for name, quantity in (("N", "N"), ("D", "D"), ("ratio", "tokens_per_param"), ("loss", "loss")):
        # Printed to two digits, as its width warrants.
        rtol = 0.01 if quantity != "tokens_per_param" else 0.05
        np.testing.assert_allclose(
            answer(page, f"best-{name}"), bounds(expected, quantity), rtol=rtol, err_msg=quantity
        )


@pytest.mark.parametrize(("C", "T"), [("1e24", "10T"), ("1e23", "100B"), ("1e25", "1e14")])
def test_serving_moves_the_optimum_as_python_says(page, fit, C, T):
    ask(page, C=C, T=T)
    expected = sb.frontier(fit, C=C, cost=sb.with_inference(T))
    for name in ("N", "D"):
        np.testing.assert_allclose(
            answer(page, f"best-{name}"), bounds(expected, name), rtol=0.01, err_msg=name
        )
    assert answer(page, "best-N")[0] < np.median(sb.frontier(fit, C=C)["N"])


def test_the_marks_move_on_the_frontier(page):
    places = []
    for C, N in (("1e21", "1B"), ("1e24", "100B")):
        ask(page, C=C, N=N, D="20B")
        marks = page.locator("#figure-live-frontier .mark")
        assert marks.count() == 3
        boxes = [marks.nth(i).bounding_box() for i in range(3)]
        places.append([(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes])
    (ring, square, _), (ring_later, square_later, _) = places
    assert square_later[0] > square[0]  # more compute lies to the right, and more parameters above
    assert square_later[1] < square[1]
    assert ring_later[1] < ring[1]


def test_the_square_lies_on_the_median_of_the_frontier(page, fit):
    """Two budgets fix the scale of the axis of N; at a third the mark must lie at the median."""

    def height(C):
        ask(page, C=C)
        box = page.locator("#figure-live-frontier rect.mark").bounding_box()
        return box["y"] + box["height"] / 2

    C = ["1e20", "1e22", "1e24"]
    sizes = np.log10(np.median(sb.frontier(fit, C=C)["N"], axis=(0, 1)))
    heights = [height(one) for one in C]
    expected = np.interp(sizes[1], sizes[[0, 2]], [heights[0], heights[2]])
    assert heights[1] == pytest.approx(expected, abs=1.5)


def test_it_works_by_keyboard_alone(page):
    def focused():
        return page.evaluate("document.activeElement.id")

    for _ in range(60):
        page.keyboard.press("Tab")
        if focused() == "ask-N":
            break
    assert focused() == "ask-N"
    page.keyboard.press("Control+a")
    page.keyboard.type("7B")
    ask(page)
    assert (
        page.text_content("#tell-run-C")
        == f"{sb.units.format_quantity(6 * 7e9 * parse_quantity(page.input_value('#ask-D')))} FLOP"
    )
    page.keyboard.press("Tab")
    assert focused() == "slide-N"
    before = page.text_content("#tell-run-loss")
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    ask(page)
    assert parse_quantity(page.input_value("#ask-N")) < 7e9
    assert page.text_content("#tell-run-loss") != before
    assert page.get_attribute("#slide-N", "aria-valuetext") == page.input_value("#ask-N")


@pytest.mark.parametrize("text", ["70 billion", "-3", "0", "", "1e"])
def test_what_is_no_quantity_is_marked_and_the_answer_stays(page, text):
    before = page.text_content("#tell-run-loss")
    ask(page, N=text)
    assert page.get_attribute("#ask-N", "aria-invalid") == "true"
    assert page.text_content("#tell-run-loss") == before
    page.locator("#ask-N").blur()
    ask(page)
    assert page.get_attribute("#ask-N", "aria-invalid") is None
    assert parse_quantity(page.input_value("#ask-N")) > 0


def test_what_lies_beyond_the_grid_is_said_and_not_guessed(page):
    ask(page, N="1e20", C="1e40")
    assert "This page knows N from" in page.text_content("#wrong-run")
    assert page.text_content("#tell-run-loss") == ""
    assert "This page knows C from" in page.text_content("#wrong-budget")
    assert page.text_content("#tell-best-N") == ""
    ask(page, C="1e21", T="1e15")
    assert "no run that this page knows of" in page.text_content("#wrong-budget")
    ask(page, N="1B", C="1e22", T="0")
    assert page.text_content("#wrong-run") == page.text_content("#wrong-budget") == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_page(browser, written, width):
    with opened(browser, written, viewport={"width": width, "height": 844}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("h1").bounding_box()["y"] < 150
        assert page.locator(".answers li").first.is_visible()


def test_what_scrolls_sideways_on_a_phone_says_so(browser, written):
    with opened(browser, written, viewport={"width": 390, "height": 844}) as page:
        parts = page.evaluate(
            """[...document.querySelectorAll(".scroll")].filter(one => one.clientWidth).map(one => {
              const before = one.previousElementSibling;
              const says = before && before.className == "more" && before.clientHeight > 0;
              return [one.getAttribute("aria-label"), one.scrollWidth > one.clientWidth, !!says];
            })"""
        )
    assert len(parts) > 8
    for label, scrolls, says in parts:
        assert scrolls == says, label
    with opened(browser, written, viewport={"width": 1200, "height": 844}) as page:
        assert not page.locator(".more").first.is_visible()


def test_dark_mode_is_dark_and_print_is_light(browser, written):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    with opened(browser, written, color_scheme="dark") as page:
        assert paper(page) == "rgb(20, 23, 27)"
        page.emulate_media(media="print")
        assert paper(page) == "rgb(255, 255, 255)"
        assert not page.locator("#live-part").is_visible()
        assert page.locator("#figure-frontier").is_visible()
    with opened(browser, written, color_scheme="light") as page:
        assert paper(page) == "rgb(255, 255, 255)"
        assert not page.locator("#figure-frontier").is_visible()  # the one that moves stands above


def printed_pages(browser, path):
    with opened(browser, path) as page:
        return len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(prefer_css_page_size=True)))


def test_it_prints_on_two_to_four_pages(browser, written):
    assert 2 <= printed_pages(browser, written) <= 4


def headings_in_print(browser, path):
    """Page, height above its lower edge in points, and text of each heading, from the outline."""
    with opened(browser, path) as page:
        pdf = page.pdf(prefer_css_page_size=True, outline=True, tagged=True)
    (kids,) = re.findall(rb"/Type\s*/Pages\s.*?/Kids\s*\[([^\]]*)\]", pdf, re.DOTALL)
    pages = re.findall(rb"(\d+) 0 R", kids)
    entry = rb"/Title\s*\((.*?)\)\s.*?/Dest\s*\[(\d+) 0 R\s*/XYZ ([\d.]+) ([\d.]+)"
    found = []
    for title, number, _, height in re.findall(entry, pdf, re.DOTALL):
        found.append((pages.index(number), float(height), title.decode("latin1")))
    return found


def test_no_heading_stands_alone_at_the_foot_of_a_printed_page(browser, written):
    found = headings_in_print(browser, written)
    titles = [title for _, _, title in found]
    assert {"Data", "Fit and residuals", "References"} <= set(titles)
    below = 11 / 25.4 * 72  # the margin
    two_lines = 2 * 1.34 * 8.5
    for _, height, title in found:
        assert height > below + 1.15 * 8.5 + two_lines, title


@pytest.mark.slow
def test_so_does_that_of_the_default_on_published_points(browser, fitted, tmp_path):
    fit = fitted("hoffmann2022", "coupled-drift")
    path = sb.report(fit, tmp_path / "report.html", N="70B", D="1.4T", C="1e24")
    assert 2 <= printed_pages(browser, path) <= 4
    assert path.stat().st_size < 2e6


def test_without_scripts_the_page_still_stands(browser, written):
    with opened(browser, written, java_script_enabled=False) as page:
        assert page.locator(".answers li").first.is_visible()
        assert page.locator("#figure-frontier").is_visible()
        assert not page.locator("#live-part").is_visible()
        assert "With scripts allowed" in page.locator("noscript").inner_text()


def test_hostile_names_and_paths_are_shown_and_not_run(browser, tmp_path):
    path = sb.report(hostile_fit(), tmp_path / "a <b>'report'#?%20&.html")
    with opened(browser, path) as page:
        assert page.evaluate("window.hacked") is None
        assert "window.hacked='script'" in page.locator("h1").inner_text()
        assert page.locator("#live-part").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious(browser, written, width, scheme):
    if not AXE.is_file():
        without(f"no axe-core at {AXE}: .ci/run fetches it, or set SCALEBAYES_AXE")
    with opened(
        browser, written, viewport={"width": width, "height": 844}, color_scheme=scheme
    ) as page:
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    assert not [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found["violations"]]
