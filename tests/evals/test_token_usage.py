"""The metrics `token_usage` and `token_nats` on tokens and probabilities that are known."""

import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.number_drawers import SHAPE, STEP, Config, captions_of, dataset, drawer, fake, shown

from genjax import families
from genjax.data import Data, load
from genjax.evals import check_metric_requirements, compute_metric
from genjax.evals.token_nats import ratio_and_error

KEY = jax.random.key(3)
CODES = 10


def encode(config, variables, images):
    """The numbers of the first row, and code 5 for the second."""
    numbers = jnp.rint(images[:, 0, :, 0] * 255 / STEP).astype(jnp.int32)
    return jnp.stack([numbers, jnp.full_like(numbers, 5)], axis=1)


def decode(config, variables, tokens):
    """The numbers that were encoded, plus `variables`."""
    return ((tokens + variables) % CODES * STEP / 255)[..., None]


TOKENIZER = fake(
    "tokens",
    sample=lambda config, variables, key, n: jnp.zeros((n, *SHAPE)),
    encode_tokens=encode,
    decode_tokens=decode,
    token_grid=lambda config: (2, 2),
    codebook_size=lambda config: CODES,
)
del TOKENIZER.text_spec
TOKENIZER.batch_spec = lambda config, size: {"x": None}


def usage(shift=0, data=None, family=TOKENIZER, **settings):
    settings = {"batch_size": 16, **settings}
    return compute_metric(
        "token_usage", family, Config(), shift, data or dataset(), KEY, **settings
    )


