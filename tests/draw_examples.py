"""Compute the example pictures: `python tests/draw_examples.py [FOLDER]`, `residae/examples` by default.

Five pictures that are hard for a compressor in five ways: smooth shading and sharp edges (`scene.jpg`), measurable
detail (`chart.png`), text (`page.png`), natural texture (`texture.jpg`) and saturated color (`flowers.jpg`).
Nothing is photographed or downloaded, and every random number is seeded.

Colors are linear light until `_photograph`; image arrays are (H, W, 3), except that the ray tracer and the
landscape keep lists of N rays or points as (3, N), one contiguous row per coordinate.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 768, 512  # a multiple of the network's stride each way
Floats = NDArray[np.floating]
Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


# ---- shared: noise, curves, color ----


def _lattice(seed: int) -> Floats:
    """The (256, 256) table of values in [-1, 1] that one noise field interpolates; it repeats every 256 units."""
    return np.random.default_rng(seed).uniform(-1, 1, (256, 256)).astype(np.float32)


def _noise(lattice: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Value noise in [-1, 1] at (x, y), and its two derivatives."""
    left, low = np.floor(x), np.floor(y)
    u, v = x - left, y - low
    i, j = left.astype(np.int32) & 255, low.astype(np.int32) & 255
    row, next_row, next_j = i << 8, (i + 1 & 255) << 8, j + 1 & 255
    table = lattice.ravel()
    base = table[row | j]
    by_x, by_y = table[next_row | j] - base, table[row | next_j] - base
    by_xy = table[next_row | next_j] - base - by_x - by_y
    su, sv = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    value = base + by_x * su + (by_y + by_xy * su) * sv
    return value, (by_x + by_xy * sv) * (6 * u * (1 - u)), (by_y + by_xy * su) * (6 * v * (1 - v))


def _octave(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Twice the frequency, turned by atan(3/4) so that the lattices of successive octaves do not line up."""
    return 1.6 * x - 1.2 * y, 1.2 * x + 1.6 * y


def _fractal(lattice: Floats, x: Floats, y: Floats, octaves: int) -> Floats:
    """Fractional Brownian motion: octaves of noise, each twice as fine and half as strong."""
    total = np.zeros_like(x)
    for k in range(octaves):
        total += 0.5**k * _noise(lattice, x, y)[0]
        x, y = _octave(x, y)
    return total


def _smoothstep(low: float, high: float | Floats, x: Floats) -> Floats:
    """0 at `low`, 1 at `high` (which may be the smaller), and a cubic without corners between."""
    t: Floats = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(a: Floats, b: Floats | float, share: Floats | float) -> Floats:
    """`a` where the share is 0, `b` where it is 1."""
    return a + (b - a) * share


def _color(*rgb: float) -> Floats:
    return np.array(rgb, np.float32)


def _column(*rgb: float) -> Floats:
    return np.array(rgb, np.float32)[:, None]


def _dot(a: Floats, b: Floats) -> Floats:
    total: Floats = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return total


def _unit(v: Floats) -> Floats:
    return v / np.sqrt(_dot(v, v))


def _direction(*xyz: float) -> Floats:
    return _unit(np.array(xyz, np.float32))


def _bilinear(grid: Floats, x: Floats, y: Floats) -> Floats:
    """Samples of a (rows, columns) grid at column x, row y; the edge is repeated outside."""
    x, y = np.clip(x, 0, grid.shape[1] - 1.001), np.clip(y, 0, grid.shape[0] - 1.001)
    i, j = x.astype(np.int32), y.astype(np.int32)
    u, v = x - i, y - j
    return _mix(_mix(grid[j, i], grid[j, i + 1], u), _mix(grid[j + 1, i], grid[j + 1, i + 1], u), v)


def _photograph(light: Floats, exposure: float) -> Image.Image:
    """Linear light -> 8-bit sRGB, through Narkowicz's fit of the ACES film curve."""
    x = np.maximum(light, 0) * exposure
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(255 * encoded).astype(np.uint8))


