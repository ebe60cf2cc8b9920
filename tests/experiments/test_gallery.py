"""The gallery: the map against the protocols, and every control in a browser."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from support.folders import write_run
from support.pages import NEEDS_CHROMIUM, contrast, launched, luminance, opened
from support.small import small_run, write_data

from experiments.gallery.__main__ import main
from experiments.gallery.capabilities import field_map
from experiments.gallery.equations import EQUATIONS
from experiments.gallery.mathml import equation
from genjax import data, families
from genjax.core import named_key
from genjax.families import gan, nade, vae
from genjax.train.caption_grids import save_caption_grid
from genjax.train.sample_grids import save_grid
from genjax.train.weights_file import write_weights

SHAPE = (3, 3, 1)
CONFIGS = {
    "nade": nade.Config(shape=SHAPE, hidden=4, order="raster"),
    "vae": vae.Config(shape=SHAPE, latent=3, hidden=(8,)),
    "infogan": families.get("infogan").tiny(),
    "gan": gan.Config(
        shape=SHAPE, latent=4, generator_hidden=(8,), discriminator_hidden=(8,), pieces=2
    ),
}
CAPTIONS = ("a large red circle", "a small blue square")


def draw_weights(folder, name, source):
    """Weights with random variables that are large enough to be seen; returns the variables."""
    run = dataclasses.replace(small_run(name, source), model=CONFIGS[name])
    family, rng = families.get(name), np.random.default_rng(3)
    variables = family.init(run.model, jax.random.key(0))
    variables["params"] = jax.tree.map(
        lambda p: rng.normal(size=p.shape).astype(np.float32), variables["params"]
    )
    dataset = data.load(run.data)
    found = {"checksum": dataset.checksum(), "examples": dataset.counts()}
    record = {"metric": "test NLL", "unit": "nats", "obtained": 5.25, "std_error": 0.125}
    write_weights(folder / f"{name}.safetensors", run, variables, record, found)
    return variables


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of the site, and variables by family. The data of gan are not there any more."""
    root = tmp_path_factory.mktemp("gallery")
    (root / "gone").mkdir()
    source, gone = write_data(root), write_data(root / "gone", n=60)
    weights = root / "weights"
    variables = {n: draw_weights(weights, n, gone if n == "gan" else source) for n in CONFIGS}
    shutil.rmtree(root / "gone")
    grown = write_run(root / "runs" / "grown", small_run("progressive", source))
    for step, stage in ((10, "4x4"), (20, "8x8"), (30, "8x8")):
        path = grown / "samples" / f"step_{step:08d}.png"
        save_grid(path, np.full((4, 8, 8), step / 255), stage=stage)
    write_run(
        root / "runs" / "pairs", small_run("cyclegan", source), grids=(10,), titles=("a", "b")
    )
    drawn = write_run(root / "runs" / "drawn", small_run("dalle", source))
    save_caption_grid(drawn / "samples" / "step_00000010.png", np.zeros((4, 8, 8, 3)), CAPTIONS)
    files = [str(weights / f"{name}.safetensors") for name in CONFIGS]
    arguments = ["--out", str(root / "site"), str(root / "runs"), *files, "--data", source]
    assert main(arguments) == 0
    return root / "site", variables


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def page_of(browser, models):
    """Opens the page of a name; afterwards it has had no error and loaded nothing else."""
    pages = []

    def opening(name, width=1440, **options):
        pages.append(opened(browser, models[0] / f"{name}.html", width, 800, **options))
        return pages[-1]

    yield opening
    for page in pages:
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), page.url
        assert page.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in page.requests)
        page.context.close()


def levels(page, selector):
    """Grey levels of the canvases, `[N, H, W]`."""
    code = """(canvases) => canvases.map((canvas) => {
        const { width, height } = canvas;
        const context = new OffscreenCanvas(width, height)
            .getContext("2d", { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, width, height);
        return [height, width, ...data.filter((_, i) => i % 4 === 0)];
    })"""
    found = page.locator(selector).evaluate_all(code)
    return np.stack([np.reshape(values[2:], values[:2]) for values in found])


def expected(images, low, high):
    x = np.clip((np.asarray(images)[..., 0] - low) / (high - low), 0, 1)
    return x * 255


def test_the_map_follows_the_protocols():
    found = {d.name: d for group in field_map().values() for d in group}
    assert set(found) == set(families.FAMILIES)
    assert found["nade"].kind == "exact"
    assert found["nade"].can == ("sample", "density", "complete", "classify", "detect", "features")
    assert (found["vae"].kind, "complete" in found["vae"].can) == ("bound", False)
    assert (found["stargan"].kind, found["stargan"].can) == ("none", ("translate",))
    assert found["jigsaw"].can == ("solve",)
    assert "draw" in found["dalle"].can


