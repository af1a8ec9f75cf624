"""Commands that make checkpoints: fit and train."""

import argparse
from pathlib import Path

from residae.cli import arguments
from residae.geometry import MAX_SCALE
from residae.train import __main__ as training
from residae.train.recipe import LARGEST_SCALE, SCALED_SHARE


def add_commands(commands: "arguments.Commands") -> None:
    """Add the parsers of these commands."""
    _add_fit(commands.add_parser("fit", help="fit the codec tables of a checkpoint to a folder of pictures"))
    _add_train(commands.add_parser("train", help="train a checkpoint on a folder of pictures"))


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures to fit to: the training data")
    parser.add_argument(
        "--pictures",
        type=arguments.positive(int),
        default=64,
        help="how many are used, chosen evenly (default: %(default)s)",
    )
    parser.add_argument(
        "--scaled-share",
        type=arguments.share,
        default=SCALED_SHARE,
        help="share of them to enlarge (default: %(default)s)",
    )
    parser.add_argument(
        "--max-scale",
        type=arguments.within(1, MAX_SCALE),
        default=LARGEST_SCALE,
        help="largest factor (default: %(default)s)",
    )
    parser.add_argument("--checkpoint", required=True, type=Path, help="folder of the checkpoint that gets the tables")
    parser.add_argument("--force", action="store_true", help="replace tables that the checkpoint has")
    parser.set_defaults(command=_fit)


def _fit(parsed: argparse.Namespace) -> None:
    from tqdm import tqdm

    from residae.train.tables import fit_checkpoint

    with tqdm(total=1.0, disable=None, bar_format="{percentage:.0f} %|{bar}| {remaining}") as bar:
        fit_checkpoint(
            parsed.checkpoint,
            parsed.folder,
            parsed.pictures,
            parsed.scaled_share,
            parsed.max_scale,
            parsed.force,
            lambda share: bar.update(share - bar.n),
        )
    print(f"{parsed.checkpoint} has new tables. Files that were written with others do not open with them.")


def _add_train(parser: argparse.ArgumentParser) -> None:
    training.add_arguments(parser)
    parser.set_defaults(command=training.run)
