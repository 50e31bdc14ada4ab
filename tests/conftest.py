# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
"""What all tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Whoever starts us in the background without job control has us ignore SIGINT, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines are noisy: no test may fail because it was slow.
settings.register_profile("lifeboat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lifeboat")


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A tree that is in use: what a refused or failed restore must not touch."""
    path = tmp_path / "live"
    path.mkdir()
    (path / "old").write_text("old")
    return path
