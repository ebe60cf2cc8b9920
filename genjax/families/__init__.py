"""Registry of the families: one module each, imported when it is requested."""

import difflib
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from genjax.checks import describe
from genjax.core.protocols import Composed

FAMILIES = {
    "fvsbn": "genjax.families.fvsbn",
    "nade": "genjax.families.nade",
    "made": "genjax.families.made",
    "orderless_nade": "genjax.families.orderless_nade",
    "rnade": "genjax.families.rnade",
    "pixelcnn": "genjax.families.pixelcnn",
    "pixelcnn_pp": "genjax.families.pixelcnn_pp",
    "pixelrnn": "genjax.families.pixelrnn",
    "joint": "genjax.families.joint",
    "markov": "genjax.families.markov",
    "mixture": "genjax.families.mixture",
    "vae": "genjax.families.vae",
    "hierarchical_vae": "genjax.families.hierarchical_vae",
    "m2": "genjax.families.m2",
    "dvae": "genjax.families.dvae",
    "gan": "genjax.families.gan",
    "dcgan": "genjax.families.dcgan",
    "infogan": "genjax.families.infogan",
    "cyclegan": "genjax.families.cyclegan",
    "pix2pix": "genjax.families.pix2pix",
    "stargan": "genjax.families.stargan",
    "progressive": "genjax.families.progressive",
    "jigsaw": "genjax.families.jigsaw",
    "jigsaw_assignment": "genjax.families.jigsaw_assignment",
    "puzzle_gan": "genjax.families.puzzle_gan",
    "joint_embedding": "genjax.families.joint_embedding",
    "dalle": "genjax.families.dalle",
    "gan_cls": "genjax.families.gan_cls",
}


def get(name: str) -> ModuleType:
    """Returns the module of a family; `genjax.core.protocols` describes its functions.

    Raises:
      ValueError: there is no such family.
    """
    if not isinstance(name, str):
        raise ValueError(f"give the name of a family, such as 'nade', got {describe(name)}.")
    if name not in FAMILIES:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), FAMILIES, 1)
        hint = f" did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"there is no family '{name}';{hint} choose one of {', '.join(FAMILIES)}.")
    return importlib.import_module(FAMILIES[name])


def implementing(protocol: Any) -> list[str]:
    """Returns the names of the families that implement a protocol."""
    return [name for name in FAMILIES if isinstance(get(name), protocol)]


def parts_of(name: str, config: Any) -> Mapping[str, tuple[str, Any]]:
    """Returns the family's name and the Config of each part of a family; {} without parts."""
    family = get(name)
    return family.parts(config) if isinstance(family, Composed) else {}


def of(name: str, config: Any) -> ModuleType:
    """Returns the module of a family, and checks that a Config is its own.

    Raises:
      ValueError: there is no such family, or the Config is another's.
    """
    family = get(name)
    if not isinstance(config, family.Config):
        cls = config if isinstance(config, type) else type(config)
        got = f"the class {cls.__name__}" if isinstance(config, type) else f"a {cls.__name__}"
        fix = "Config(...)" if isinstance(config, type) else f"genjax.families.{name}.Config(...)"
        raise ValueError(
            f"{name} needs a genjax.families.{name}.Config, got {got} of {cls.__module__}; pass"
            f" {fix}."
        )
    return family


if TYPE_CHECKING:  # mypy checks every module against its protocols
    from genjax.core import protocols as p
    from genjax.families import (
        cyclegan,
        dalle,
        dcgan,
        dvae,
        fvsbn,
        gan,
        gan_cls,
        hierarchical_vae,
        infogan,
        jigsaw,
        jigsaw_assignment,
        joint,
        joint_embedding,
        m2,
        made,
        markov,
        mixture,
        nade,
        orderless_nade,
        pix2pix,
        pixelcnn,
        pixelcnn_pp,
        pixelrnn,
        progressive,
        puzzle_gan,
        rnade,
        stargan,
        vae,
    )

    _trainable: tuple[p.Trainable, ...] = (
        dalle,
        dvae,
        fvsbn,
        hierarchical_vae,
        jigsaw_assignment,
        joint_embedding,
        m2,
        made,
        nade,
        orderless_nade,
        pixelcnn,
        pixelcnn_pp,
        pixelrnn,
        rnade,
        vae,
    )
    _adversarial: tuple[p.Adversarial, ...] = (
        gan,
        dcgan,
        infogan,
        cyclegan,
        pix2pix,
        progressive,
        puzzle_gan,
        jigsaw,
        stargan,
        gan_cls,
    )
    _translators: tuple[p.Translator, ...] = (cyclegan, pix2pix, stargan)
    _position_scores: tuple[p.PositionScores, ...] = (jigsaw_assignment,)
    _permutation_logits: tuple[p.PermutationLogits, ...] = (jigsaw,)
    _growing: tuple[p.Growing, ...] = (progressive, puzzle_gan)
    _image_parts: tuple[p.ImageParts, ...] = (puzzle_gan,)
    _implicit: tuple[p.Implicit, ...] = (gan, dcgan, infogan, progressive, puzzle_gan)
    _attribute_translators: tuple[p.AttributeTranslator, ...] = (stargan,)
    _fitted: tuple[p.Fitted, ...] = (joint, markov, mixture)
    _autoregressive: tuple[p.Autoregressive, ...] = (
        fvsbn,
        joint,
        made,
        markov,
        mixture,
        nade,
        orderless_nade,
        pixelcnn,
        pixelrnn,
    )
    _conditionals: tuple[p.Conditionals, ...] = (pixelcnn_pp, pixelrnn, rnade)
    _completion: tuple[p.Completion, ...] = (orderless_nade, pixelcnn, pixelcnn_pp, pixelrnn)
    _latent: tuple[p.LatentVariable, ...] = (hierarchical_vae, m2, vae)
    _bounds: tuple[p.BoundDensity, ...] = (dalle, dvae, hierarchical_vae, m2)
    _closed_form: tuple[p.ClosedFormBound, ...] = (hierarchical_vae, m2)
    _classifier: tuple[p.Classifier, ...] = (m2,)
    _reported: tuple[p.Reported, ...] = (dalle, joint_embedding, m2, orderless_nade)
    _caption_scores: tuple[p.CaptionScores, ...] = (dalle, gan_cls, joint_embedding)
    _image_tokenizers: tuple[p.ImageTokenizer, ...] = (dvae,)
    _text_to_image: tuple[p.TextToImage, ...] = (dalle, gan_cls)
    _token_densities: tuple[p.TokenDensity, ...] = (dalle,)
    _composed: tuple[p.Composed, ...] = (dalle, gan_cls)
    _sharded: tuple[p.Sharded, ...] = (dalle,)
    _codes: tuple[p.LatentCodes, ...] = (infogan,)
    _features: tuple[p.Features, ...] = (
        dcgan,
        gan,
        hierarchical_vae,
        infogan,
        joint_embedding,
        m2,
        made,
        mixture,
        nade,
        orderless_nade,
        progressive,
        puzzle_gan,
        rnade,
        vae,
    )
