"""Arguments of the training command."""

import argparse
from dataclasses import fields
from pathlib import Path

from residae import malloc
from residae.errors import ResidaeError
from residae.train.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures to train on, searched through all its folders")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: its state, from which it resumes")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint to write")
    parser.add_argument("--start", help="checkpoint (folder or Hub id) to start from; random weights without it")
    parser.add_argument("--validate", type=Path, help="folder of pictures held out, to measure PSNR on")
    for option in fields(Recipe):
        name = "--" + option.name.replace("_", "-")
        help_text = f"{option.metadata['help']} (default {option.default})"
        parser.add_argument(name, type=type(option.default), default=option.default, help=help_text)


def run(arguments: argparse.Namespace) -> None:
    malloc.tune_malloc(malloc.EVERYTHING, malloc.EVERYTHING)  # the next step needs what the last one had
    from residae.train.loop import train  # slow to import, and not needed to print the help

    recipe = Recipe(**{option.name: getattr(arguments, option.name) for option in fields(Recipe)})
    train(arguments.folder, arguments.run, arguments.output, recipe, arguments.start, arguments.validate)


def main() -> None:
    parser = argparse.ArgumentParser(prog="residae train", description="Train a checkpoint on a folder of pictures.")
    add_arguments(parser)
    try:
        run(parser.parse_args())
    except ResidaeError as error:
        parser.exit(1, f"residae: {error}\n")


if __name__ == "__main__":
    main()
