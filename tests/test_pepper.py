"""The pepper: made once, its owner's only, and never a weak one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gatewayd.errors import GatewayError
from gatewayd.pepper import check_pepper, read_or_make_pepper, read_pepper

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("pepper", ["", "short", "a" * 64, "abc" * 20, GOOD[:31]])
def test_a_weak_pepper_is_refused_and_not_shown(pepper: str) -> None:
    with pytest.raises(ValueError, match="32 or more random characters") as caught:
        check_pepper(pepper)
    assert not pepper or pepper not in str(caught.value)


def test_a_pepper_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "var" / "pepper"
    pepper = read_or_make_pepper(file)
    assert check_pepper(pepper) == read_or_make_pepper(file) == read_pepper(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["pepper"]


def test_two_that_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(read_or_make_pepper, [tmp_path / "pepper"] * 32))
    assert len(set(made)) == 1


def test_there_may_be_none_yet(tmp_path: Path) -> None:
    assert read_pepper(tmp_path / "pepper") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_one_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "pepper"
    file.write_text(GOOD)
    file.chmod(mode)
    with pytest.raises(GatewayError, match="chmod 600"):
        read_pepper(file)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 64])
def test_one_that_is_damaged_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pepper"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(GatewayError, match="holds no pepper"):
        read_or_make_pepper(file)
    assert file.read_bytes() == content


def test_one_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GatewayError):
        read_or_make_pepper(tmp_path / "file" / "pepper")
