"""Schedule of the authors' progressive GAN, as a function of the number of images shown.

Written from the facts of their code, in thousands of images and levels of detail: level 0 is the
full side, level l has side / 2^l, and between l and l - 1 the images of both are blended, that of
level l with the fraction as its weight. It shares nothing with `genjax`.
"""

import math


def level_of_detail(images, side, start, stable, fade):
    """Returns the level of detail after a number of images."""
    kimg, period = images / 1000, (stable + fade) / 1000
    phase = math.floor(kimg / period)
    into = kimg - phase * period  # stable first, then the fade to the next level
    level = math.log2(side) - math.log2(start) - phase
    if fade:
        level -= max(into - stable / 1000, 0) / (fade / 1000)
    return max(level, 0.0)


def resolution(level, side):
    """Returns the side that is trained at a level of detail."""
    return side // 2 ** math.floor(level)
