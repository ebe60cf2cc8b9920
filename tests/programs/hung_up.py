"""`hung_up.py DATA WORKDIR`: a long run whose standard error is its controlling terminal."""

import fcntl
import os
import sys
import termios

from support.small import small_run

from genjax.train import fit

if __name__ == "__main__":
    os.setsid()
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)
    result = fit(small_run("nade", sys.argv[1], steps=1_000_000), sys.argv[2])
    print(result.step, result.reason)