def test_every_family_has_an_equation():
    assert set(EQUATIONS) == set(families.FAMILIES)
    for tex in EQUATIONS.values():
        assert equation(tex).count("<div") == tex.count(r"\\") + 1
    assert equation(r"a, \quad b \quad c").count("<math") == 2
    assert equation(r"\frac{1}{N} \sum_k x_k^2") == (
        '<div><math display="block"><mfrac><mrow><mn>1</mn></mrow><mrow><mi>N</mi></mrow></mfrac>'
        '<munder><mo largeop="true" movablelimits="false">∑</mo><mi>k</mi></munder>'
        "<msubsup><mi>x</mi><mi>k</mi><mn>2</mn></msubsup></math></div>"
    )
    with pytest.raises(ValueError, match="no command"):
        equation(r"\unknown")
    with pytest.raises(ValueError, match="ends where"):
        equation("x_")


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["--out", str(tmp_path / "site"), str(tmp_path / "empty")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [360, 1440])
def test_pages_are_whole(page_of, width):
    names = ("index", "made", "progressive", "cyclegan", "dalle", "infogan")
    for name in names:
        page = page_of(name, width)
        images = page.evaluate(
            """Promise.all([...document.querySelectorAll("main img")]
            .map((image) => image.decode().then(() => image.naturalWidth)))"""
        )
        assert min(images, default=1) > 0
        assert bool(images) == (name != "made")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            body = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (luminance(body) < 0.1) == (theme == "dark")
            words = page.evaluate("getComputedStyle(document.querySelector('.muted')).color")
            assert contrast(words, body) >= 4.5
        # Every control has a name.
        unnamed = page.evaluate(
            """[...document.querySelectorAll("input, select, button")].filter((control) =>
            !(control.labels?.length || control.textContent.trim()
              || control.ariaLabel || control.querySelector("img[alt]"))).length"""
        )
        assert unnamed == 0, name
        if name == "made":
            page.locator(".pages a", has_text="Map").click()
            assert page.url.endswith("index.html")


@NEEDS_CHROMIUM
def test_the_map_shows_families_that_can_what_is_chosen(page_of):
    page = page_of("index")
    rows, status = (
        page.locator("#capabilities tbody tr:visible"),
        page.locator(".map [role=status]"),
    )
    assert rows.count() == len(families.FAMILIES)
    page.locator("[data-can=solve].chip").click()
    assert page.locator("#capabilities tbody th:visible").all_inner_texts() == [
        "jigsaw",
        "jigsaw_assignment",
    ]
    assert page.locator(".cards li:visible").count() == 2
    assert page.locator("section[data-kind]:visible").count() == 1
    assert status.inner_text() == f"2 of {len(families.FAMILIES)} families can solve."
    page.locator("[data-can=sample].chip").press("Enter")
    assert rows.count() == 0
    page.locator("[data-can=solve].chip").click()
    page.locator("[data-can=sample].chip").click()
    assert rows.count() == len(families.FAMILIES)


@NEEDS_CHROMIUM
def test_code_sliders_show_the_generators_images(page_of, models):
    page, family, config = page_of("infogan"), families.get("infogan"), CONFIGS["infogan"]
    found = family.codes(config)
    before = levels(page, ".atlas .tiles canvas")
    slider = page.locator(".atlas input").first
    slider.focus()
    page.keyboard.press("End")
    after = levels(page, ".atlas .tiles canvas")
    assert (before != after).any()
    assert page.locator(".atlas output").first.inner_text() in ("+1.00", "+2.50")
    assert slider.get_attribute("aria-valuetext") in ("+1.00", "+2.50")
    # The same inputs, made from what the page says.
    z = np.array(family.noise(config, named_key(jax.random.key(0), 0, "gallery"), 3))
    start = z.shape[1] - sum(code.size for code in found)
    inputs = np.repeat(z[1:2], len(after), axis=0)
    kinds = [code.kind for code in found]
    for i, code in enumerate(found):
        entries = slice(start, start + code.size)
        if code.kind == "categorical" and "categorical" not in kinds[:i]:
            inputs[:, entries] = np.eye(code.size)
        elif code.kind != "categorical":
            inputs[:, entries] = 0  # the middle of the sliders
            if set(kinds[:i]) <= {"categorical"}:
                inputs[:, start] = 1.0 if code.kind == "uniform" else 2.5
        start += code.size
    page.locator(".atlas select").first.select_option("draw 2")
    images = family.generate(config, models[1]["infogan"], inputs)
    limits = family.traits(config).sample_range
    np.testing.assert_allclose(
        levels(page, ".atlas .tiles canvas"), expected(images, *limits), atol=1
    )


