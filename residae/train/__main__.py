"""Arguments of the training command."""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from residae import malloc
from residae.errors import ResidaeError
from residae.train.recipe import PRESETS, Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run, and one for each field of `Recipe`.

    Args:
        parser: Of the command that trains.
    """
    parser.add_argument("folder", type=Path, help="pictures to train on, searched through all its folders")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run's state, from which it resumes")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--start", help="checkpoint (folder or Hub id) to start from (default: random weights)")
    parser.add_argument("--validate", type=Path, help="folder of held-out pictures to measure PSNR on")
    parser.add_argument("--export", type=Path, help="folder to write the averaged weights to during the run")
    parser.add_argument("--preset", choices=PRESETS, help="a recipe for the options below that are not given")
    for option in fields(Recipe):
        name = "--" + option.name.replace("_", "-")
        help_text = f"{option.metadata['help']} (default: {option.default})"
        parser.add_argument(name, type=type(option.default), help=help_text)


def run(arguments: argparse.Namespace) -> None:
    """Train as the arguments say.

    Args:
        arguments: Parsed by a parser with the options of `add_arguments`.

    Raises:
        ResidaeError: As `residae.train.loop.train`.
    """
    malloc.tune_malloc(malloc.MAX_BYTES, malloc.MAX_BYTES)  # each step needs the memory of the one before
    from residae.train.loop import train  # slow to import, and not needed to print the help

    preset = PRESETS[arguments.preset] if arguments.preset else Recipe()
    given = {option.name: getattr(arguments, option.name) for option in fields(Recipe)}
    recipe = replace(preset, **{name: value for name, value in given.items() if value is not None})
    folders = (arguments.start, arguments.validate, arguments.export)
    train(arguments.folder, arguments.run, arguments.output, recipe, *folders)


def main() -> None:
    """Run the command, and exit with 1 and a sentence where it fails."""
    parser = argparse.ArgumentParser(prog="residae train", description="Train a checkpoint on a folder of pictures.")
    add_arguments(parser)
    try:
        run(parser.parse_args())
    except ResidaeError as error:
        parser.exit(1, f"residae: {error}\n")


if __name__ == "__main__":
    main()
