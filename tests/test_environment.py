"""The environment of an office, of a Space, or of a shell with mistakes: it is made fit for the page, or refused.

That the page starts in it is shown where pages are started: see `service.HOSTILE`.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from residae.errors import ResidaeError
from residae.ui.environment import Address, read_environment
from residae.ui.theme import head


def test_local_addresses_bypass_a_proxy() -> None:
    environment = {"HTTP_PROXY": "http://proxy", "no_proxy": "intranet", "GRADIO_SERVER_NAME": "10.0.0.5"}
    assert read_environment(environment) == Address("10.0.0.5", None)
    assert environment["NO_PROXY"] == "localhost,127.0.0.1,::1,10.0.0.5"
    assert environment["no_proxy"] == "intranet,localhost,127.0.0.1,::1,10.0.0.5"
    assert environment["HTTP_PROXY"] == "http://proxy"  # which the Hub may need


def test_no_folder_is_opened_to_visitors() -> None:
    environment = {"GRADIO_ALLOWED_PATHS": "/"}
    read_environment(environment)
    assert "GRADIO_ALLOWED_PATHS" not in environment


def test_forwarded_addresses_count_only_from_a_proxy_that_is_named() -> None:
    for environment, trusted in (({}, ""), ({"FORWARDED_ALLOW_IPS": "10.1.2.3"}, "10.1.2.3")):
        read_environment(environment)
        assert environment["FORWARDED_ALLOW_IPS"] == trusted
    space = {"SPACE_ID": "owner/name"}
    read_environment(space)
    assert space["FORWARDED_ALLOW_IPS"].startswith("10.0.0.0/8,")


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ResidaeError, match="is a number from 1 to 65535"):
        read_environment({"GRADIO_SERVER_PORT": port})


@contextmanager
def taken(host: str) -> Iterator[int]:
    """A port at which something listens."""
    try:
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip(f"this machine has no address {host}")
    with listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]"])
def test_a_port_that_is_taken_is_an_error(host: str) -> None:
    with taken(host.strip("[]")) as port, pytest.raises(ResidaeError) as raised:
        read_environment({"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": host})
    assert f"cannot be served at {host.strip('[]')}, port {port}: Address already in use." in str(raised.value)


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ResidaeError, match=r"cannot be served at 192\.0\.2\.1, port 7999"):
        read_environment({"GRADIO_SERVER_PORT": "7999", "GRADIO_SERVER_NAME": "192.0.2.1"})


def test_the_foot_leads_to_the_code_where_its_address_is_known() -> None:
    assert not head(None).startswith("<meta")
    assert head("owner/name").startswith(
        '<meta name="residae-code" content="https://huggingface.co/spaces/owner/name/tree/main">'
    )
