"""Commands for the page: page serves it here, deploy uploads it to the Hugging Face Hub."""

import argparse
import importlib.util

from residae.cli import arguments
from residae.errors import ResidaeError


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_page(commands.add_parser("page", help="the page in the browser, as app.py serves it"))
    _add_deploy(commands.add_parser("deploy", help="create or update a Space on the Hugging Face Hub"))


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_page)
    parser.add_argument("--mcp", action="store_true", help="also offer its endpoints as MCP tools, at /gradio_api/mcp/")


def _page(parsed: argparse.Namespace) -> None:
    if not importlib.util.find_spec("gradio"):
        raise ResidaeError("The page needs Gradio: install residae with its extra, as residae[ui].")
    if parsed.mcp and not importlib.util.find_spec("mcp"):
        raise ResidaeError("MCP needs a package of its own: install residae with its extra, as residae[mcp].")
    from residae.ui.launch import main

    main(parsed.mcp)


def _add_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME", help="the Space; files in it that are not ours are deleted")
    parser.add_argument("--model", action="store_true", help="also upload the weights, to a model of the same name")
    parser.add_argument("--hardware", help="such as cpu-basic, zero-a10g (ZeroGPU) or t4-small (default: unchanged)")
    parser.add_argument("--private", action="store_true", default=None, help="make a new Space private")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and upload nothing")
    parser.set_defaults(command=_deploy)


def _deploy(parsed: argparse.Namespace) -> None:
    from residae.deploy import plan_uploads, push

    for upload in plan_uploads(parsed.repository, parsed.model):
        sizes = upload.sizes()
        print(f"{upload.kind} {upload.repository}: {len(sizes)} files, {sum(sizes.values()):,} bytes")
        if parsed.dry_run:
            for path, size in sizes.items():
                print(f"{size:>12,}  {path}")
        else:
            print(push(upload, parsed.hardware, parsed.private))