def _shrink(picture: Floats, factor: int) -> Floats:
    """Box-filtered to 1 / factor of the size."""
    rows, columns, channels = picture.shape
    small: Floats = picture.reshape(rows // factor, factor, columns // factor, factor, channels).mean((1, 3))
    return small


# ---- scene.jpg: spheres on parquet, path traced ----

SAMPLES = 48  # per pixel
BOUNCES = 6
FAR = 1e9
STEP_OFF = 2e-3  # a new ray starts this far off its surface, so as not to hit it again
GLASS_INDEX = 1.5
DIFFUSE, LACQUER, METAL, GLASS = range(4)


class Sphere(NamedTuple):
    x: float
    y: float
    z: float
    radius: float
    kind: int
    tint: tuple[float, float, float]


SPHERES = (
    Sphere(-2.35, 0.50, -0.75, 0.50, LACQUER, (1, 1, 1)),  # the marble one: its tint comes from `_marble`
    Sphere(-0.95, 1.00, 0.35, 1.00, METAL, (0.93, 0.93, 0.94)),
    Sphere(0.98, 0.80, -0.10, 0.80, DIFFUSE, (0.66, 0.13, 0.055)),
    Sphere(0.06, 0.42, -1.28, 0.42, GLASS, (0.97, 1.00, 0.985)),
    Sphere(2.55, 0.62, 1.00, 0.62, LACQUER, (0.012, 0.15, 0.18)),
    Sphere(0.95, 0.20, -1.75, 0.20, METAL, (1.00, 0.72, 0.30)),
    Sphere(-0.62, 0.22, -1.72, 0.22, LACQUER, (0.55, 0.02, 0.03)),
    Sphere(1.95, 0.30, -1.05, 0.30, LACQUER, (0.82, 0.46, 0.04)),
    Sphere(-1.55, 0.15, -1.75, 0.15, METAL, (0.95, 0.64, 0.54)),
    Sphere(0.45, 0.13, -2.25, 0.13, LACQUER, (0.85, 0.82, 0.78)),
    Sphere(0.55, 0.45, 2.60, 0.45, LACQUER, (0.08, 0.22, 0.10)),
    Sphere(-3.40, 0.75, 2.60, 0.75, DIFFUSE, (0.78, 0.50, 0.13)),
)
MARBLE, FLOOR = 0, len(SPHERES)
CENTERS = np.array([s[:3] for s in SPHERES], np.float32)
RADII = np.array([s.radius for s in SPHERES], np.float32)
KINDS = np.array([s.kind for s in SPHERES] + [LACQUER])  # the floor is the last object
TINTS = np.array([s.tint for s in SPHERES] + [(1, 1, 1)], np.float32)
SUN_COLOR = _column(3.6, 2.55, 1.55)
SUN_RADIUS = 0.06  # radians; larger than the real one, for soft shadows
FLOOR_SHINE, SPHERE_SHINE = (2.5, 350.0), (14.0, 120.0)  # strength and sharpness of the sun's mirror image


class Ball(NamedTuple):
    """Where rays meet each sphere's line of closest approach, as (spheres, N)."""

    approach: Floats
    half_chord_squared: Floats  # negative where the ray misses


def _meet(origin: Floats, ray: Floats) -> Ball:
    along = _dot(origin, ray) - CENTERS @ ray
    outside = _dot(origin, origin) - 2 * (CENTERS @ origin) + ((CENTERS**2).sum(1) - RADII**2)[:, None]
    return Ball(-along, along * along - outside)


def _nearest(origin: Floats, ray: Floats) -> tuple[Ints, Floats]:
    """Index of the first object hit and the distance to it, `FAR` for none."""
    ball = _meet(origin, ray)
    half = np.sqrt(np.maximum(ball.half_chord_squared, 0))
    near, leaving = ball.approach - half, ball.approach + half
    spheres = np.where(near > STEP_OFF / 2, near, leaving)
    spheres = np.where((ball.half_chord_squared > 0) & (spheres > STEP_OFF / 2), spheres, FAR)
    floor = np.where(ray[1] < -1e-5, -origin[1] / np.minimum(ray[1], -1e-5), FAR)
    distances = np.concatenate([spheres, np.where(floor > STEP_OFF / 2, floor, FAR)[None]])
    first = distances.argmin(0)
    return first.astype(np.int32), distances[first, np.arange(first.size)]


def _sunlight(origin: Floats, ray: Floats) -> Floats:
    """Share of the sun's light that arrives along each ray."""
    ball = _meet(origin, ray)
    between = (ball.half_chord_squared > 0) & (ball.approach > STEP_OFF / 2)
    glass = KINDS[:FLOOR] == GLASS
    lit = ~between[~glass].any(0)
    # A glass ball gathers light behind its middle: a stand-in for the caustic, which paths would find too rarely.
    middle = ball.half_chord_squared[glass] / (RADII[glass] ** 2)[:, None]
    through: Floats = np.where(between[glass], 0.12 + 2.6 * middle**2 * middle**2, 1).prod(0) * lit
    return through


def _disc(square: Floats) -> tuple[Floats, Floats]:
    """Uniform points of the unit square (2, N) -> uniform points of the unit disc."""
    radius, angle = np.sqrt(square[0]), 2 * math.pi * square[1]
    return radius * np.cos(angle), radius * np.sin(angle)


def _around(axis: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
    """The vector (x, y, z) in a frame whose z is `axis`, without a branch: Duff et al. 2017."""
    sign = np.where(axis[2] >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + axis[2])
    b = axis[0] * axis[1] * a
    tangent = np.stack([1 + sign * axis[0] ** 2 * a, sign * b, -sign * axis[0]])
    bitangent = np.stack([b, sign + axis[1] ** 2 * a, -axis[1]])
    return tangent * x + bitangent * y + axis * z


def _evening_sky(lattice: Floats, sun: Floats, side: int) -> Floats:
    """The upper hemisphere as a (side * side, 3) map: direction (x, y, z) lies at (x, z) / (1 + y), for speed."""
    a, b = (v.ravel() for v in np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2))
    q = a * a + b * b
    ray = np.stack([2 * a, 1 - q, 2 * b]) / (1 + q)
    up = np.clip(ray[1], 0, 1)
    to_sun = np.clip(_dot(ray, sun), 0, 1)
    zenith, middle = _column(0.03, 0.11, 0.36), _column(0.09, 0.25, 0.60)
    sunward = 0.5 + 0.5 * (ray[0] * sun[0] + ray[2] * sun[2]) / math.hypot(sun[0], sun[2])
    horizon = _mix(_column(0.86, 0.60, 0.44), _column(1.15, 0.62, 0.28), sunward)
    sky = _mix(zenith, middle, np.exp(-2.6 * up))
    sky = _mix(sky, horizon, 0.92 * np.exp(-10 * up))
    x, y = ray[0] / (up + 0.08) * 0.8 + 3, ray[2] / (up + 0.08) * 1.3
    warped_x, warped_y = x + 0.7 * _fractal(lattice, x, y, 3), y + 0.5 * _fractal(lattice, x + 9, y, 3)
    cover = 0.8 * _smoothstep(-0.1, 0.9, _fractal(lattice, warped_x, warped_y, 7)) * _smoothstep(0.02, 0.11, up)
    sky = _mix(sky, _column(1.00, 0.74, 0.60) * (0.6 + 0.9 * to_sun**4), cover)
    return np.ascontiguousarray((sky + _column(1.1, 0.7, 0.35) * to_sun**24).T)


def _parquet(lattice: Floats, x: Floats, z: Floats) -> Floats:
    """Herringbone oak: planks of 5 x 1, color (3, N)."""
    length, plank = 5, 0.30
    p, q = (x + z) * (math.sqrt(0.5) / plank) + 200, (z - x) * (math.sqrt(0.5) / plank) + 200
    i, j = np.floor(p), np.floor(q)
    k = np.mod(i - j, 2 * length)  # the pattern repeats along each diagonal: `length` cells lie flat, as many stand
    flat = k < length
    start_i, start_j = np.where(flat, i - k, i), np.where(flat, j, j - (2 * length - 1 - k))
    along, across = np.where(flat, p - start_i, q - start_j), np.where(flat, q - start_j, p - start_i)
    shade = lattice[start_i.astype(np.int32) * 5 + flat & 255, start_j.astype(np.int32) * 3 & 255]
    u, v = 0.35 * along + 45 * shade, 2.2 * across + 28 * shade
    rings = np.sin(9 * (v + 1.3 * _noise(lattice, 0.8 * u, 0.6 * v)[0]))
    fibre = _noise(lattice, 3 * u, 24 * v)[0] + 0.6 * _noise(lattice, 6 * u, 47 * v)[0]
    tone = np.clip(0.5 + 0.17 * rings + 0.13 * fibre + 0.42 * shade, 0, 1.2)
    gap = np.minimum(np.minimum(across, 1 - across), np.minimum(along, length - along))
    return _mix(_column(0.15, 0.062, 0.026), _column(0.53, 0.30, 0.145), tone) * _smoothstep(-0.02, 0.045, gap)


def _marble(lattice: Floats, p: Floats) -> Floats:
    warp = _fractal(lattice, 2 * p[0] + p[2], 2 * p[1] - p[2], 4)
    vein: Floats = np.abs(_fractal(lattice, 2.2 * p[0] + p[2] + 0.9 * warp, 2.2 * p[1] + 1.7 * p[2] + 0.9 * warp, 5))
    return _column(0.82, 0.80, 0.76) - _column(0.56, 0.54, 0.47) * np.exp(-9 * vein)


def _trace(
    origin: Floats, ray: Floats, numbers: Callable[[int, Ints], Floats], sky: Floats, sun: Floats, lattice: Floats
) -> Floats:
    """Light (3, N) that comes back along N rays. `numbers(k, rays)` gives the k-th random pair of the chosen rays."""
    light, carried = np.zeros_like(ray), np.ones_like(ray)
    rays = np.arange(ray.shape[1], dtype=np.int32)
    sharp = np.ones(rays.size, np.bool_)  # nothing rough between the eye and here
    side = math.isqrt(len(sky))
    for bounce in range(BOUNCES):
        hit, distance = _nearest(origin, ray)
        haze = np.where(hit == FLOOR, 1 - np.exp(-np.maximum(distance - 8, 0) / 60), 0)
        haze[distance == FAR] = 1
        hazy = haze > 0
        scale = (side / 2 - 0.5) / (1 + np.abs(ray[1, hazy]))  # the floor's haze takes the sky's color above it
        i, j = ((ray[axis, hazy] * scale + side / 2).astype(np.int32) for axis in (0, 2))
        light[:, rays[hazy]] += carried[:, hazy] * haze[hazy] * sky[j * side + i].T

        on = distance < FAR
        if not on.any():
            break
        origin, ray, hit, distance = origin[:, on], ray[:, on], hit[on], distance[on]
        rays, sharp, carried = rays[on], sharp[on], carried[:, on] * (1 - haze[on])
        point = origin + ray * distance
        floor = hit == FLOOR
        ball = np.minimum(hit, FLOOR - 1)
        normal = np.where(floor, _column(0, 1, 0), (point - CENTERS[ball].T) / RADII[ball])
        kind, tint = KINDS[hit], TINTS[hit].T.copy()
        tint[:, floor] = _parquet(lattice, point[0, floor], point[2, floor])
        tint[:, hit == MARBLE] = _marble(lattice, normal[:, hit == MARBLE])

        towards = -_dot(ray, normal)
        leaving = towards < 0  # from inside the glass
        normal, cosine = np.where(leaving, -normal, normal), np.abs(towards)
        ratio = np.where(leaving, np.float32(GLASS_INDEX), np.float32(1 / GLASS_INDEX))
        refracted_squared = 1 - ratio**2 * (1 - cosine**2)  # of the cosine; negative is total reflection
        refracted = np.sqrt(np.maximum(refracted_squared, 0))
        grazing = 1 - np.where(leaving, refracted, cosine)
        fresnel = np.where(refracted_squared < 0, 1, 0.04 + 0.96 * grazing * grazing**2 * grazing**2)  # Schlick

        to_sun, scatter, choice = (numbers(3 * bounce + k, rays) for k in range(3))
        mirrors = (kind == METAL) | ((kind != DIFFUSE) & (choice[0] < fresnel))
        passes = (kind == GLASS) & ~mirrors
        dull = ~mirrors & ~passes
        reflected = ray + 2 * cosine * normal

        # The sun's mirror image is added outright, for paths find so small a light too rarely: as specks.
        strength, sharpness = (np.where(floor, a, b) for a, b in zip(FLOOR_SHINE, SPHERE_SHINE, strict=True))
        shine = strength * np.exp(sharpness * (_dot(reflected, sun) - 1)) * (kind != DIFFUSE)
        glint = sharp & ~leaving & (shine > 1e-3)
        start = point[:, glint] + STEP_OFF * normal[:, glint]
        seen = _sunlight(start, np.broadcast_to(sun[:, None], start.shape))
        gloss = np.where(kind == METAL, tint, fresnel)[:, glint]
        light[:, rays[glint]] += carried[:, glint] * gloss * SUN_COLOR * (shine[glint] * seen)

        sharp &= ~dull & ~floor
        carried = np.where(mirrors & (kind != METAL), carried, carried * tint)
        x, y = _disc(scatter)
        roughness = np.where(floor, np.float32(0.06), np.float32(0.004))
        onward = np.where(
            mirrors, reflected + _around(normal, x * roughness, y * roughness, np.zeros_like(x)), reflected
        )
        onward = np.where(passes, ratio * ray + (ratio * cosine - refracted) * normal, onward)
        if dull.any():
            up, x, y = normal[:, dull], x[dull], y[dull]
            onward[:, dull] = _around(up, x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0)))
            x, y = _disc(to_sun[:, dull])
            sunward = _around(np.repeat(sun[:, None], x.size, 1), SUN_RADIUS * x, SUN_RADIUS * y, np.ones_like(x))
            sunward = _unit(sunward)
            lit = np.maximum(_dot(sunward, up), 0) * _sunlight(point[:, dull] + STEP_OFF * up, sunward)
            light[:, rays[dull]] += carried[:, dull] * SUN_COLOR * lit
        origin = point + np.where(passes, -STEP_OFF, STEP_OFF).astype(np.float32) * normal
        ray = _unit(onward)
    return light


