"""Inference on planes of any size, in tiles that do not change the result.

engine.py     Engine: encode and decode a plane, within the memory of the device
tiles.py      the rows and columns that a tile covers
stages.py     the stages of the network, in tiles that fit the cache of a CPU
blocks.py     the layers in their inference form
gradient.py   the decoder with a gradient to its latent
precision.py  the choice of device and precision
onednn.py     private operators of torch, each behind a trial, and their public replacements
"""

from residae.engine.engine import Engine
from residae.engine.gradient import GradientDecoder, error_gradient
from residae.engine.precision import default_device, preferred_float

__all__ = ["Engine", "GradientDecoder", "default_device", "error_gradient", "preferred_float"]
