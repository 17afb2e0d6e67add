"""When to look for drift, whom to tell, and what to put back, how often."""

from __future__ import annotations

from nanod.daemon.drift import LONGEST, MOST, QUIET, WINDOW, DriftState, Item, Seen, asked_again, is_due, looked, looking, touched
from nanod.daemon.units import concerns

EDITED = Item("edited", "shop-web.service")
MASKED = Item("masked", "shop-web.service")


def seen(*items: Item, app: str = "shop", under_way: bool = False) -> Seen:
    return Seen(app=app, spec=f"/etc/nanod/specs.d/{app}.yaml", items=frozenset(items), is_under_way=under_way)


def test_it_looks_when_it_has_been_quiet_and_not_for_ever_later() -> None:
    state, at = touched(DriftState(), 100.0), 100.0
    assert not is_due(state, 100.0 + QUIET / 2)
    assert is_due(state, 100.0 + QUIET)
    while not is_due(state, at):
        state = touched(state, at)
        at += QUIET / 2
    assert at - 100.0 <= LONGEST + QUIET
    assert not is_due(looking(state), at + 100)


def test_news_are_told_once_and_their_end_too() -> None:
    state, told, _ = looked(DriftState(), [seen(EDITED)], 1, heals={})
    assert [item.text for item in told] == ["shop: shop-web.service was edited by hand"]
    state, told, _ = looked(state, [seen(EDITED)], 2, heals={})
    assert told == []
    state, told, _ = looked(state, [seen()], 3, heals={})
    assert [item.text for item in told] == ["shop: all is as nanod left it again"]
    assert looked(state, [seen()], 4, heals={})[1] == []


def test_what_a_transaction_is_about_to_change_is_no_news() -> None:
    state, told, stems = looked(DriftState(), [seen(EDITED, under_way=True)], 1, heals={"shop": "shop"})
    assert (told, stems, state.found) == ([], [], {})


def test_nobody_could_look() -> None:
    before, _, _ = looked(DriftState(), [seen(EDITED)], 1, heals={})
    after, told, stems = looked(looking(before), None, 2, heals={"shop": "shop"})
    assert (after.found, told, stems, after.is_looking) == (before.found, [], [], False)


def test_an_app_that_is_gone_has_not_drifted() -> None:
    state, _, _ = looked(DriftState(), [seen(EDITED)], 1, heals={})
    state, told, _ = looked(state, [], 2, heals={})
    assert (state.found, told) == ({}, [])


def test_only_what_may_be_put_back_is() -> None:
    assert looked(DriftState(), [seen(EDITED)], 1, heals={})[2] == []
    assert looked(DriftState(), [seen(EDITED)], 1, heals={"shop": "spec"})[2] == ["spec"]
    assert looked(DriftState(), [seen(MASKED, Item("override", "/x.conf"))], 1, heals={"shop": "spec"})[2] == []


def test_what_came_back_to_be_wrong_is_given_up_until_somebody_asks() -> None:
    heals = {"shop": "shop"}
    state, _, stems = looked(DriftState(), [seen(EDITED, Item("not-loaded", "shop-web.service"))], 1, heals=heals)
    assert stems == ["shop"]
    state, told, stems = looked(state, [seen(EDITED)], 2, heals=heals)
    assert stems == []
    assert [item.text for item in told if "gives up" in item.text] == ["shop: gives up putting it back: shop-web.service was edited by hand"]
    state, told, stems = looked(state, [seen(EDITED)], 3, heals=heals)
    assert (told, stems) == ([], [])
    assert looked(asked_again(state), [seen(EDITED)], 4, heals=heals)[2] == ["shop"]


def test_whoever_edits_it_again_and_again_wins_after_a_while() -> None:
    state, heals, count = DriftState(), {"shop": "shop"}, 0
    for number in range(10):
        state, _, stems = looked(state, [seen(EDITED)], number * 10.0, heals=heals)
        count += len(stems)
        state, _, _ = looked(state, [seen()], number * 10.0 + 5, heals=heals)
    assert count == MOST
    assert looked(state, [seen(EDITED)], 200 + WINDOW, heals=heals)[2] == ["shop"]


def test_which_names_are_about_units_of_apps() -> None:
    of = ["shop", "my-shop"]
    for name in (
        *("shop.target", "shop-web.service", "shop-web.service.d", "nanod-shop.slice", r"nanod-my\x2dshop.slice", "my-shop-web.socket"),
        *("service.d", "shop-.service.d", "my-.service.d"),
    ):
        assert concerns(name, of), name
    for name in ("nginx.service", "shopping.service", "multi-user.target.wants", "nanod.service", "nginx.service.d", "session-1.scope"):
        assert not concerns(name, of), name