def scene() -> Image.Image:
    """Polished, glass, lacquered and matte spheres on a parquet floor in evening light, through a real lens."""
    rng = np.random.default_rng(7)
    lattice, sun = _lattice(1), _direction(-0.80, 0.47, -0.08)
    sky = _evening_sky(lattice, sun, 1024)
    eye, forward = _column(0.0, 1.75, -7.6), _direction(0.05, -1.09, 7.6)
    right = _unit(np.cross(np.array([0, 1, 0], np.float32), forward))
    up = np.cross(forward, right)
    focus, half_height, aperture = 6.6, 0.345, 0.055

    # Pairs of a two-dimensional golden-ratio sequence, in another order for every use and shifted for every pixel:
    # each use fills its square evenly, and no two uses are correlated. g is the real root of g**3 = g + 1.
    g, uses = 1.32471795724474602596, 2 + 3 * BOUNCES
    even = np.outer([1 / g, 1 / g**2], np.arange(SAMPLES)) % 1
    sequence = np.stack([even[:, rng.permutation(SAMPLES)] for _ in range(uses)]).astype(np.float32)

    picture = np.empty((3, HEIGHT, WIDTH), np.float32)
    rows = 16  # at a time, so that the arrays stay in the cache
    for top in range(0, HEIGHT, rows):
        y, x = (v.ravel() for v in np.mgrid[top : top + rows, 0:WIDTH].astype(np.float32))
        shift = rng.random((uses, 2, x.size), dtype=np.float32)
        total = np.zeros((3, x.size), np.float32)
        for sample in range(SAMPLES):

            def numbers(use: int, rays: Ints, sample: int = sample, shift: Floats = shift) -> Floats:
                pair: Floats = (sequence[use, :, sample, None] + shift[use][:, rays]) % 1
                return pair

            everything = np.arange(x.size, dtype=np.int32)
            jitter, (lens_x, lens_y) = numbers(0, everything), _disc(numbers(1, everything))
            across = (x + jitter[0] - WIDTH / 2) / (HEIGHT / 2) * half_height
            above = (HEIGHT / 2 - y - jitter[1]) / (HEIGHT / 2) * half_height
            lens = aperture * (right[:, None] * lens_x + up[:, None] * lens_y)
            ray = _unit(focus * (forward[:, None] + right[:, None] * across + up[:, None] * above) - lens)
            light = _trace(eye + lens, ray, lambda k, rays: numbers(2 + k, rays), sky, sun, lattice)
            total += np.minimum(light, 12)  # a rare bright path would be a speck, not light
        picture[:, top : top + rows] = (total / SAMPLES).reshape(3, rows, WIDTH)
    return _photograph(picture.transpose(1, 2, 0), 0.72)


# ---- chart.png: a resolution chart ----

PAPER, INK = 244, 18
FINE = 4  # text and star are drawn this many times larger, then averaged


