"""Components that several tabs use."""

import pytest

from residae.ui.components import slider


@pytest.mark.parametrize(("typed", "expected"), [(150, 100), (-3, 0), (40, 40)])
def test_a_number_beyond_the_ends_of_a_slider_counts_as_the_nearer_end(typed: float, expected: float) -> None:
    assert slider(0, 100).preprocess(typed) == expected
