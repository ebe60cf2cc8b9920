"""The page in a browser: narrow and wide, light and dark, and everything on it that moves."""

import json
import math
import re

import numpy as np
import pytest
from support.folders import make_record, make_run, write_run
from support.pages import NEEDS_CHROMIUM, contrast, launched, luminance, opened

from genjax import report
from genjax.train.caption_grids import save_caption_grid
from genjax.train.sample_grids import save_grid
from genjax.train.solved_puzzles import SolvedPuzzle, SolvedPuzzles, write_puzzles

pytestmark = NEEDS_CHROMIUM
VIEWS = [(w, h, theme) for w, h in ((360, 800), (1440, 900)) for theme in ("light", "dark")]
# Losses of three runs at three steps: one has a hole, one has other steps, one is below 0.
LOSSES = {
    "nine": {10: 9.125, 20: None, 30: 3.0625},
    "ten": {10: 10.5, 20: 7.25, 30: 5.0009765625},
    "hundred": {15: -2.5, 25: 123456.75},
}
OBTAINED = {"nine": 9.5, "ten": 10.25, "hundred": 100.0, "begun": None}
EVIL = (
    "</script><script>document.title='broken'</script>"
    "<img src=x onerror=\"document.title='broken'\">"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(OBTAINED):
        run = make_run(name, seed, batch_size=16 + seed // 3)
        lines = [{"step": s, "loss": v, "grad_norm": 1.0} for s, v in LOSSES.get(name, {}).items()]
        figure = OBTAINED[name]
        record = make_record(run, obtained=figure) if figure else None
        grids = (10, 20, 30) if name != "begun" else ()
        write_run(root / name, run, metrics=lines, record=record, grids=grids)
    return report.write(root, root / "page" / "report.html", title="Four runs")


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def page(browser, path):
    page = opened(browser, path)
    yield page
    assert page.complaints == []
    page.context.close()


def order(page):
    """Names in the first column of the comparison, as they are seen, top to bottom."""
    return page.locator("#comparison tbody th").all_inner_texts()


def chart(page, name="loss"):
    return page.locator(f"figure.chart[data-metric={name}]")


def readout(page, name="loss"):
    """What the crosshair says: step, and value by run."""
    tip = chart(page, name).locator(".tip")
    assert tip.is_visible()
    step = tip.locator(".tip-step").inner_text().removeprefix("step ")
    values = {
        row.locator(".tip-name").inner_text(): row.locator(".tip-value").inner_text()
        for row in tip.locator(".tip-row").all()
    }
    return int(step), values


@pytest.mark.parametrize(("width", "height", "theme"), VIEWS)
def test_the_page_has_all_sections(browser, path, width, height, theme):
    page = opened(browser, path, width, height, color_scheme=theme)
    # Also what is folded away, and what is seen only after scrolling.
    page.locator("#aside summary").click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    images = page.evaluate("[...document.querySelectorAll('main img')].map((i) => i.naturalWidth)")
    assert len(images) == 9
    assert min(images) > 0
    assert page.locator("svg path.line").count() > 0
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(body) < 0.1) == (theme == "dark")
    # Texts against the card they stand on: 4.5 to 1; lines of curves: 3 to 1.
    page.mouse.move(0, 0)
    for selector, least in (
        ("h3", 4.5),
        ("td", 4.5),
        ("figcaption", 4.5),
        ("dt", 4.5),
        (".notes", 4.5),
        (".status", 4.5),
    ):
        colours = page.evaluate(
            """(s) => [...document.querySelectorAll(s)].map((node) => {
                const colour = getComputedStyle(node).color;
                let at = node, back;
                do { back = getComputedStyle(at).backgroundColor; at = at.parentElement; }
                while (back === "rgba(0, 0, 0, 0)" && at);
                return [colour, back];
            })""",
            selector,
        )
        assert colours
        for colour, back in colours:
            assert contrast(colour, back) >= least, (selector, colour, back)
    card = page.evaluate("getComputedStyle(document.querySelector('.chart')).backgroundColor")
    for i in range(8):
        line = page.evaluate(
            """(i) => { const n = document.createElement("i"); n.className = `swatch c${i}`;
            document.body.append(n); const c = getComputedStyle(n).backgroundColor; n.remove();
            return c; }""",
            i,
        )
        assert contrast(line, card) >= 3, i
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requests)
    page.context.close()


