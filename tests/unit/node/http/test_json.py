"""What the edge takes as JSON."""

import pytest

from node.http.json import ApiError, load


@pytest.mark.parametrize("text", [b"1e999", b"-1e999", b"NaN", b"-Infinity"])
def test_a_number_without_end_is_no_number(text: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        load(b'{"a": [' + text + b"]}")
    assert refused.value.status == 400


def test_ordinary_fractions_are_taken() -> None:
    assert load(b"[1e308, -0.5, 1e-999]") == [1e308, -0.5, 0.0]