class Lettering:
    """Text drawn `FINE` times larger and averaged: placed to a quarter of a pixel, and free of the font's hinting."""

    def __init__(self, width: int, height: int) -> None:
        self.cover = Image.new("L", (width * FINE, height * FINE))
        self.pen = ImageDraw.Draw(self.cover)

    def write(self, x: float, y: float, text: str, size: float, anchor: str = "ls", bold: float = 0) -> None:
        """`y` is the baseline; `bold` thickens the strokes by that many pixels."""
        font = ImageFont.load_default(size * FINE)
        self.pen.text((x * FINE, y * FINE), text, 255, font, anchor, stroke_width=bold * FINE / 2)

    def rule(self, x0: float, x1: float, y: float, thickness: float) -> None:
        self.pen.rectangle((x0 * FINE, y * FINE, x1 * FINE - 1, (y + thickness) * FINE - 1), 255)

    def print_on(self, page: Floats, ink: float = INK) -> Floats:
        """The (H, W) page with the letters in `ink`."""
        return _mix(page, ink, np.asarray(self.cover.reduce(FINE), np.float32) / 255)


def _width_of(text: str, size: float) -> float:
    return ImageFont.load_default(size * FINE).getlength(text) / FINE


def _between(wave: Floats) -> Floats:
    """-1 -> ink, 1 -> paper."""
    return (PAPER + INK) / 2 + (PAPER - INK) / 2 * wave


def _square(side: int, fine: int = 1) -> tuple[Floats, Floats]:
    """x, y of the (fine * side) ** 2 sample points of a square, in pixels from its center."""
    at = (np.arange(side * fine, dtype=np.float32) + 0.5) / fine - side / 2
    x, y = np.meshgrid(at, at)
    return x, y


def _star(side: int, cycles: int) -> Floats:
    """A Siemens star of black and white spokes."""
    x, y = _square(side, 8)
    spokes = np.sign(np.sin(cycles * np.arctan2(y, x)))
    radius = np.hypot(x, y)
    star = np.where(radius < side / 2 - 4, _between(spokes), PAPER)
    star = np.where(np.abs(radius - side / 2 + 1) < 0.5, INK, star)
    star = np.where(radius < 2, PAPER, star)
    return _shrink(star[..., None].astype(np.float32), 8)[..., 0]


def _zone_plate(side: int) -> Floats:
    """Rings whose frequency grows with the radius, to 1/2 cycle per pixel at the middle of each edge."""
    x, y = _square(side)
    rings = np.cos(math.pi / side * (x * x + y * y))  # phase pi r^2 / side: r / side cycles per pixel
    return _between(rings * _smoothstep(side / 2 + 1, side / 2 - 12, np.hypot(x, y)))


def _slanted(side: int, degrees: float, dark: float, light: float) -> Floats:
    """A dark square turned a little in a light one, for the edge response of ISO 12233."""
    x, y = _square(side, 8)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    inside = np.maximum(np.abs(c * x + s * y), np.abs(c * y - s * x)) < side * 0.31
    return _shrink(np.where(inside, dark, light)[..., None].astype(np.float32), 8)[..., 0]


def _sensitivity(width: int, height: int) -> Floats:
    """Campbell and Robson's grating: frequency grows to the right (1/64 to 1/3 per pixel), contrast downwards."""
    x, y = np.linspace(0, 1, width, dtype=np.float32), np.linspace(1, 0, height, dtype=np.float32)[:, None]
    growth = math.log(64 / 3)
    phase = 2 * math.pi * width / 64 * (np.exp(growth * x) - 1) / growth
    return _between(np.exp(-5 * y) * np.sin(phase))


def chart() -> Image.Image:
    """A test chart whose every number can be read off the picture, at one chart pixel to one image pixel."""
    page = np.full((HEIGHT, WIDTH), PAPER, np.float32)
    text = Lettering(WIDTH, HEIGHT)
    left, right = 24, WIDTH - 24

    text.write(left, 34, "RESIDAE  TEST CHART", 15, bold=0.5)
    text.write(right, 34, f"{WIDTH} x {HEIGHT} pixels, to be seen 1:1", 11, "rs")
    text.rule(left, right, 42, 1)

    panel, top = 224, 54
    column = left, (WIDTH - panel) // 2, right - panel
    page[top : top + panel, column[0] : column[0] + panel] = _star(panel, 36)
    page[top : top + panel, column[1] : column[1] + panel] = _zone_plate(panel)
    half = panel // 2
    page[top : top + half - 4, column[2] : column[2] + half - 4] = _slanted(half - 4, 5, INK, PAPER)
    page[top : top + half - 4, column[2] + half + 4 : right] = _slanted(half - 4, 5, 104, 152)
    page[top + half + 16 : top + panel, column[2] : right] = _sensitivity(panel, half - 16)
    under = top + panel + 14
    text.write(column[0] + panel / 2, under, "36 cycles: 1/2 per pixel at radius 11.5", 10, "ms")
    text.write(column[1] + panel / 2, under, "zone plate: 1/2 per pixel at the edges", 10, "ms")
    text.write(column[2] + half / 2 - 2, top + half + 8, "edge 5 deg, full contrast", 9, "ms")
    text.write(right - half / 2 + 2, top + half + 8, "edge 5 deg, 48 levels", 9, "ms")
    text.write(right - panel / 2, under, "frequency right, contrast down", 10, "ms")

    lines, block = top + panel + 28, 40
    periods = (24, 16, 12, 8, 6, 5, 4, 3, 2)
    stride = 81  # 9 groups of 72 pixels, 9 apart, are the 720 of the chart
    at = np.arange(72)
    for k, period in enumerate(periods):
        edge = left + k * stride
        bars = np.where((at % period) * 2 < period, INK, PAPER)  # of 3 or 5 pixels, the dark bar is the wider one
        page[lines : lines + block, edge : edge + at.size] = bars
        page[lines + block + 6 : lines + 2 * block + 6, edge : edge + at.size] = bars[:block, None]
        text.write(edge + at.size / 2, lines + 2 * block + 18, f"{period} px per pair", 9, "ms")

    steps, gray = lines + 2 * block + 30, 16
    tall = 22
    wide = (right - left) // gray
    for k in range(gray):
        page[steps : steps + tall, left + k * wide : left + (k + 1) * wide] = 17 * k
        text.write(left + (k + 0.5) * wide, steps + tall + 22, f"{17 * k}", 9, "ms")
    page[steps + tall : steps + tall + 10, left:right] = np.linspace(0, 255, right - left)

    x, foot = float(left), HEIGHT - 20
    for size in (14, 12, 11, 10, 9, 8, 7, 6):
        words = f"{size} px kept or lost"
        text.write(x, foot, words, size)
        x += _width_of(words, size) + 21
    return Image.fromarray(np.rint(text.print_on(page)).astype(np.uint8))


# ---- page.png: a page of text ----

