"""One outstanding question each, and how long until the next."""

from random import Random

from federation.asking import (
    ANSWER_S_MAX,
    GRANT_S_MAX,
    KEYS_MAX,
    RETRY_S_MAX,
    RETRY_S_MIN,
    Asking,
)


def asking() -> Asking:
    return Asking(Random(1))


def test_nothing_is_asked_twice_before_the_answer() -> None:
    asks = asking()
    assert asks.may("leader", 0.0)
    asks.sent("leader", 0.0)
    assert not asks.may("leader", ANSWER_S_MAX - 1)
    assert asks.waits("leader", ANSWER_S_MAX - 1)
    assert asks.may("another", 0.0)


def test_an_answer_that_never_comes_is_given_up() -> None:
    asks = asking()
    asks.sent("leader", 0.0)
    assert asks.may("leader", ANSWER_S_MAX)
    assert not asks.waits("leader", ANSWER_S_MAX)


def test_a_grant_on_its_way_is_waited_for_and_not_for_ever() -> None:
    asks = asking()
    asks.sent("leader", 0.0)
    asks.granted("leader", 1.0)
    assert not asks.may("leader", GRANT_S_MAX)
    assert asks.may("leader", 1.0 + GRANT_S_MAX)
    asks.granted("leader", 1.0)
    asks.arrived("leader")
    assert asks.may("leader", 2.0)


def test_a_leader_that_is_silent_is_asked_ever_more_seldom() -> None:
    asks, now_s, waits = asking(), 0.0, []
    for _ in range(12):
        asks.sent("leader", now_s)
        asks.failed("leader", now_s)
        until_s = asks.due_s(now_s)
        assert until_s is not None
        assert asks.may("leader", until_s)
        waits.append(until_s - now_s)
        now_s = until_s
    assert RETRY_S_MIN / 2 <= waits[0] <= RETRY_S_MIN
    assert waits[-1] >= RETRY_S_MAX / 2
    assert max(waits) <= RETRY_S_MAX


def test_a_leader_with_nothing_is_asked_again_when_it_says_or_when_it_has_news() -> None:
    asks = asking()
    asks.sent("leader", 0.0)
    asks.refused("leader", 0.0, retry_s=100)
    assert not asks.may("leader", 99.0)
    asks.woke("leader")
    assert asks.may("leader", 1.0)


def test_news_do_not_make_a_silent_leader_answer() -> None:
    asks = asking()
    asks.failed("leader", 0.0)
    asks.woke("leader")
    assert not asks.may("leader", 0.0)


def test_news_do_not_repeat_a_question_on_its_way() -> None:
    asks = asking()
    asks.sent("leader", 0.0)
    asks.woke("leader")
    assert not asks.may("leader", 1.0)


def test_the_memory_of_questions_is_bounded() -> None:
    asks = asking()
    for key in range(2 * KEYS_MAX):
        asks.sent(key, float(key))
    assert not asks.may(2 * KEYS_MAX - 1, 2.0 * KEYS_MAX)
    assert len(asks._lines) <= KEYS_MAX
