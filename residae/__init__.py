"""Residae: a hands-on laboratory for a pre-activation residual autoencoder."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residae.checkpoint import ResidualAutoencoder

__all__ = ["ResidualAutoencoder"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import torch when it is first needed, not with the package."""
    if name == "ResidualAutoencoder":
        from residae.checkpoint import ResidualAutoencoder

        return ResidualAutoencoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