def numbers(n=60):
    """A data set with 36 images of two numbers, four of each pair of 1, 2, 3."""
    data = dataset()
    for split in data.splits.values():
        pairs = [(1 + i % 3, 1 + i // 3 % 3) for i in range(36)]
        x = np.full((36, *SHAPE), 5 * STEP % 256, np.uint8)
        x[:, 0, :, 0] = np.array(pairs) * STEP
        split |= {"x": x, "caption": captions_of(pairs)}
    return data


def test_codes_are_counted():
    """Half of the tokens are code 5, and a sixth each is 1, 2 and 3."""
    got = usage(data=numbers())
    assert (got.codebook, got.used, got.tokens, got.tokens_per_image) == (10, 4, 144, 4)
    assert got.dead == pytest.approx(0.6)
    entropy = -(0.5 * math.log(0.5) + 3 / 6 * math.log(1 / 6))
    assert got.perplexity == pytest.approx(math.exp(entropy))
    json.dumps(got.as_dict(), allow_nan=False)


def test_error_and_captions_of_reconstructions():
    good, bad = usage(data=numbers()), usage(1, data=numbers())
    for split in ("test", "unseen", "bindings"):
        assert good.tables[split]["model"]["right"][0] == 1
        assert bad.tables[split]["model"]["right"][0] == 0
        assert bad.tables[split]["real"]["right"][0] == 1
    # Codes 5 and 6 are above the range, and clipped.
    level = 5 * STEP % 256 / 255
    assert good.squared_error == pytest.approx((1 - level) ** 2 / 2, rel=1e-4)
    rise = np.mean([(min(STEP * (k + 1) / 255, 1) - STEP * k / 255) ** 2 for k in (1, 2, 3)])
    assert bad.squared_error == pytest.approx((1 - level) ** 2 / 2 + rise / 2, rel=1e-4)
    assert good.figure() == (good.squared_error, good.std_error, "")
    plain = usage(data=dataset(caption_check=None, tokenizer=None))
    assert "right" not in plain.tables["test"]["model"]
    assert list(plain.tables["test"]) == ["model"]


def test_requirements_of_tokens():
    check_metric_requirements("token_usage", TOKENIZER, Config(), dataset(tokenizer=None))
    with pytest.raises(ValueError, match="implement ImageTokenizer, and drawer does not"):
        check_metric_requirements("token_usage", drawer(), Config(), dataset())
    with pytest.raises(ValueError, match="families that encode images as tokens"):
        usage(family=drawer())
    with pytest.raises(ValueError, match="implement TokenDensity, and drawer does not"):
        check_metric_requirements("token_nats", drawer(), Config(), dataset())
    with pytest.raises(ValueError, match="families that evaluate tokens"):
        compute_metric("token_nats", drawer(), Config(), None, dataset(), KEY)


def text_log_prob(config, variables, text):
    """Half a nat for a first word, and a nat for each further one."""
    nats = jnp.full(text.shape, -1.0).at[:, 0].set(-0.5)
    return jnp.where(text > 0, nats, 0)


def token_log_prob(config, variables, tokens, text):
    """Tokens that the text asks for have probability 1/2, others 1/8."""
    wanted = tokens[:, :2] == shown(text)
    wanted = jnp.concatenate([wanted, jnp.zeros_like(wanted)], axis=1)
    return jnp.where(wanted, -math.log(2), -math.log(8))


DENSITY = fake(
    "density",
    caption_scores=lambda config, v, x, text: jnp.zeros(len(x)),
    image_tokens=lambda config, v, x: encode(config, v, x).reshape(len(x), -1),
    token_images=lambda config, v, tokens: decode(config, v, tokens.reshape(-1, 2, 2)),
    token_log_prob=token_log_prob,
    text_log_prob=text_log_prob,
)


def nats(data):
    return compute_metric("token_nats", DENSITY, Config(), 0, data, KEY, batch_size=16)


def test_nats_per_token():
    """Two of four tokens are requested; captions have two or three words, of three tokens."""
    data = numbers()
    captions = data.splits["test"]["caption"]
    captions[:18] = captions[:18, ::-1]  # the caption of three words is the first one
    got = nats(data)
    model = got.tables["test"]["model"]
    assert model["image"][0] == got.image == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert model["bits"][0] == pytest.approx(2 * 1 + 2 * 3)
    assert model["text"][0] == pytest.approx((18 * 2.5 + 18 * 1.5) / (18 * 3 + 18 * 2))
    assert got.tables["unseen"]["model"]["text"][0] == pytest.approx(1.5 / 2)
    assert (got.text_tokens, got.image_tokens) == (2.5, 4)
    # Frequencies of training tokens, with one added to the codes 0 to 5: 72 of code 5, 24 each.
    frequencies = -(np.log(73 / 150) + np.log(25 / 150)) / 2
    assert got.tables["test"]["frequencies"]["image"][0] == pytest.approx(frequencies)
    assert got.figure()[2] == "nats"


def test_texts_that_do_not_fit_cost_nats():
    data = numbers()
    data.splits["unseen"]["caption"][:] = "zero zero"
    got = nats(data)
    assert got.tables["unseen"]["model"]["image"][0] == pytest.approx(math.log(8))
    assert got.tables["bindings"]["model"]["image"][0] == pytest.approx(got.image)


def test_error_of_a_ratio():
    """By the bootstrap."""
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 15, 400)
    sums = 2 * counts + rng.normal(0, 3, 400)
    ratio, error = ratio_and_error(sums, counts)
    picks = rng.integers(0, 400, (2000, 400))
    drawn = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    assert ratio == pytest.approx(sums.sum() / counts.sum())
    assert error == pytest.approx(drawn.std(), rel=0.1)


def test_drawn_images_are_beside_the_decoded_ones():
    """The ceiling of a drawer by tokens: here reconstructions are all wrong."""
    names = ("image_tokens", "token_images", "token_log_prob", "text_log_prob", "caption_scores")
    family = drawer(**{name: getattr(DENSITY, name) for name in names})
    settings = {"samples": 64, "draws": 8, "batch_size": 64}
    for shift, right in ((0, 1), (1, 0)):
        got = compute_metric(
            "caption_accuracy", family, Config(), shift, numbers(), KEY, **settings
        )
        assert got.tables["test"]["decoded"]["right_1"][0] == right


def test_a_discrete_vae_of_scenes():
    """Without training: few codes, large errors, and no caption is right; real images all are."""
    family = families.get("dvae")
    sizes = {"levels": (4, 4, 2), "hidden": 8, "groups": 2, "blocks": 1}
    config = family.Config(shape=(32, 32, 3), quantizer="fsq", **sizes)
    variables = initial(family, config)
    data = load(Data(data="scenes", limit=40))
    check_metric_requirements("token_usage", family, config, data)
    got = compute_metric("token_usage", family, config, variables, data, KEY, samples=40)
    assert (got.codebook, got.tokens_per_image) == (32, 256)
    assert got.tokens == 40 * 256
    assert 1 <= got.perplexity <= got.used + 1e-6 <= 32
    assert got.dead == pytest.approx(1 - got.used / 32)
    assert got.squared_error > 0.01
    for split in ("test", "unseen", "bindings"):
        assert got.tables[split]["real"]["right"] == (1.0, 0.0)
        assert got.tables[split]["model"]["right"][0] == 0


def initial(family, config):
    """Random variables of a family's shapes, without the time of its `init`."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        real = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(rng.normal(0, 0.1 if real else 0, leaf.shape), leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(lambda key: family.init(config, key), KEY))


@pytest.fixture(scope="module")
def drawn_scenes():
    """DALL-E and a joint embedding with random weights, on few scenes."""
    data = load(Data(data="scenes", limit=30, tokenizer="words", text_length=16))
    text = {"vocabulary": data.tokenizer.size, "text_length": 16}
    dvae, dalle, joint = map(families.get, ("dvae", "dalle", "joint_embedding"))
    image = {"shape": (32, 32, 3)}
    tokens = dvae.Config(**image, quantizer="fsq", levels=(4, 4), hidden=8, groups=4, blocks=1)
    sizes = {"width": 8, "layers": 1, "heads": 1}
    config = dalle.Config(
        **image, image_tokenizer=tokens, **sizes, kernel=3, null_captions=0.1, **text
    )
    ranker = joint.Config(
        **image, text_encoder="transformer", **sizes, embedding=4, image_widths=(4, 4), **text
    )
    return data, (dalle, config, initial(dalle, config)), (joint, ranker, initial(joint, ranker))


def test_dalle_of_scenes(drawn_scenes):
    """Random weights draw nothing right; nats are near those of uniform tokens."""
    data, (family, config, variables), ranker = drawn_scenes
    settings = {"batch_size": 30, "ranker": (*ranker, data.tokenizer), "guidance": (1.0,)}
    for name in ("caption_accuracy", "token_nats", "caption_retrieval"):
        check_metric_requirements(name, family, config, data)
    got = compute_metric(
        "caption_accuracy", family, config, variables, data, KEY, samples=80, draws=8, **settings
    )
    assert got.right == 0
    assert got.real_right == 1
    assert got.ranker == "joint_embedding"
    for table in got.tables.values():
        rows = ("model", "ranked", "own_scores", "any", "guidance_1")
        assert list(table) == [*rows, "real", "decoded", "chance"]
        assert table["decoded"]["right_1"][0] == 0
    nats = compute_metric("token_nats", family, config, variables, data, KEY, batch_size=30)
    table = nats.tables["test"]
    text = data.splits["test"]["text"][:, 0]
    assert nats.text_tokens == pytest.approx((text != 0).sum(axis=1).mean())
    assert nats.image_tokens == 16
    assert abs(table["model"]["text"][0] - math.log(data.tokenizer.size)) < 1
    assert table["model"]["bits"][0] == pytest.approx(16 * nats.image / math.log(2))
    images = jnp.asarray(data.splits["test"]["x"], jnp.float32) / 255
    scores = family.caption_scores(config, variables, images, text)
    assert nats.image == pytest.approx(-float(scores.mean()) / 16, rel=1e-4)


def test_a_joint_embedding_of_scenes(drawn_scenes):
    data, _, (family, config, variables) = drawn_scenes
    check_metric_requirements("caption_retrieval", family, config, data)
    settings = {"samples": 100, "batch_size": 30}
    args = ("caption_retrieval", family, config, variables, data, KEY)
    got = compute_metric(*args, **settings)
    pairs = compute_metric(args[0], without(family, "score_table"), *args[2:], **settings)
    for split, table in got.tables.items():
        for quantity, (value, _) in pairs.tables[split]["model"].items():
            assert value == pytest.approx(table["model"][quantity][0])
    assert got.candidates == 10
    assert (got.classified["test"], pairs.classified["test"]) == (10, 0)


def without(family, name):
    """Returns a family without one of its functions."""
    exports = {k: v for k, v in vars(family).items() if k != name and not k.startswith("__")}
    return types.SimpleNamespace(__name__=family.__name__, **exports)