def test_a_click_on_a_title_sorts(page):
    written = order(page)
    head = page.locator("#comparison thead th", has_text="Obtained")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    # Numbers as numbers, and the run without a figure last, whichever way.
    assert order(page) == ["nine", "ten", "hundred", "begun"] != written
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").press("Enter")
    assert order(page) == ["hundred", "ten", "nine", "begun"]
    assert head.get_attribute("aria-sort") == "descending"
    page.locator("#comparison thead th", has_text="Run").locator("button").click()
    assert order(page) == ["begun", "hundred", "nine", "ten"]
    assert head.get_attribute("aria-sort") is None


def test_the_theme_follows_the_system_until_it_is_chosen(browser, path):
    page = opened(browser, path, color_scheme="light")

    def back():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = back()
    page.emulate_media(color_scheme="dark")
    dark = back()
    assert luminance(dark) < luminance(light)
    page.locator("#theme").click()
    assert back() == light
    page.reload()
    assert back() == light  # and it is remembered
    page.locator("#theme").click()
    assert back() == dark
    assert page.complaints == []
    page.context.close()


def test_the_theme_works_without_storage(browser, path):
    context = browser.new_context(color_scheme="light")
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})"
    )
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert errors == []
    context.close()


def test_hovering_shows_the_values_of_the_nearest_step(page, path):
    root = path.parent.parent
    lines = {
        name: [
            json.loads(line) for line in (root / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in LOSSES
    }
    svg = chart(page).locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    seen = {}  # where the mouse was, by the step that was read
    places = {}  # where the crosshair was, by step
    for i in range(60):
        at = box["width"] * (i + 0.5) / 60
        page.mouse.move(box["x"] + at, box["y"] + 80)
        step, values = readout(page)
        seen.setdefault(step, []).append(at)
        places[step] = float(svg.locator(".cross line").get_attribute("x1"))
        for name, value in values.items():
            # A run without this step shows its nearest.
            near = min(lines[name], key=lambda line: (abs(line["step"] - step), line["step"]))
            expected = near["loss"]
            if expected is None:
                assert value == "not finite"
            else:
                assert float(value.replace(",", "")) == pytest.approx(expected, rel=1e-5)
        assert ("hundred" in values) == (15 <= step <= 25)
        assert {"nine", "ten"} <= set(values)
    assert sorted(places) == [10, 15, 20, 25, 30]
    apart = (places[30] - places[10]) / 20
    for step, mouse in seen.items():
        assert places[step] == pytest.approx(places[10] + apart * (step - 10))
        assert all(abs(places[step] - at) <= apart * 2.5 + 0.5 for at in mouse[1:-1]), step
    page.mouse.move(0, 0)
    assert chart(page).locator(".tip").is_hidden()


def test_the_keyboard_shows_values(page):
    svg = chart(page).locator("svg")
    svg.focus()
    assert readout(page) == (30, {"nine": "3.0625", "ten": "5.00098"})
    page.keyboard.press("ArrowLeft")
    assert readout(page)[0] == 25
    page.keyboard.press("Home")
    assert readout(page) == (10, {"nine": "9.125", "ten": "10.5"})
    assert svg.get_attribute("aria-valuetext") == "step 10: nine 9.125, ten 10.5"
    page.keyboard.press("ArrowLeft")  # there is nothing before the first
    assert readout(page)[0] == 10
    page.keyboard.press("Escape")
    assert chart(page).locator(".tip").is_hidden()


def test_touching_shows_values(browser, path):
    page = opened(browser, path, 360, 800, has_touch=True, is_mobile=True)
    svg = chart(page).locator("svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 16, box["y"] + 100)
    assert readout(page)[0] == 30
    tip = chart(page).locator(".tip").bounding_box()
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= 360
    page.context.close()


def test_the_scale_switches_to_logarithmic_and_back(page):
    def heights():
        """Of the first and last point of the curve of `ten`, in pixels."""
        d = chart(page).locator("path.line.s3").get_attribute("d")
        points = re.findall(r"[ML]([\d.]+) ([\d.]+)", d)
        return [float(y) for _, y in points]

    def ticks():
        return chart(page).locator("text.tick.end").all_inner_texts()

    linear, before = heights(), ticks()
    button = chart(page).locator("figcaption button")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    y = heights()
    # Equal ratios are equal distances: 10.5 / 7.25 against 7.25 / 5.0009765625.
    expected = math.log(10.5 / 7.25) / math.log(7.25 / 5.0009765625)
    assert (y[1] - y[0]) / (y[2] - y[1]) == pytest.approx(expected, rel=0.03)
    assert "1 value at or below 0 has no place" in chart(page).inner_text()
    assert ticks() != before
    button.click()
    assert heights() == linear


def test_the_legend_hides_a_run_everywhere(page):
    lines = chart(page).locator("path.line")
    assert lines.count() == 3
    chip = page.locator(".legend .chip", has_text="hundred")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    assert lines.count() == 2
    chart(page).locator("svg").focus()
    page.keyboard.press("Home")
    seen = {readout(page)[0]}
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        seen.add(readout(page)[0])
    assert seen == {10, 20, 30}  # the steps of the others only
    chip.click()
    assert lines.count() == 3
    for name in LOSSES:
        page.locator(".legend .chip", has_text=name).click()
    assert "No run is shown." in chart(page).inner_text()


def test_only_differences_between_the_runs_shown(page):
    def names():
        return [
            t.replace("\n", "")
            for t in page.locator("#settings-table tbody th:visible").all_inner_texts()
        ]

    assert names() == ["experiment", "seed", "train.batch_size"]
    page.locator("#only-differences").uncheck()
    everything = names()
    assert len(everything) > 30
    assert everything[:3] == ["experiment", "seed", "train.batch_size"]
    page.locator("#only-differences").check()
    # The one run with another batch size, out of the picture.
    page.locator(".legend .chip", has_text="begun").click()
    assert names() == ["experiment", "seed"]
    assert page.locator("#settings-table thead th:visible").count() == 4
    page.locator("#only-differences").uncheck()
    assert names() == everything


def test_the_slider_shows_each_grid(page):
    article = page.locator("article.run", has=page.locator("h3", has_text="nine"))
    picture, slider = article.locator("img.grid"), article.locator("input[type=range]")
    last = picture.get_attribute("src")
    assert article.locator("output").inner_text() == "30"
    slider.focus()
    seen = {last}
    for step in ("20", "10"):
        page.keyboard.press("ArrowLeft")
        assert article.locator("output").inner_text() == step
        assert slider.get_attribute("aria-valuetext") == f"step {step}"
        seen.add(picture.get_attribute("src"))
        assert picture.evaluate("async (i) => { await i.decode(); return i.naturalWidth; }") > 0
    assert len(seen) == 3
    page.keyboard.press("End")
    assert picture.get_attribute("src") == last


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    """A run whose cell in row r and column c has the level 20 + 40 r + 100 c, 5 more at step 20."""
    root = tmp_path_factory.mktemp("sheets")
    folder = write_run(root / "run", make_run("sheets"))
    for step in (10, 20):
        levels = [20 + 40 * row + 100 * column + step // 4 for row in (0, 1) for column in (0, 1)]
        images = np.stack([np.full((4, 4, 1), level / 255) for level in levels])
        path = folder / "samples" / f"step_{step:08d}.png"
        save_grid(path, images, titles=("a", "a to b"))
    return report.write(folder, root / "report.html")


def level_at(page, share):
    """Grey level of the compared images at a share of their width."""
    code = """(picture, share) => {
        const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
        const x = Math.min(picture.width - 1, Math.floor(share * picture.width));
        copy.drawImage(picture, -x, -picture.height / 2);
        return copy.getImageData(0, 0, 1, 1).data[0];
    }"""
    return page.locator(".compare canvas").evaluate(code, share)


@pytest.mark.parametrize("width", [360, 1440])
def test_the_line_between_input_and_translation_moves(browser, sheets, width):
    page = opened(browser, sheets, width, 800)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    split, stage = page.locator(".compare input"), page.locator(".stage")
    first, second = 25, 125  # levels at step 20
    assert [level_at(page, share) for share in (0.2, 0.45)] == [first, first]
    assert [level_at(page, share) for share in (0.55, 0.8)] == [second, second]
    split.focus()  # keyboard
    page.keyboard.press("End")
    assert [level_at(page, share) for share in (0, 1)] == [first, first]
    assert split.get_attribute("aria-valuetext") == "100 % a, the rest a to b"
    page.keyboard.press("Home")
    assert [level_at(page, share) for share in (0, 1)] == [second, second]
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 20)  # pointer
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 20)
    page.mouse.up()
    assert abs(int(split.input_value()) - 75) <= 1
    assert [level_at(page, share) for share in (0.7, 0.8)] == [first, second]
    # Other columns, another row, and the grid of another step.
    left, right, example = (page.locator(".compare select").nth(i) for i in range(3))
    left.select_option("a to b")
    right.select_option("a")
    assert [level_at(page, share) for share in (0.7, 0.8)] == [second, first]
    example.select_option("2")
    assert [level_at(page, share) for share in (0.7, 0.8)] == [second + 40, first + 40]
    label = page.locator(".compare canvas").get_attribute("aria-label")
    assert label == "Example 2: a to b beside a"
    page.locator(".by-step input").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("img.grid").evaluate("(i) => i.decode()")
    assert [level_at(page, share) for share in (0.7, 0.8)] == [second + 37, first + 37]
    assert page.complaints == []
    assert page.requests == [sheets.as_uri()]
    page.context.close()


DRAWN = ("a large red circle", "\u05d0\u05d1 " * 60, "w" * 250)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """A run whose sample i has the level 20 i, 5 more at step 20; others are wrong at each step."""
    root = tmp_path_factory.mktemp("drawings")
    folder = write_run(root / "run", make_run("drawings"))
    for step, wrong in ((10, (0, 3)), (20, (1, 4, 11)), (30, None)):
        images = np.stack([np.full((8, 8, 3), 20 * i + step // 4) for i in range(12)])
        path = folder / "samples" / f"step_{step:08d}.png"
        save_caption_grid(path, images, DRAWN, 0, 255, wrong=wrong)
    return report.write(folder, root / "report.html")


@pytest.mark.parametrize("width", [360, 1440])
def test_samples_are_beside_their_captions(browser, drawings, width):
    page = opened(browser, drawings, width, 800)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert not page.locator("img.grid").is_visible()
    items, status = page.locator(".captioned li"), page.locator(".captioned [role=status]")
    assert [text.split("\n")[0] for text in items.all_inner_texts()] == [t.strip() for t in DRAWN]
    code = """(samples) => {
        const copy = new OffscreenCanvas(64, 64).getContext('2d', { willReadFrequently: true });
        return samples.map((sample) => {
            copy.drawImage(sample, 0, 0);
            const values = copy.getImageData(0, 0, 64, 64).data;
            return [...new Set(values)].filter((value) => value != 255);
        });
    }"""
    samples = page.locator(".captioned canvas")

    def shown():
        """Levels of the samples, and which are framed."""
        values = samples.evaluate_all(code)
        assert all(len(v) == 1 for v in values)
        frames = samples.evaluate_all("(s) => s.map((c) => getComputedStyle(c).outlineStyle)")
        return [v.pop() for v in values], [i for i, f in enumerate(frames) if f == "solid"]

    assert shown() == ([20 * i + 7 for i in range(12)], [])
    assert status.inner_text() == ""
    assert samples.first.get_attribute("aria-label") == "Sample 1 of a large red circle"
    # Samples are below their captions, in one row.
    boxes = [sample.bounding_box() for sample in items.first.locator("canvas").all()]
    words = items.first.locator("p").first.bounding_box()
    assert {box["y"] for box in boxes} == {boxes[0]["y"]}
    assert boxes[0]["y"] >= words["y"] + words["height"]
    for levels, wrong, counts in ((5, [1, 4, 11], (3, 3, 3)), (2, [0, 3], (2, 4, 4))):
        page.locator(".by-step input").focus()
        page.keyboard.press("ArrowLeft")
        page.locator("img.grid").evaluate("(i) => i.decode()")
        assert shown() == ([20 * i + levels for i in range(12)], wrong)
        notes = items.locator("p:last-child").all_inner_texts()
        assert notes == [f"{count} of 4 correct" for count in counts]
        right = f"{sum(counts)} of 12 samples are correct; the others are framed."
        assert status.inner_text() == right
    label = samples.first.get_attribute("aria-label")
    assert label == "Sample 1 of a large red circle, wrong"
    assert page.complaints == []
    assert page.requests == [drawings.as_uri()]
    page.context.close()


LISTED = [(1, 0, 3, 2, 5, 4), (5, 4, 3, 2, 1, 0)]  # orders that a run with a list has solved
FOUND = [(0, 1, 2, 3, 5, 4), (1, 0, 2, 3, 4, 5)]  # by image: two pieces are wrong


@pytest.fixture(scope="module")
def puzzles(tmp_path_factory):
    """Two runs on puzzles of 2x3 pieces of 4x4: one solution for all orders, and one for each.

    Piece k of image i has the level 40 k + 10 i + 20; the last two pieces of image 1 are equal.
    """
    root = tmp_path_factory.mktemp("puzzles")
    levels = 20 + 40 * np.arange(6)[None] + 10 * np.arange(2)[:, None]
    levels[1, 5] = levels[1, 4]
    images = levels.reshape(2, 2, 3).repeat(4, 1).repeat(4, 2)[..., None].repeat(3, 3)
    same = [(0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 4)]
    sure = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)

    def of(image, order, gap=0, gone=()):
        return SolvedPuzzle(image, gap, gone, order, FOUND[image], sure, same[image])

    some = [of(i, LISTED[0], g, m) for i in (0, 1) for g in (0, 1) for m in ((), (2,))]
    listed = [of(i, order) for i in (0, 1) for order in LISTED]
    for name, found in (("any", some), ("listed", listed)):
        folder = write_run(root / name, make_run(name), grids=(100_000, 200_000))
        sizes = dict(grid=(2, 3), height=8, width=12, images=2)
        solved = SolvedPuzzles(**sizes, any_order=name == "any", puzzles=tuple(found))
        write_puzzles(folder / "samples", images.astype(np.uint8), solved)
    return report.write(root, root / "report.html")


class Puzzle:
    """The puzzle of one run on a page."""

    def __init__(self, page, name):
        article = page.locator("article.run", has=page.locator("h3", has_text=name))
        self.page, self.figure = page, article.locator("figure.puzzle")
        self.slots = self.figure.locator(".slot")
        self.slots.first.wait_for()

    def pieces(self, image=0):
        """Piece in each slot by the level in the middle of its picture; None is empty."""
        values = [self.pixels(slot)[2][2] for slot in range(6)]
        return [(v[0] - 20 - 10 * image) / 40 if v[3] else None for v in values]

    def pixels(self, slot):
        """The picture of a slot, `[4, 4, 4]` with alpha."""
        code = """(slot) => {
            const copy = new OffscreenCanvas(4, 4).getContext("2d", { willReadFrequently: true });
            copy.drawImage(slot.querySelector("canvas"), 0, 0);
            return [...copy.getImageData(0, 0, 4, 4).data];
        }"""
        return np.reshape(self.slots.nth(slot).evaluate(code), (4, 4, 4))

    def pressed(self, do):
        self.figure.locator(f"[data-do={do}]").click()
        return self

    def choose(self, **choices):
        for name, value in choices.items():
            self.figure.locator(f"[data-choice={name}]").select_option(index=value)
        return self

    def wrong(self):
        """Slots whose frame is in the colour of wrong pieces."""
        code = """(slots) => slots.map((slot) => getComputedStyle(slot, "::after").boxShadow)"""
        shadows = self.slots.evaluate_all(code)
        return [i for i, shadow in enumerate(shadows) if shadow != "none"]

    def says(self):
        return self.figure.locator("[role=status]").inner_text().replace("\u00a0", " ")

    def label(self, slot):
        return self.slots.nth(slot).get_attribute("aria-label").replace("\u00a0", " ")


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_run_solves_a_shuffled_puzzle(browser, puzzles, width, theme):
    page = opened(browser, puzzles, width, 800, color_scheme=theme)
    puzzle = Puzzle(page, "any")
    assert sorted(puzzle.pieces()) == list(range(6)) != puzzle.pieces()
    assert puzzle.says() == "6 pieces, shuffled."
    assert puzzle.wrong() == []
    puzzle.pressed("solve")
    assert puzzle.pieces() == [0, 1, 2, 3, 5, 4]
    assert puzzle.wrong() == [4, 5]
    assert puzzle.says() == "The run's solution: 4 of 6 pieces right, confidence 65 %."
    assert puzzle.label(0).startswith("row 1, column 1: piece ")
    assert puzzle.label(0).endswith("right, probability 90 %")
    assert puzzle.label(4).endswith("wrong, probability 40 %")
    assert puzzle.slots.nth(4).inner_text().replace("\u00a0", " ") == "\u00d7 40 %"
    orders = {tuple(puzzle.pressed("shuffle").pieces()) for _ in range(8)}
    assert len(orders) > 1  # drawn at random
    assert puzzle.wrong() == []
    puzzle.choose(image=1).pressed("solve")  # its wrong pieces are equal
    assert puzzle.pieces(1) == [1, 0, 2, 3, 4, 4]
    assert puzzle.wrong() == [0, 1]
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    shown = puzzle.figure.bounding_box()
    assert shown["x"] >= 0
    assert shown["x"] + shown["width"] <= width
    assert page.complaints == []
    assert page.requests == [puzzles.as_uri()]
    page.context.close()


def test_gaps_are_left_out_and_missing_pieces_are_empty(browser, puzzles):
    page = opened(browser, puzzles)
    puzzle = Puzzle(page, "any")
    assert puzzle.choose(missing=1).says() == "5 pieces, shuffled; 1 of 6 missing."
    assert sorted(p for p in puzzle.pieces() if p is not None) == [0, 1, 3, 4, 5]
    puzzle.pressed("solve")
    assert puzzle.pieces() == [0, 1, None, 3, 5, 4]
    assert puzzle.label(2) == "row 1, column 3: empty"
    assert puzzle.says() == "The run's solution: 3 of 5 pieces right, confidence 64 %."
    assert (puzzle.pixels(0)[..., 3] == 255).all()
    puzzle.choose(gap=1).pressed("solve")
    alpha = np.full((4, 4), 255)
    alpha[0] = alpha[:, 0] = 0  # as `erode` replaces the first row and column
    np.testing.assert_array_equal(puzzle.pixels(0)[..., 3], alpha)
    assert page.complaints == []
    page.context.close()


def test_listed_shuffles_follow_one_another(browser, puzzles):
    page = opened(browser, puzzles)
    puzzle = Puzzle(page, "listed")
    for order in (LISTED[0], LISTED[1], LISTED[0]):
        assert puzzle.pieces() == list(order)
        assert puzzle.pressed("solve").pieces() == [0, 1, 2, 3, 5, 4]
        puzzle.pressed("shuffle")
    assert not puzzle.figure.locator("[data-choice=gap]").is_visible()
    page.context.close()


def test_two_pieces_are_exchanged_by_hand(browser, puzzles):
    page = opened(browser, puzzles)
    puzzle = Puzzle(page, "listed")
    assert puzzle.pieces() == [1, 0, 3, 2, 5, 4]
    puzzle.slots.nth(0).click()  # pointer
    assert puzzle.slots.nth(0).get_attribute("aria-pressed") == "true"
    puzzle.slots.nth(1).click()
    assert puzzle.pieces() == [0, 1, 3, 2, 5, 4]
    assert puzzle.says() == "2 of 6 pieces right."
    assert puzzle.slots.nth(0).get_attribute("aria-pressed") == "false"
    puzzle.slots.nth(5).focus()  # keyboard
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")  # there is nothing beyond the last column
    page.keyboard.press("ArrowLeft")
    assert puzzle.slots.nth(4).evaluate("(slot) => slot === document.activeElement")
    page.keyboard.press("Space")
    assert puzzle.pieces() == [0, 1, 5, 2, 3, 4]
    puzzle.pressed("solve")
    assert puzzle.wrong() == [4, 5]
    puzzle.slots.nth(4).click()
    puzzle.slots.nth(5).click()
    page.mouse.move(0, 0)
    assert puzzle.says() == "All 6 pieces are right."
    assert puzzle.wrong() == []
    assert page.complaints == []
    page.context.close()


@pytest.mark.parametrize(("motion", "moving"), [("reduce", False), ("no-preference", True)])
def test_pieces_move_unless_motion_is_reduced(browser, puzzles, motion, moving):
    page = opened(browser, puzzles, reduced_motion=motion)
    puzzle = Puzzle(page, "listed")
    page.evaluate(
        """() => { window.moved = 0; const { animate } = Element.prototype;
        Element.prototype.animate = function (...a) { moved++; animate.apply(this, a); }; }"""
    )
    puzzle.pressed("solve")  # the last two pieces stay
    assert page.evaluate("moved") == (4 if moving else 0)
    page.context.close()


def test_words_on_buttons_are_not_broken(browser, path):
    page = opened(browser, path, 360, 800)
    button = page.locator("#theme")
    one_line = button.evaluate("(b) => parseFloat(getComputedStyle(b).lineHeight) || 24")
    assert button.evaluate("(b) => b.clientHeight") < 2 * one_line
    page.context.close()


def test_a_click_shows_an_image_at_full_size(browser, path):
    page = opened(browser, path, 360, 800)
    picture = page.locator("img.strip").first
    size = picture.evaluate("(i) => [i.naturalWidth, i.clientWidth]")
    assert size[0] > size[1]  # it had to be made smaller
    picture.click()
    large = page.locator("dialog img")
    assert large.evaluate("(i) => i.clientWidth") == size[0]
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    assert page.complaints == []
    page.context.close()


def test_reduced_motion_stops_the_animation(browser, path):
    page = opened(browser, path, reduced_motion="reduce")
    assert page.locator("img.film").count() == 3
    assert page.locator("img.film:visible").count() == 0
    assert page.locator(".still:visible").count() == 3
    assert page.locator("img.strip:visible").count() == 3
    page.context.close()
    page = opened(browser, path, reduced_motion="no-preference")
    assert page.locator("img.film:visible").count() == 3
    page.locator("[data-hide=film]").first.click()
    assert page.locator("img.film:visible").count() == 2
    page.context.close()


def test_no_text_of_a_run_is_executed(browser, tmp_path):
    folder = write_run(
        tmp_path / "run",
        make_run("bars"),
        metrics=[{"step": 1, EVIL: 1.0, "__proto__": 2}],
        grids=(1, 2),
    )
    config = json.loads((folder / "config.json").read_text())
    config["experiment"] = config["data"]["data"] = EVIL
    (folder / "config.json").write_text(json.dumps(config))
    page = opened(browser, report.write(folder, tmp_path / "page.html", title="Safe"))
    assert page.title() == "Safe"
    assert page.locator("h3", has_text="onerror").count() == 2  # as text: of the run and its chart
    assert page.locator("main img").count() == 3
    page.locator("figure.chart svg").first.focus()
    assert page.locator(".tip-name:visible").first.inner_text() == EVIL
    assert page.complaints == []
    # And were the escaping to fail one day, the policy would still hold.
    page.evaluate(
        """() => { const s = document.createElement("script");
        s.textContent = "document.title = 'broken'"; document.body.append(s); }"""
    )
    assert page.title() == "Safe"
    page.context.close()
