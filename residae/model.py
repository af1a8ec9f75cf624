"""The pre-activation residual autoencoder: one channel in, a latent 16 times smaller each way, one channel out.

Blocks follow He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027): normalise and
activate before each convolution, and nothing after the sum.
"""

from itertools import pairwise

from torch import Tensor, nn

STRIDE = 16  # four stages, each halving height and width: 2 ** 4


class PreActResidualBlock(nn.Module):
    """BN -> ReLU -> Conv3x3(stride) -> BN -> ReLU -> Conv3x3, plus a shortcut of the raw input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu(self.bn1(x)))
        y = self.conv2(self.relu(self.bn2(y)))
        return y + self.shortcut(x)


class PreActResidualEncoder(nn.Module):
    """(B, 1, H, W) in [0, 1] -> (B, latent_channels, H/16, W/16), unbounded."""

    def __init__(self, base_channels: int = 64, latent_channels: int = 16) -> None:
        super().__init__()
        b = base_channels
        self.stem = nn.Sequential(nn.Conv2d(1, b, 7, padding=3, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        self.stages = nn.Sequential(
            *(
                nn.Sequential(PreActResidualBlock(inner, outer, stride=2), PreActResidualBlock(outer, outer))
                for inner, outer in pairwise((b, 2 * b, 4 * b, 8 * b, latent_channels))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))


class PreActResidualDecoder(nn.Module):
    """(B, latent_channels, h, w) -> (B, 1, 16h, 16w) in [0, 1]."""

    def __init__(self, base_channels: int = 64, latent_channels: int = 16) -> None:
        super().__init__()
        b = base_channels
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                    nn.Conv2d(inner, outer, 1, bias=False),
                    nn.BatchNorm2d(outer),
                    PreActResidualBlock(outer, outer),
                    PreActResidualBlock(outer, outer),
                )
                for inner, outer in pairwise((latent_channels, 8 * b, 4 * b, 2 * b, b))
            )
        )
        self.out = nn.Conv2d(b, 1, 7, padding=3)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.stages(z)).sigmoid()


class ResidualAutoencoder(nn.Module):
    """Encoder and decoder joined at the latent.

    `base_channels` is the width of the first stage (the widths are 1, 2, 4 and 8 times it), `latent_channels`
    the number of channels of the latent. The defaults are the published network of 23,836,257 parameters.
    """

    def __init__(self, base_channels: int = 64, latent_channels: int = 16) -> None:
        super().__init__()
        self.base_channels = base_channels
        self.latent_channels = latent_channels
        self.encoder = PreActResidualEncoder(base_channels, latent_channels)
        self.decoder = PreActResidualDecoder(base_channels, latent_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, H, W) in [0, 1], H and W multiples of 16 -> reconstruction of that shape in [0, 1], and latent."""
        z = self.encode(x)
        return self.decode(z), z

    def encode(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1] -> (B, latent_channels, H/16, W/16). ValueError for any other shape."""
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % STRIDE or x.shape[3] % STRIDE:
            raise ValueError(f"expected (B, 1, H, W) with H and W multiples of {STRIDE}, got {tuple(x.shape)}")
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent_channels, h, w) -> (B, 1, 16h, 16w) in [0, 1]. ValueError for any other shape."""
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(f"expected (B, {self.latent_channels}, h, w), got {tuple(z.shape)}")
        return self.decoder(z)

    def count_parameters(self) -> dict[str, int]:
        """Trainable numbers in `encoder`, `decoder` and in `total`."""
        counts = {
            name: sum(p.numel() for p in part.parameters() if p.requires_grad)
            for name, part in (("encoder", self.encoder), ("decoder", self.decoder))
        }
        return counts | {"total": sum(counts.values())}

    def get_latent_size(self, height: int = 256, width: int = 256) -> tuple[int, int, int]:
        """Shape (channels, h, w) of the latent of one image of `height` x `width` pixels."""
        return self.latent_channels, height // STRIDE, width // STRIDE

    def get_compression_ratio(self) -> float:
        """Pixels per latent number: how many times fewer *numbers*, which is not how many times fewer bytes."""
        return STRIDE * STRIDE / self.latent_channels
