"""All batch systems under one contract."""

import pytest

pytest.register_assert_rewrite("tests.contract.schedulers.contract")
