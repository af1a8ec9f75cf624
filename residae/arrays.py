"""The arrays that modules hand to each other, as types."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) of gray, or (H, W, 3) of sRGB
Plane = NDArray[np.float32]  # (H, W) in [0, 1]
Latent = NDArray[np.float32]  # (C, h, w)
Floats = NDArray[np.floating]  # of any shape
