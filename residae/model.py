"""The pre-activation residual autoencoder: one channel in, a latent 16 times smaller each way, one channel out.

Blocks follow He et al. 2016, "Identity Mappings in Deep Residual Networks" (arXiv:1603.05027): normalize and
activate before each convolution, and nothing after the sum.
"""

from itertools import pairwise
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from residae.errors import CheckpointError
from residae.geometry import STRIDE


class PreActResidualBlock(nn.Module):
    """BN -> ReLU -> Conv3x3(stride) -> BN -> ReLU -> Conv3x3, plus a shortcut of the raw input.

    Args:
        in_channels: Of the input (B, in_channels, H, W).
        out_channels: Of the output (B, out_channels, H / stride, W / stride), rounded up.
        stride: Of the first convolution and of the shortcut, which is the identity if neither size nor channels change.
    """

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
    """(B, 1, H, W) in [0, 1] -> (B, latent_channels, H/16, W/16), unbounded.

    Args:
        base_channels: As in `ResidualAutoencoder`.
        latent_channels: As in `ResidualAutoencoder`.
    """

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
    """(B, latent_channels, h, w) -> (B, 1, 16h, 16w) in [0, 1].

    Args:
        base_channels: As in `ResidualAutoencoder`.
        latent_channels: As in `ResidualAutoencoder`.
    """

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

    The defaults are the published network of 23,836,257 parameters.

    Args:
        base_channels: Width of the first stage; the widths are 1, 2, 4 and 8 times it.
        latent_channels: Channels of the latent, which has a cell for each 16 x 16 pixels.
    """

    def __init__(self, base_channels: int = 64, latent_channels: int = 16) -> None:
        super().__init__()
        self.base_channels = base_channels
        self.latent_channels = latent_channels
        self.encoder = PreActResidualEncoder(base_channels, latent_channels)
        self.decoder = PreActResidualDecoder(base_channels, latent_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode and decode, without quantization.

        Args:
            x: (B, 1, H, W) in [0, 1]; H and W are multiples of 16.

        Returns:
            The reconstruction, (B, 1, H, W) in [0, 1], and the latent, (B, latent_channels, H/16, W/16).

        Raises:
            ValueError: `x` has another shape.
        """
        z = self.encode(x)
        return self.decode(z), z

    def encode(self, x: Tensor) -> Tensor:
        """Map a batch of planes to latents.

        Args:
            x: (B, 1, H, W) in [0, 1]; H and W are multiples of 16.

        Returns:
            (B, latent_channels, H/16, W/16), unbounded.

        Raises:
            ValueError: `x` has another shape.
        """
        if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] % STRIDE or x.shape[3] % STRIDE:
            raise ValueError(f"expected (B, 1, H, W) with H and W multiples of {STRIDE}, got {tuple(x.shape)}")
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Map a batch of latents to planes.

        Args:
            z: (B, latent_channels, h, w).

        Returns:
            (B, 1, 16h, 16w) in [0, 1].

        Raises:
            ValueError: `z` has another shape.
        """
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(f"expected (B, {self.latent_channels}, h, w), got {tuple(z.shape)}")
        return self.decoder(z)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Load a network from a checkpoint folder, or from the Hugging Face Hub.

        Loading is strict: every tensor of the network must be there, in its shape, and no other.

        Args:
            source: A folder, or a model on the Hub as `owner/name` or `owner/name@revision`. A folder of that name
                comes first. What the Hub has sent once is kept in its cache, and used when there is no connection.

        Returns:
            The network on the CPU, in eval mode.

        Raises:
            CheckpointError: Nothing is there, or it does not describe this network.
        """
        from residae import weights  # safetensors, which running a network does not need

        folder = weights.find_folder(source)
        try:
            network = cls(**weights.read_config(folder))
        except (ValueError, TypeError, RuntimeError) as error:  # a width beyond memory, or beyond 64 bits
            raise CheckpointError(
                f"{source}: {weights.CONFIG} does not describe a network that can be built."
            ) from error
        weights.load_strictly(network, weights.read_tensors(folder, "pt"), str(source))
        return network.eval()

    def save_pretrained(self, folder: str | Path, max_shard_size: str | None = None) -> None:
        """Write the network to a folder as `config.json` and safetensors shards.

        All files are written aside first, so that a full disk loses nothing that the folder held before. Codec tables
        in the folder are removed, since they belong to other weights; other files, such as a model card, stay.

        Args:
            folder: Created if it does not exist.
            max_shard_size: Largest size of a shard, such as `"1GB"`; `residae.weights.MAX_SHARD_SIZE` if it is None.
        """
        from residae import weights

        size = max_shard_size or weights.MAX_SHARD_SIZE
        weights.write(folder, self.config, self.state_dict(), max_shard_size=size)

    @property
    def config(self) -> dict[str, int]:
        """The constructor's arguments, as `config.json` holds them."""
        return {"base_channels": self.base_channels, "latent_channels": self.latent_channels}

    def count_parameters(self) -> dict[str, int]:
        """Trainable numbers in `encoder`, `decoder` and in `total`."""
        counts = {
            name: sum(p.numel() for p in part.parameters() if p.requires_grad)
            for name, part in (("encoder", self.encoder), ("decoder", self.decoder))
        }
        return counts | {"total": sum(counts.values())}

    def get_latent_size(self, height: int = 256, width: int = 256) -> tuple[int, int, int]:
        """Shape (channels, h, w) of the latent of one image of `height` x `width` pixels.

        Args:
            height: Pixels, a multiple of 16.
            width: Pixels, a multiple of 16.
        """
        return self.latent_channels, height // STRIDE, width // STRIDE

    def get_compression_ratio(self) -> float:
        """Pixels per latent number: how many times fewer *numbers*, which is not how many times fewer bytes."""
        return STRIDE * STRIDE / self.latent_channels
