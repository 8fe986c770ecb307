from __future__ import annotations

import random

import pytest


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Make chance repeatable."""
    random.seed(20_100_402)