PAGE_WIDTH, PAGE_HEIGHT = 512, 768
TITLE = "What the bottleneck keeps"
LEAD = (
    "An autoencoder is asked for one thing only: to give back the picture it was shown. Between the asking and the "
    "giving lies a narrow place, and everything it learns, it learns from having to pass through."
)
LEFT_COLUMN = (
    "The network halves the picture four times. A square of 256 by 256 pixels becomes a grid of 16 by 16 cells, "
    "and each cell is left with sixteen numbers to speak for the 256 pixels that it stands on. Nothing forbids "
    "a copy, except that there is no room for one.",
    "So it has to choose. Smooth shading is cheap: a slope is a few numbers, however many pixels it covers. A long "
    "edge is cheap too, for its neighbors foretell where it goes next. What repeats is cheaper than what does not, "
    "and what is alike in most pictures costs almost nothing, since the decoder already knows it by heart.",
    "Dear is whatever surprises. The place of every blade of grass, the grain of a film, the letters on this page: "
    "each is one outcome among very many, and the narrow place has no words for it.",
    "None of this is written into the network. It is what remains when a great many pictures have been sent through "
    "the same small gate.",
)
RIGHT_COLUMN = (
    "The loss decides who suffers. Squared error forgives a small mistake and punishes a large one, so where the "
    "network is in doubt it answers with the mean of all it thinks possible. A mean of many textures is no texture; "
    "it is fog. That is why grass turns to felt before the horizon moves at all.",
    "Then the numbers must be written down. They are rounded, and the likely ones are given short names. Training "
    "weighs both sides at once:",
)
FORMULA_NOTE = "where k says how much one step of quality may cost."
TABLE = (
    ("stage", "grid", "channels", "numbers"),
    ("picture", "256 x 256", "1", "65,536"),
    ("1", "128 x 128", "128", "2,097,152"),
    ("2", "64 x 64", "256", "1,048,576"),
    ("3", "32 x 32", "512", "524,288"),
    ("latent", "16 x 16", "16", "4,096"),
)
SMALL_PRINT = (
    "Sizes fall down this page on purpose: 34, 15, 12, 10 and 8 pixels. Read the reconstruction from the top and note "
    "the line where reading stops. A person still sees that there is text below it, and even that it is set in "
    "columns; which words they are is gone. The eye is content with far less than the reader."
)


def _set_text(text: Lettering, words: str, x: float, y: float, measure: float, size: float, leading: float) -> float:
    """Justified lines of `measure` pixels from the baseline y; returns the baseline after the last."""
    space = _width_of(" ", size)
    line: list[str] = []

    def flush(gap: float) -> None:
        at = x
        for word in line:
            text.write(at, y, word, size)
            at += _width_of(word, size) + gap

    for word in words.split():
        if line and _width_of(" ".join([*line, word]), size) > measure:
            flush((measure - sum(_width_of(w, size) for w in line)) / max(len(line) - 1, 1))
            line, y = [], y + leading
        line.append(word)
    flush(space)
    return y + leading


def page() -> Image.Image:
    """A printed page: our own words on what such a network keeps, in sizes that fall from 34 to 8 pixels."""
    text = Lettering(PAGE_WIDTH, PAGE_HEIGHT)
    left, right, gutter = 40, PAGE_WIDTH - 40, 20
    measure = (right - left - gutter) / 2
    second = left + measure + gutter

    text.write(left, 40, "NOTES ON COMPRESSION", 8, bold=0.3)
    text.write(right, 40, "1", 8, "rs")
    text.rule(left, right, 46, 0.75)
    text.write(left - 1.5, 90, TITLE, 34, bold=0.9)
    y = _set_text(text, LEAD, left, 122, right - left, 15, 20)
    text.rule(left, right, y - 7, 0.5)

    start = y + 16
    y = start
    for paragraph in LEFT_COLUMN:
        y = _set_text(text, paragraph, left, y, measure, 12, 16.5) + 6
    below = y

    y = start
    for paragraph in RIGHT_COLUMN:
        y = _set_text(text, paragraph, second, y, measure, 12, 16.5) + 6
    middle = second + measure / 2
    text.write(middle, y + 10, "J  =  R  +  k D", 16, "ms")
    text.write(middle, y + 27, "bits per pixel  +  k . squared error", 10, "ms")
    y = _set_text(text, FORMULA_NOTE, second, y + 50, measure, 12, 16.5) + 8

    ends = second + 44, second + 100, second + 150, right
    text.rule(second, right, y - 11, 1)
    for row, cells in enumerate(TABLE):
        bold = 0.3 if row == 0 else 0
        text.write(second, y, cells[0], 10, bold=bold)
        for end, cell in zip(ends[1:], cells[1:], strict=True):
            text.write(end, y, cell, 10, "rs", bold)
        if row == 0:
            text.rule(second, right, y + 4, 0.5)
            y += 3
        y += 14
    text.rule(second, right, y - 9, 1)

    y = max(below, y) + 14
    text.rule(left, left + 60, y - 14, 0.5)
    _set_text(text, SMALL_PRINT, left, y, right - left, 8, 11)
    paper = np.full((PAGE_HEIGHT, PAGE_WIDTH), 250, np.float32)
    return Image.fromarray(np.rint(text.print_on(paper)).astype(np.uint8))


# ---- texture.jpg: mountains over a lake ----
#
# Lengths are kilometres: x to the right, z away from the camera, heights above the lake.

SUPERSAMPLING = 2
DEPTHS = 1600
NEAREST, FARTHEST = 0.12, 30.0
EYE_HEIGHT = 0.055
HALF_FIELD = 0.42  # tangent of half the horizontal angle of view
HORIZON = 0.63  # of the picture's height, from the top
SHORE = 0.004


def _terrain(lattice: Floats, x: Floats, z: Floats, octaves: int) -> Floats:
    """Height of the ground. Detail fades where the slope is already steep, as if eroded (Quilez, "Elevated")."""
    u, v = 0.30 * x + 201.3, 0.30 * z + 14.4
    relief, slope_u, slope_v = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for k in range(octaves):
        value, by_u, by_v = _noise(lattice, u, v)
        slope_u += by_u
        slope_v += by_v
        relief += 0.5**k * value / (1 + 0.45 * (slope_u**2 + slope_v**2))
        u, v = _octave(u, v)
    alps = _smoothstep(2.2, 13, z)  # low ground in front, a bank on either side
    banks = _smoothstep(1, 4, np.abs(x + 0.3 - 0.08 * z))
    base: Floats = 0.55 * alps + 0.42 * banks + 0.2 * _smoothstep(4, 7, z) - 0.30
    return base + 0.85 * relief * (0.25 + 2.4 * alps)


def _firs(lattice: Floats, x: Floats, z: Floats) -> Floats:
    """Height of the firs at each place: one cone, jittered, to each cell of 22 m."""
    cell = 0.022
    column, row = np.floor(x / cell), np.floor(z / cell)
    height = np.zeros_like(x)
    for i in (column - 1, column, column + 1):
        for j in (row - 1, row, row + 1):
            a, b = i.astype(np.int32), j.astype(np.int32)
            jitter_x = lattice[7 * a + 131 * b & 255, 3 * b + 17 * (a >> 3) & 255]
            jitter_z = lattice[13 * a + 90 & 255, 5 * b + a & 255]
            away = np.hypot(x - (i + 0.5 + 0.45 * jitter_x) * cell, z - (j + 0.5 + 0.45 * jitter_z) * cell)
            height = np.maximum(height, 0.030 + 0.012 * jitter_z - 3.4 * away)
    return height


def _horizon_color(across: Floats) -> Floats:
    """(..., 3), warmer towards the sun on the left."""
    return _color(0.50, 0.58, 0.70) + _color(0.42, 0.22, 0.02) * _smoothstep(0.9, -0.9, across)[..., None]


