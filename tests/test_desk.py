"""What stops for what."""

from types import SimpleNamespace
from typing import Any

import pytest

from residae.ui.desk import Stopped, stop, stop_for_rate, told

VISIT: Any = SimpleNamespace(session_hash="a visit")
ANOTHER: Any = SimpleNamespace(session_hash="another")
SILENT: Any = lambda share, desc: None  # noqa: E731


@pytest.mark.parametrize("new_picture", [False, True])
def test_a_new_picture_is_not_given_up_for_another_rate(new_picture: bool) -> None:
    """Else the rate of the picture before would change, and the new one never be seen."""
    tell = told(SILENT, VISIT, new_picture=new_picture)
    stop_for_rate(VISIT)
    if not new_picture:
        with pytest.raises(Stopped):
            tell(0.5)
        return
    tell(0.5)
    stop(VISIT)
    with pytest.raises(Stopped):
        tell(0.6)


def test_visitors_do_not_stop_each_other() -> None:
    tell = told(SILENT, VISIT)
    for end in (stop, stop_for_rate):
        end(ANOTHER)
    tell(0.5)
