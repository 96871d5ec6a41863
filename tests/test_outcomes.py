"""What became of each item, as a report tells it."""

from meshtalk.outcomes import DROPPED, FAILED, KEPT, MADE, SHOWN, Outcome, some_of, told


def test_equal_reasons_are_told_together_and_details_of_one_alone():
    outcomes = [
        Outcome("a", MADE), Outcome("b", DROPPED, "unreadable sound: no RIFF header"), Outcome("c", KEPT),
        Outcome("d", DROPPED, "it has no words"), Outcome("e", DROPPED, "unreadable sound: it ends too early"),
        Outcome("f", FAILED, "it has no words: at all"), Outcome("g", MADE, "its end is cut off"),
    ]  # fmt: skip
    assert told(outcomes) == [
        "  dropped 2 (unreadable sound): b, e",
        "  dropped d: it has no words",
        "  failed f: it has no words: at all",
        "  made g: its end is cut off",
    ]


def test_of_many_names_some_are_listed():
    names = [str(n) for n in range(SHOWN + 2)]
    assert some_of(names[:SHOWN]) == ", ".join(names[:SHOWN])
    assert some_of(names).endswith(f"{SHOWN - 1} and 2 more")