def _day_sky(lattice: Floats, across: Floats, up: Floats) -> Floats:
    """Blue above haze, and a sheet of clouds lit from the left."""
    blue = _color(0.060, 0.175, 0.46)
    sky = _mix(blue, _horizon_color(across), np.exp(-5.2 * up)[..., None])
    x, y = 0.80 * across / (up + 0.07) + 10, 0.55 / (up + 0.07) + 4

    def density(x: Floats, y: Floats) -> Floats:
        warp_x, warp_y = _fractal(lattice, x + 31, y, 3), _fractal(lattice, x, y + 57, 3)
        return _fractal(lattice, x + 0.55 * warp_x, y + 0.55 * warp_y, 7)

    here, sunward = density(x, y), density(x - 0.16, y - 0.10)
    lit = np.clip(0.62 - 0.75 * (sunward - 0.55 * here), 0, 1.25)[..., None]
    cloud = _mix(_color(0.36, 0.40, 0.50), _color(1.30, 1.10, 0.90), lit)
    return _mix(sky, cloud, (_smoothstep(-0.12, 0.55, here) * _smoothstep(0, 0.10, up))[..., None])


def _ground(lattice: Floats, x: Floats, z: Floats, height: Floats, flatness: Floats, wood: Floats) -> Floats:
    """Albedo (N, 3): rock, grass, forest, snow and shore by height and slope."""
    rough, fine = _fractal(lattice, 9 * x, 9 * z, 4), _fractal(lattice, 60 * x, 60 * z, 3)
    strata = _noise(lattice, 38 * height + rough, 0.8 * x)[0]

    def mottled(color: Floats, by_rough: float, by_fine: float) -> Floats:
        return color * (1 + by_rough * rough + by_fine * fine)[:, None]

    def cover(below: Floats, above: Floats, share: Floats) -> Floats:
        return _mix(below, above, share[:, None])

    rock = mottled(_color(0.150, 0.126, 0.104), 0.35, 0.25) * (1 + 0.30 * strata)[:, None]
    grass = mottled(_color(0.110, 0.116, 0.028), 0.45, 0.30)
    forest = mottled(_color(0.022, 0.040, 0.017), 0, 0.5)
    stones = mottled(_color(0.17, 0.15, 0.12), 0, 0.4)
    meadow = _smoothstep(0.62, 0.80, flatness + 0.08 * rough) * _smoothstep(1.25, 0.6, height + 0.15 * rough)
    trees = _smoothstep(0.25, 0.5, wood) * _smoothstep(0.5, 0.7, flatness)
    holds = flatness + 0.10 * fine + 0.06 * _smoothstep(1.3, 2, height)
    snow = _smoothstep(1.02, 1.42, height + 0.16 * rough) * _smoothstep(0.50, 0.68, holds)
    ground = cover(cover(rock, grass, meadow), forest, trees)
    ground = cover(ground, np.broadcast_to(_color(0.86, 0.88, 0.92), ground.shape), snow)
    return np.maximum(cover(ground, stones, _smoothstep(0.022, 0.008, height)), 0.004)


class Shadow:
    """The height below which the ground lies in shadow, on a grid of the whole country."""

    WEST, SOUTH, WIDE, LONG, SIDE = -14, -4, 28, 34, 640

    def __init__(self, lattice: Floats, sun: Floats) -> None:
        last = self.SIDE - 1
        j, i = np.mgrid[0 : self.SIDE, 0 : self.SIDE].astype(np.float32)
        ground = _terrain(lattice, self.WEST + self.WIDE * i / last, self.SOUTH + self.LONG * j / last, 8)
        level = math.hypot(sun[0], sun[2])
        self.height = np.full_like(ground, -9)
        for away in np.arange(1, 110) * 0.05:
            x, z = i + sun[0] / level * away / self.WIDE * last, j + sun[2] / level * away / self.LONG * last
            self.height = np.maximum(self.height, _bilinear(ground, x, z) - np.float32(away * sun[1] / level))

    def light(self, x: Floats, z: Floats, height: Floats) -> Floats:
        """0 in shadow, 1 in the sun."""
        last = self.SIDE - 1
        i, j = (x - self.WEST) / self.WIDE * last, (z - self.SOUTH) / self.LONG * last
        return _smoothstep(-0.02, 0.05, height - _bilinear(self.height, i, j))


