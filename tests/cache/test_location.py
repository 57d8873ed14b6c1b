import sys
from pathlib import Path

import pytest

from cache import cache_folder
from cache.errors import CacheError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("FACELINE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/user"))


def test_the_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("FACELINE_CACHE", "/env")
    assert cache_folder(Path("/option")) == Path("/option")
    assert cache_folder() == Path("/env")


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", None, "/home/user/.cache/faceline"),
        ("linux", "XDG_CACHE_HOME", "/set/faceline"),
        ("darwin", None, "/home/user/Library/Caches/faceline"),
        ("win32", None, "/home/user/faceline"),
        ("win32", "LOCALAPPDATA", "/set/faceline"),
    ],
)
def test_without_a_name_it_is_the_users_cache_folder(monkeypatch, platform, variable, expected):
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, "/set")
    assert cache_folder() == Path(expected)


def test_a_user_without_a_home_is_reminded_to_name_a_folder(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(CacheError, match="--cache DIR"):
        cache_folder()


def test_a_leading_tilde_is_the_home_folder_and_a_name_with_one_is_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("FACELINE_CACHE", "~/crops")
    assert cache_folder() == Path("/home/user/crops")
    assert cache_folder("~/else") == Path("/home/user/else")
    assert cache_folder("~no_such_user") == Path("~no_such_user")