@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [360, 1440])
def test_a_point_of_the_latent_plane_is_decoded(page_of, models, width):
    page, config, variables = page_of("vae", width), CONFIGS["vae"], models[1]["vae"]
    plane, outputs = page.locator(".plane"), page.locator(".atlas output")
    names = page.locator(".atlas .slider span").all_inner_texts()
    units = [int(name.split()[0].removeprefix("z")) - 1 for name in names]

    def check():
        z = np.zeros((1, 3), np.float32)
        z[0, units] = [float(text) for text in outputs.all_inner_texts()]
        means = vae.likelihood(config, variables, z).mean()
        shown = levels(page, ".atlas .tiles canvas")
        np.testing.assert_allclose(shown, expected(means, 0, 1), atol=4)  # z has two decimals
        return shown, tuple(z[0, units])

    check()
    box = plane.bounding_box()
    plane.click(position={"x": box["width"] * 0.97, "y": box["height"] * 0.97})
    _, (right, low) = check()
    assert right > 1.5
    assert low < -1.5
    page.locator(".atlas input").nth(1).focus()
    page.keyboard.press("End")
    assert check()[1][1] == -low
    assert f"{-low:+.2f}" in plane.get_attribute("aria-label")


@NEEDS_CHROMIUM
def test_interpolations_end_at_draws(page_of, models):
    page, config = page_of("gan"), CONFIGS["gan"]
    assert "Its data cannot be read." in page.locator(".notes").inner_text()
    assert page.locator("img.grid").count() == 1  # without data there are samples
    assert page.locator("img.real").count() == 0
    tiles = page.locator(".atlas .tiles canvas").count()
    z = gan.noise(config, named_key(jax.random.key(0), 0, "gallery"), 2 * tiles)
    images = expected(gan.generate(config, models[1]["gan"], z), 0, 1)
    page.locator(".atlas input").focus()
    for key, ends in (("Home", images[:tiles]), ("End", images[tiles:])):
        page.keyboard.press(key)
        np.testing.assert_allclose(levels(page, ".atlas .tiles canvas"), ends, atol=1)


@NEEDS_CHROMIUM
def test_the_likelihood_of_every_pixel_can_be_read(page_of, models):
    page, config = page_of("nade", 360), CONFIGS["nade"]
    assert page.locator("img.real").count() == 1
    pixel, reading = page.locator(".likelihood .map"), page.locator(".likelihood .reading")
    page.locator(".likelihood select").select_option("2")
    x = (levels(page, ".likelihood .image")[0][40::80, 40::80] > 128).astype(np.float32)
    logits = np.asarray(nade.logits(config, models[1]["nade"], x.reshape(1, 3, 3, 1)))
    nats = np.logaddexp(0, (1 - 2 * x) * logits.reshape(3, 3))
    pixel.focus()
    for key, row, column in (
        ("Home", 0, 0),
        ("ArrowRight", 0, 1),
        ("ArrowDown", 1, 1),
        ("End", 2, 2),
    ):
        page.keyboard.press(key)
        place, value = reading.inner_text().split(": ")
        assert place == f"row {row + 1}, column {column + 1}"
        assert float(value.split()[0]) == pytest.approx(nats[row, column], rel=2e-3, abs=1e-6)
        assert pixel.get_attribute("aria-valuetext") == reading.inner_text()
    total = float(page.locator(".likelihood .scale").inner_text().split()[0])
    assert total == pytest.approx(nats.sum(), abs=0.01)
    image = page.locator(".likelihood .image")
    box = image.bounding_box()
    image.hover(position={"x": 0.9 * box["width"], "y": 0.1 * box["height"]})
    assert reading.inner_text().startswith("row 1, column 3:")


@NEEDS_CHROMIUM
def test_stages_and_captions_are_chosen(page_of):
    page = page_of("progressive")
    assert "No weights" in page.locator(".notes").inner_text()
    stages, step = page.locator(".stages button"), page.locator(".by-step output")
    assert stages.all_inner_texts() == ["4x4", "8x8"]
    pressed = "(b) => b.map((button) => button.getAttribute('aria-pressed'))"
    assert (step.inner_text(), stages.evaluate_all(pressed)) == ("30", ["false", "true"])
    last = page.locator("img.grid").get_attribute("src")
    stages.first.click()
    assert (step.inner_text(), stages.evaluate_all(pressed)) == ("10", ["true", "false"])
    assert page.locator("img.grid").get_attribute("src") != last
    drawn = page_of("dalle", 360)
    items = drawn.locator(".captioned li:visible")
    assert items.count() == 2
    small = items.first.locator("canvas").first.bounding_box()["width"]
    drawn.locator(".choose select").select_option(CAPTIONS[1])
    assert items.count() == 1
    assert items.inner_text().startswith(CAPTIONS[1])
    assert items.locator("canvas").first.bounding_box()["width"] > small
