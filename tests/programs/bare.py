"""`bare.py FOLDER`: reproduce from a .npz where tyro, TFDS, grain and scikit-learn are missing.

The table of `experiments.select` is shown there too, by rich, without which there is no Flax.
"""

import pathlib
import sys
import warnings

# None in sys.modules makes an import of that name fail, as on a machine without it.
sys.modules.update(
    dict.fromkeys(["tyro", "tensorflow_datasets", "grain", "sklearn", "matplotlib", "tensorflow"])
)

import numpy as np  # noqa: E402

from experiments import select  # noqa: E402
from experiments.reproduce import main  # noqa: E402
from genjax.data import Dataset, save_npz  # noqa: E402
from genjax.train import Trial  # noqa: E402

warnings.simplefilter("error")

if __name__ == "__main__":
    trial = Trial(learning_rate=0.01, validation=80.5, std_error=0.25, step=2000)
    select.show("rates", [select.table_row(trial, "nll", trial)], sys.stderr)
    folder = pathlib.Path(sys.argv[1])
    x = (np.arange(50 * 784).reshape(50, 28, 28, 1) % 3 == 0).astype(np.uint8)
    splits = {name: {"x": x} for name in ("train", "validation", "test")}
    save_npz(Dataset("bars", splits, 2), folder / "b.npz")
    options = {
        "--only": "nade_binarized_mnist:paper",
        "--steps": "1",
        "--data": f"binarized_mnist={folder}/b.npz",
        "--workdir": f"{folder}/runs",
        "--records": f"{folder}/records",
        "--pack": f"{folder}/pack",
        "--commit": "abc",
    }
    sys.exit(main([word for pair in options.items() for word in pair]))
