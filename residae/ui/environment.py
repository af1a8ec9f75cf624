"""What the page takes from the environment, and what it changes there before Gradio and uvicorn read it."""

import importlib.util
import logging
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from residae.errors import ResidaeError

LOCAL = ("localhost", "127.0.0.1", "::1")
# A Space is reached through the Hub's proxy alone. It has an address of a private network, such as 10.16.3.80, and adds
# the visitor's to X-Forwarded-For (seen in mteb's leaderboard: github.com/embeddings-benchmark/mteb/pull/4754). Were it
# elsewhere, all visitors would have its address, and the guard's cookie alone would tell them apart.
SPACE_PROXIES = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.1"

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where the page is served. Without a port, Gradio takes the first free one from 7860 on."""

    host: str
    port: int | None


def read_environment(environment: MutableMapping[str, str]) -> Address:
    """Take the address from the environment, and change what would keep the page from starting, or open files.

    Args:
        environment: Usually `os.environ`.

    Raises:
        ResidaeError: The port is not a number, is taken, or the address is not one of this machine.
    """
    environment.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    environment.setdefault("FORWARDED_ALLOW_IPS", SPACE_PROXIES if environment.get("SPACE_ID") else "")
    environment.pop("GRADIO_ALLOWED_PATHS", None)  # folders of this machine that Gradio would serve to anyone
    host = environment.pop("GRADIO_SERVER_NAME", "127.0.0.1").strip("[]")
    _bypass_proxies(environment, host)
    certificates = environment.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():
        LOG.warning("SSL_CERT_FILE names %s, which is not there: the usual certificates are used.", certificates)
        del environment["SSL_CERT_FILE"]
    port = environment.pop("GRADIO_SERVER_PORT", "")
    if not port:
        return Address(host, None)
    if not (port.isdecimal() and 0 < int(port) < 2**16):
        raise ResidaeError(f"GRADIO_SERVER_PORT is a number from 1 to 65535, not {port!r}.")
    _check_free(host, int(port))
    return Address(host, int(port))


def _bypass_proxies(environment: MutableMapping[str, str], host: str) -> None:
    """Let Gradio, which asks the page whether it is there, reach it without a proxy."""
    for name in [name for name in environment if name.lower() in ("all_proxy", "http_proxy", "https_proxy")]:
        if environment[name].startswith("socks") and not importlib.util.find_spec("socksio"):
            LOG.warning("%s names a SOCKS proxy, which needs the package socksio: it is not used.", name)
            del environment[name]
    for name in ("NO_PROXY", "no_proxy"):
        named = [part.strip() for part in environment.get(name, "").split(",") if part.strip()]
        environment[name] = ",".join(dict.fromkeys([*named, *LOCAL, host]))


def _check_free(host: str, port: int) -> None:
    """Check that the page can be served there, where Gradio would take another port, or none without saying why."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise ResidaeError(
            f"The page cannot be served at {host}, port {port}: {error.strerror or error}. Choose another port with "
            "GRADIO_SERVER_PORT, or another address with GRADIO_SERVER_NAME."
        ) from error
