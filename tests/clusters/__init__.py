"""Real batch systems on this machine: started by the tests, thrown away after them."""

import pytest

pytest.register_assert_rewrite("tests.clusters.life")
