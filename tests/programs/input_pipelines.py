"""`input_pipelines.py FOLDER PAIRS [PORT PROCESS]`: batches of 8 devices, in one or two processes.

Prints JSON: for every case a number a batch, and how many rows this process decoded for it.
"""

import json
import sys
import warnings

import jax
from support.feeding import CASES, PAIR_CASES, batch_checksums, collect_batches, make_run

from genjax.data.tfds_folder import PreparedSplit
from genjax.train import make_mesh

warnings.simplefilter("error")


def main() -> None:
    folder, pairs, *place = sys.argv[1:]
    if place:
        port, process = place
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(process))
    assert jax.device_count() == 8
    read, rows = PreparedSplit.read, []

    def counting(self, indices, names=None):
        if len(indices) > 1:  # single rows are read for their shape
            rows.append(len(indices))
        return read(self, indices, names)

    out = {}
    cases = {name: (folder, options, ("x", "label")) for name, options in CASES.items()}
    cases |= {name: (pairs, *case) for name, case in PAIR_CASES.items()}
    for name, (source, options, entries) in cases.items():
        rows.clear()
        PreparedSplit.read = counting
        run = make_run(source, stream="yes", workers=0, batch=16, steps=7, **options)
        found = batch_checksums(collect_batches(run, 2, make_mesh(), entries))
        PreparedSplit.read = read
        test = 16 * (1 + run.data.unpaired)  # is read whole, by every process
        out[name] = {"crcs": found, "rows": sum(rows) - test}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
