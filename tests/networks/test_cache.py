import pytest

from modules.networks.cache import ByteCache


def test_the_least_recent_go_when_the_bytes_do_not_suffice() -> None:
    cache = ByteCache[str, int](limit=10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1  # now b is the least recently used
    cache.put("c", 3, 4)
    assert [key in cache for key in "abc"] == [True, False, True]
    assert (len(cache), cache.used) == (2, 8)


def test_a_value_larger_than_the_limit_is_not_kept_and_drives_nothing_out() -> None:
    cache = ByteCache[str, int](limit=10)
    cache.put("a", 1, 4)
    cache.put("huge", 2, 11)
    assert (cache.get("a"), cache.get("huge"), cache.used) == (1, None, 4)


def test_putting_again_replaces_value_and_size() -> None:
    cache = ByteCache[str, int](limit=10)
    cache.put("a", 1, 8)
    cache.put("a", 2, 3)
    assert (cache.get("a"), cache.used) == (2, 3)


def test_a_value_is_made_once() -> None:
    cache, made = ByteCache[str, str](limit=10), []
    for _ in range(2):
        assert cache.get_or_make("a", lambda: made.append(1) or "value", len) == "value"
    assert made == [1]


def test_a_failing_make_leaves_the_cache_as_it_was() -> None:
    cache = ByteCache[str, int](limit=10)
    cache.put("a", 1, 4)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_make("b", lambda: 1 // 0, lambda _: 4)
    assert (len(cache), cache.used) == (1, 4)


def test_clearing_lets_go_of_everything() -> None:
    cache = ByteCache[str, int](limit=10)
    cache.put("a", 1, 4)
    cache.clear()
    assert (len(cache), cache.used, cache.get("a")) == (0, 0, None)
