"""The table of `speed --rows all --peer torch`: genjax beside PyTorch, eager and compiled."""

from typing import Any

from experiments.table import rows as all_rows

# Every family and network that has a row, cheapest first, with the batches of step and evaluation
# on a CPU; None is the row's. An ensemble of 128 orders takes a second per image. pix2pix has no
# peer.
EVERY: dict[str, tuple[int | None, int | None]] = {
    "rnade_red_wine:cpu": (None, None),
    "fvsbn_binarized_mnist:cpu": (None, None),
    "iwae_mnist:k1": (None, None),
    "iwae_mnist:two_layers_k50": (None, None),
    "gan_mnist:paper": (None, None),
    "m2_mnist:labels_100": (None, None),
    "nade_binarized_mnist:cpu": (None, None),
    "made_binarized_mnist:1x8000_1mask_cpu": (None, None),
    "pixelrnn_mnist:diagonal_1": (None, None),
    "markov_binarized_mnist:k10": (5_000, None),
    "mixture_binarized_mnist:k500": (5_000, None),
    "pixelcnn_mnist:paper": (None, None),
    "infogan_mnist:codes": (None, None),
    "iaf_mnist:diagonal": (None, None),
    "eonade_binarized_mnist:2x500_128orders_cpu": (None, 1),
    "cyclegan_maps:cyclegan_64_cpu": (None, None),
    "cyclegan_maps:pix2pix_64_cpu": (None, None),
    "stargan_glyphs:wgan_gp": (None, None),
    "progressive_fashion:not_grown": (None, None),
    "progressive_fashion:grown": (None, None),
    "puzzle_gan_digits:cpu": (None, None),
    "jigsaw_pacs:head": (16, None),
    "jigsaw_pacs:gan_1000_cpu": (None, None),
    "joint_embedding_scenes:words": (None, None),
    "joint_embedding_scenes:characters": (None, None),
    "dvae_scenes:vq": (None, None),
    "dalle_scenes:cpu": (None, None),
    "gan_cls_scenes:gan_int_cls": (None, None),
    "pixelcnn_mnist:gated": (16, 16),
    "dcgan_celeba64:kid": (32, None),
    "wgan_gp_cifar10:score": (8, None),
    "sngan_cifar10:score": (4, None),
    "r3gan_cifar10:paper": (2, None),
    "pixelcnn_pp_cifar10:paper": (2, 2),
}
KINDS = {"step": "step", "evaluate": "evaluation"}
HEADER = "| row | batch |" + "".join(
    f" {title}, ms | PyTorch eager | compiled | ratio |" for title in KINDS.values()
)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a markdown table.

    A ratio is the time of PyTorch's faster mode over genjax's; above 1 genjax is faster.
    """
    lines = [HEADER, "|---" * (HEADER.count("|") - 1) + "|"]
    for row in rows:
        if "error" in row:
            lines.append(f"| `{row['row']}` | {row['error']} |" + " |" * 8)
            continue
        cells = [f"`{row['row']}`", batches(row)]
        for kind in KINDS:
            cells += [milliseconds(row.get(kind, {})), *peer_cells(row.get("peer", {}), kind)]
            ratio = row.get("ratio", {}).get(kind)
            cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def batches(row: dict[str, Any]) -> str:
    """Returns the batch of the step, that of the row if it is another, and of the evaluation."""
    size, own = row["batch_size"], all_rows()[row["row"]].train.batch_size
    few = row.get("evaluate_batch_size", size)
    text = f"{size:,}" if size == own else f"{size:,} of {own:,}"
    return text if few == size or "evaluate" not in row else f"{text}; {few:,}"


def peer_cells(peer: dict[str, Any], kind: str) -> list[str]:
    """Returns the milliseconds of PyTorch's eager and compiled modes, or why there are none."""
    part = peer.get(kind, {})
    tried, untried = part.get("tried", {}), part.get("untried", [])
    cells = []
    for word in ("eager", "compiled"):
        modes = [found for name, found in tried.items() if word in name]
        worked = [found for found in modes if "seconds" in found]
        if worked:
            cells.append(milliseconds(min(worked, key=lambda found: found["seconds"])))
        elif modes:
            cells.append("failed")
        else:
            stopped = any(word in name for name in untried)
            cells.append("too slow" if stopped else "")
    return cells


def milliseconds(part: dict[str, Any]) -> str:
    """Returns the median, to three digits."""
    if "seconds" not in part:
        return ""
    value = 1e3 * part["seconds"]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
