"""Inference on planes of any size: the best device and precision, in tiles that do not change the result.

engine.py     Engine: encode, decode, memory
tiles.py      which rows and columns a tile covers
stages.py     the network's stages, each in tiles that fit a CPU's cache
blocks.py     the layers in their inference form
precision.py  float32, bfloat16 or int8
onednn.py     private operators of torch, and what stands in for them
"""

from residae.engine.engine import Engine, Latent, Plane
from residae.engine.precision import default_device, preferred_float

__all__ = ["Engine", "Latent", "Plane", "default_device", "preferred_float"]