def landscape() -> Image.Image:
    """Snowy mountains, firs and meadows over a lake that mirrors them, in the haze of a clear morning."""
    country, details, sun = _lattice(11), _lattice(12), _direction(-0.62, 0.34, -0.25)
    rows, columns = HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING
    focal = columns / 2 / HALF_FIELD  # pixels
    horizon = HORIZON * rows
    slope = ((np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / focal)[:, None]  # x / z of each column
    above = horizon - np.arange(rows, dtype=np.float32) - 0.5  # pixels above the horizon, of each row

    # The ground as each column of the picture meets it, at depths that grow in proportion: (columns, DEPTHS).
    z = np.geomspace(NEAREST, FARTHEST, DEPTHS, dtype=np.float32)
    far_x, far_z = slope * z, np.broadcast_to(z, (columns, DEPTHS))
    height = _terrain(country, far_x, far_z, 9)
    wood = _smoothstep(-0.35, 0.15, _fractal(details, 2 * far_x, 2 * far_z, 4)) * _smoothstep(0.75, 0.35, height)
    land = height > SHORE
    firs = np.zeros_like(height)
    grove = land & (wood > 0.25) & (far_z < 9)
    firs[grove] = _firs(details, far_x[grove], far_z[grove]) * np.minimum(1.2 * wood[grove], 1)

    shadow = Shadow(country, sun)
    across, up = np.broadcast_to(slope[:, 0], (rows, columns)), np.maximum(above / focal, 1e-3)[:, None]
    sky = _day_sky(details, across, np.broadcast_to(up, (rows, columns)))

    def look(eye: float) -> tuple[Floats, Flags]:
        """The picture (rows, columns, 3) from the height `eye`, and where it is water; from below, water is clear."""
        surface = np.where(land, height + firs, 0 if eye > 0 else -9)
        reach = (surface - eye) / z * focal  # pixels above the horizon
        skyline = np.maximum.accumulate(reach, 1)
        first = np.stack([np.searchsorted(line, above) for line in skyline], 1)  # the depth that each pixel shows
        picture, water = sky.copy(), np.zeros((rows, columns), np.bool_)
        row, column = np.nonzero(first < DEPTHS)
        k = first[row, column]
        water[row, column] = ~land[column, k]
        solid = land[column, k]
        row, column, k = row[solid], column[solid], k[solid]

        before = np.maximum(k - 1, 0)
        low, high = reach[column, before], reach[column, k]
        depth = _mix(z[before], z[k], np.clip((above[row] - low) / np.maximum(high - low, 1e-4), 0, 1))
        x, tilt = slope[column, 0] * depth, np.maximum(0.0012 * depth, 0.002)
        ground = _terrain(country, x, depth, 11)
        normal = _unit(
            np.stack(
                [
                    (ground - _terrain(country, x + tilt, depth, 11)) / tilt,
                    np.ones_like(x),
                    (ground - _terrain(country, x, depth + tilt, 11)) / tilt,
                ]
            )
        )
        sunny = shadow.light(x, depth, ground)
        direct = (np.clip(_dot(normal, sun), 0, 1) * sunny)[:, None]
        light = _color(0.20, 0.30, 0.50) * (0.5 + 0.5 * normal[1, :, None]) + _color(3.1, 2.35, 1.55) * direct
        albedo = _ground(details, x, depth, ground, normal[1], wood[column, k])

        fir = firs[column, k]
        tree = fir > 0.001
        crown = np.clip(fir[tree, None] / 0.03, 0, 1)  # dark inside the wood, lit at the tips
        sunlit = _color(2.2, 1.7, 1.1) * (sunny[tree, None] * (0.15 + 0.45 * crown))
        light[tree] = (_color(0.16, 0.24, 0.36) + sunlit) * (0.25 + 0.75 * crown)
        needles = 1 + 0.6 * _fractal(details, 60 * x[tree], 60 * depth[tree], 3)
        albedo[tree] = np.maximum(_color(0.030, 0.050, 0.020) * needles[:, None], 0.004)

        distance = (depth * np.sqrt(1 + slope[column, 0] ** 2))[:, None]
        thin = np.exp(-0.6 * np.maximum(ground, 0))[:, None]  # the air holds less haze higher up, and more of it blue
        haze = 1 - np.exp(-distance * _color(0.024, 0.034, 0.050) * thin)
        picture[row, column] = _mix(albedo * light, 0.80 * _horizon_color(slope[column, 0]), haze)
        return picture, water

    picture, water = look(EYE_HEIGHT)
    mirrored, _ = look(-EYE_HEIGHT)  # what the lake reflects is what an eye as far below it would see
    row, column = np.nonzero(water)
    depth = EYE_HEIGHT * focal / -above[row]
    x = slope[column, 0] * depth
    breeze = _smoothstep(-0.1, 0.5, _fractal(details, 1.1 * x, 0.9 * depth + 3, 3))
    ripple = np.abs(_fractal(details, 60 * x, 26 * depth, 4)) * (0.006 + 0.030 * breeze)
    sideways = _fractal(details, 40 * x + 50, 20 * depth, 3) * (0.003 + 0.012 * breeze)
    mirror_row, mirror_column = 2 * horizon - row - 1 - 2 * focal * ripple, column + focal * sideways
    mirror_row, mirror_column = mirror_row.astype(np.float32), mirror_column.astype(np.float32)
    reflection = np.stack([_bilinear(mirrored[..., c], mirror_column, mirror_row) for c in range(3)], -1)
    cosine = np.clip(EYE_HEIGHT / np.sqrt(EYE_HEIGHT**2 + x * x + depth * depth) + 3 * ripple, 0, 1)
    fresnel = (0.02 + 0.98 * (1 - cosine) ** 5)[:, None]
    picture[row, column] = _mix(_color(0.010, 0.035, 0.045), reflection, fresnel)
    return _photograph(_shrink(picture, SUPERSAMPLING), 0.95)


# ---- flowers.jpg: dahlias ----
#
# A layer is (H, W, 4): premultiplied color and cover. Lengths are pixels of the supersampled picture.

LAMP = _direction(-0.52, -0.55, 0.66)  # y is down, z towards the viewer
Palette = tuple[tuple[Floats, Floats, Floats], tuple[Floats, Floats, Floats]]  # outer, inner: base, middle, tip
CORAL: Palette = (
    (_color(0.26, 0.004, 0.016), _color(0.62, 0.020, 0.032), _color(0.90, 0.17, 0.13)),
    (_color(0.45, 0.03, 0.004), _color(0.80, 0.14, 0.010), _color(0.95, 0.42, 0.04)),
)
PLUM: Palette = (
    (_color(0.10, 0.004, 0.07), _color(0.36, 0.016, 0.20), _color(0.72, 0.22, 0.52)),
    (_color(0.08, 0.004, 0.05), _color(0.30, 0.010, 0.12), _color(0.55, 0.05, 0.25)),
)
CREAM: Palette = (
    (_color(0.50, 0.30, 0.08), _color(0.78, 0.58, 0.26), _color(0.88, 0.78, 0.56)),
    (_color(0.60, 0.40, 0.04), _color(0.90, 0.66, 0.12), _color(0.98, 0.86, 0.30)),
)
LEAF = (_color(0.010, 0.045, 0.012), _color(0.022, 0.085, 0.022), _color(0.05, 0.14, 0.03))


class Blade(NamedTuple):
    """A petal or leaf that grows from `start` pixels off (x, y) in the direction `angle`."""

    x: float
    y: float
    angle: float
    start: float
    length: float
    width: float  # half of it
    lift: float  # how steeply it rises towards the viewer
    cup: float  # how strongly its sides turn up
    colors: Sequence[Floats]
    squash: float  # of the whole flower, vertically
    shade: float  # how far its shadow falls
    leaf: bool = False


def _outline(blade: Blade, s: Floats) -> Floats:
    """Half width, 0 to 1, at the share s of the length."""
    s = np.clip(s, 1e-3, 1)
    if blade.leaf:
        return 2 * s**0.6 * (1 - s) ** 0.75 * (1 + 0.05 * np.abs(np.sin(40 * s)))
    return (0.34 + 0.66 * _smoothstep(0, 0.62, s)) * np.sqrt(1 - s**5) * (1 - 0.42 * s**6)


def _paint(layer: Floats, blade: Blade, lattice: Floats, rng: np.random.Generator) -> None:
    """Put the blade, and before it its shadow, over what the layer holds."""
    grain_x, grain_y = rng.uniform(0, 200, 2).astype(np.float32)
    bend = rng.normal(0, 0.10)
    axis_x, axis_y = math.cos(blade.angle), math.sin(blade.angle)
    half = 0.62 * blade.length + 1.2 * blade.width + blade.shade
    middle = blade.start + blade.length / 2
    middle_x, middle_y = blade.x + axis_x * middle, blade.y + axis_y * middle * blade.squash
    left, right = max(0, int(middle_x - half)), min(layer.shape[1], int(middle_x + half))
    top, bottom = max(0, int(middle_y - half)), min(layer.shape[0], int(middle_y + half))
    if left >= right or top >= bottom:
        return
    under = layer[top:bottom, left:right]
    grid_y, grid_x = np.mgrid[top:bottom, left:right].astype(np.float32)

    def place(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Along the blade from 0 to 1, and across it from -1 to 1 at its widest."""
        u, v = x - blade.x, (y - blade.y) / blade.squash
        s = (u * axis_x + v * axis_y - blade.start) / blade.length
        return s, (v * axis_x - u * axis_y - bend * blade.length * s * s) / blade.width

    s, t = place(grid_x - 0.75 * blade.shade, grid_y - 0.8 * blade.shade)
    blur_s, blur_t = 0.9 * blade.shade / blade.length, 0.9 * blade.shade / blade.width
    cast = _smoothstep(1 + blur_t, 1 - blur_t, np.abs(t) / np.maximum(_outline(blade, np.clip(s, 0, 0.93)), 0.05))
    cast *= _smoothstep(1 + blur_s, 1 - blur_s, s) * _smoothstep(-0.1, 0.2, s)
    under[..., :3] *= 1 - 0.72 * (cast * under[..., 3])[..., None]

    s, t = place(grid_x, grid_y)
    edge = _outline(blade, s)
    cover = np.clip((edge - np.abs(t)) * blade.width + 0.5, 0, 1) * (s > 0) * (s < 1)
    on = cover > 0
    s, t, edge, cover = s[on], t[on], edge[on], cover[on][:, None]
    r = np.clip(t / np.maximum(edge, 0.05), -1, 1)  # across, 1 at the edge
    grain = _fractal(lattice, s * blade.length / 60 + grain_x, t * blade.width / 9 + grain_y, 4)
    if blade.leaf:
        vein = 2 * np.abs(np.mod(9 * s - 2.6 * np.abs(r) + 0.15 * grain, 1) - 0.5)
        net = 2 * np.abs(np.mod(34 * s + 7 * np.abs(r) + 0.5 * grain, 1) - 0.5)
        ribs = np.maximum(0.8 * _smoothstep(0.16, 0.02, vein), _smoothstep(0.05, 0, np.abs(r)))
        relief = 0.5 * (vein - 0.5) + 0.12 * net
    else:
        furrow = 17 * r * edge + 0.8 * grain
        ribs = 0.18 * np.sin(furrow) * _smoothstep(1, 0.4, s) + 0.10 * grain
        relief = 0.10 * np.cos(furrow)
    tilt_across, tilt_along = relief - blade.cup * r, -blade.lift * (1 - 1.5 * s)
    normal = np.stack(
        [
            tilt_along * axis_x - tilt_across * axis_y,
            tilt_along * axis_y + tilt_across * axis_x,
            np.ones_like(s),
        ]
    )
    normal = _unit(normal)
    lit = np.clip(_dot(normal, LAMP), 0, 1)
    sheen = np.clip(_dot(normal, (LAMP + _color(0, 0, 1)) / 2), 0, 1) ** 24
    base, middle_color, tip = blade.colors
    towards_tip = _smoothstep(0.15, 1, s + 0.12 * grain)[:, None] ** 2
    color = _mix(_mix(base, middle_color, _smoothstep(-0.1, 0.6, s)[:, None]), tip, towards_tip)
    color = np.maximum(color * (1 + ribs[:, None]), 0) ** (1.35 - 0.35 * lit[:, None])  # shade is deeper in hue
    open_ = _smoothstep(-0.35, 0.75, s)  # little light reaches the base
    color *= 1.15 * ((0.16 + lit + 0.10 * grain * lit) * (0.18 + 0.82 * open_))[:, None]
    color += _color(1, 0.97, 0.92) * ((0.16 if blade.leaf else 0.10) * sheen * open_)[:, None]
    color *= 1 + 0.16 * _smoothstep(0.86, 1, np.abs(r))[:, None]  # light shines through the thin edge
    under[on] = under[on] * (1 - cover) + np.concatenate([color, np.ones_like(cover)], 1) * cover


def _dahlia(layer: Floats, x: float, y: float, radius: float, squash: float, palette: Palette, petals: int) -> None:
    """Petals at the golden angle, the outermost first, so that each lies over the feet of those further out."""
    rng, lattice = np.random.default_rng(petals), _lattice(5)
    golden_angle = math.pi * (3 - math.sqrt(5))
    for k in range(petals, 0, -1):
        out = k / petals  # 1 outside, 0 at the heart
        angle = k * golden_angle + rng.normal(0, 0.05)
        end = radius * (0.018 + 0.982 * out**0.60) * (1 + rng.normal(0, 0.022))
        start = 0.40 * end * out**0.5
        width = radius * (0.030 + 0.085 * out**0.75) * (1 + rng.normal(0, 0.05))
        share = out**0.8
        colors = [_mix(b, a, share) * (1 + rng.normal(0, 0.05)) for a, b in zip(*palette, strict=True)]
        lift, cup, shade = 0.95 - 1.05 * out, 1.0 - 0.25 * out, radius * (0.020 + 0.040 * out)
        petal = Blade(x, y, angle, start, end - start, width, lift, cup, colors, squash, shade)
        _paint(layer, petal, lattice, rng)


def _defocus(layer: Floats, radius: float) -> Floats:
    """The layer as a lens sees it out of focus: every point becomes a disc of `radius` pixels."""
    margin = math.ceil(radius)
    padded = np.pad(layer, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
    rows, columns = padded.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(np.minimum(x, columns - x), np.minimum(y, rows - y)), 0, 1)
    lens = np.fft.rfft2(disc / disc.sum())[..., None]
    seen = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * lens, (rows, columns), axes=(0, 1))
    return seen[margin:-margin, margin:-margin].astype(np.float32)


def _over(picture: Floats, layer: Floats) -> Floats:
    return picture * (1 - layer[..., 3:]) + layer[..., :3]


def flowers() -> Image.Image:
    """Three dahlias, one in focus, before leaves and points of light far out of focus."""
    rng, lattice, n = np.random.default_rng(3), _lattice(5), SUPERSAMPLING
    h, w = HEIGHT * n, WIDTH * n
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / h
    mottle = _fractal(lattice, 3 * x + 8, 3 * y + 2, 5)[..., None]
    garden = _color(0.010, 0.022, 0.013) * (1.5 + 1.2 * mottle)
    garden += _color(0.030, 0.055, 0.015) * _smoothstep(0.1, 0.8, mottle + 0.5 - 0.7 * y[..., None])
    lights = _color(0.55, 0.85, 0.16, 0.9, 0.9, 0.4, 0.2, 0.55, 0.2, 1, 0.6, 0.5, 0.6, 0.8, 1).reshape(5, 3)
    for _ in range(220):
        column, row = int(rng.integers(0, w)), int(rng.beta(1, 1.8) * h)
        strength = min(rng.pareto(2) + 0.12, 2.2) * 95 * n**2
        garden[row, column] += lights[rng.choice(5, p=[0.38, 0.2, 0.27, 0.08, 0.07])] * strength
    picture = _defocus(garden, 24 * n)

    far, leaves, near, front = np.zeros((4, h, w, 4), np.float32)
    _dahlia(far, 0.90 * w, 0.22 * h, 118 * n, 0.86, PLUM, 170)
    for angle, length, width in ((2.5, 300, 60), (0.35, 330, 64), (-0.9, 250, 60), (3.6, 280, 62), (1.2, 260, 70)):
        size = 100 * n, length * n, width * n
        leaf = Blade(0.45 * w, 0.52 * h, angle, *size, 0.1, 0.25, LEAF, squash=1, shade=10 * n, leaf=True)
        _paint(leaves, leaf, lattice, rng)
    _dahlia(near, 0.885 * w, 0.83 * h, 128 * n, 0.90, CREAM, 190)
    _dahlia(front, 0.415 * w, 0.515 * h, 236 * n, 0.95, CORAL, 250)
    for layer, blur in ((far, 4.5 * n), (leaves, 1.6 * n), (near, 1.1 * n)):
        picture = _over(picture, _defocus(layer, blur))
    cast = np.roll(_defocus(front[..., 3:], 22 * n), (14 * n, 14 * n), (0, 1))
    return _photograph(_shrink(_over(picture * (1 - 0.55 * cast), front), n), 1.0)


# ---- the command ----

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "scene.jpg": scene,
    "chart.png": chart,
    "page.png": page,
    "texture.jpg": landscape,
    "flowers.jpg": flowers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute the example pictures.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "residae" / "examples")
    folder: Path = parser.parse_args().folder
    for name, draw in PICTURES.items():
        picture = draw()
        if name.endswith(".png"):
            picture.save(folder / name, optimize=True)
        else:
            picture.save(folder / name, quality=90, subsampling="4:4:4", optimize=True, progressive=True)
        print(folder / name)


if __name__ == "__main__":
    main()
