"""What the head's mouth, jaw and tongue can do in speech, proved on all people."""

import numpy as np
import pytest
from head_rig import both, part, posed, through

from meshtalk.measures.sync import lip_to_teeth_mm
from meshtalk.mesh.head import Head, Person, load_head
from meshtalk.mesh.topology import lip_opening_m

TEETH_MM, FLESH_MM = 0.5, 0.5
"""How deep a vertex of the tongue may go into teeth and lips: less than its own surface's roundness."""


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="module")
def everybody(head: Head) -> tuple[Person, ...]:
    return (head.person("default"), *head.people)


def marks(head: Head, face: np.ndarray, name: str) -> np.ndarray:
    """(n,3) millimetres."""
    return face[head.topology.landmarks[name]] * 1e3


def lips_and_around(head: Head) -> np.ndarray:
    """(V,) bool: the lips and the walls of the mouth behind them."""
    contact = head.neutral[head.topology.landmarks["lip_inner_lower"]][2]
    near = (np.abs(head.neutral - contact) < [0.030, 0.024, 0.016]).all(1)
    return near & part(head, "skin", "inner_mouth")


def labiodental(head: Head, person: Person, jaw: float) -> np.ndarray:
    return posed(head, person, jawOpen=jaw, mouthRollLower=0.85, **both("mouthUpperUp", 0.25))


@pytest.mark.parametrize(("jaw", "at_most_mm"), [(0.07, 1.2), (0.085, 1.2), (0.1, 1.2), (0.12, 1.5)])
def test_lower_lip_goes_under_the_upper_teeth(
    head: Head, everybody: tuple[Person, ...], jaw: float, at_most_mm: float
) -> None:
    faces = [labiodental(head, person, jaw) for person in everybody]
    lower, teeth = (head.topology.landmarks[name] for name in ("lip_inner_lower", "upper_teeth"))
    apart = np.array([lip_to_teeth_mm(face[None, lower], face[teeth])[0] for face in faces])
    assert apart.mean() <= at_most_mm
    assert apart.max() <= 2.2
    # a mouth that is not at an f stands clear of them
    assert lip_to_teeth_mm(head.neutral[None, lower], head.neutral[teeth])[0] > 5


def test_no_lip_goes_through_teeth_at_f_and_v(head: Head, everybody: tuple[Person, ...]) -> None:
    lips = lips_and_around(head)
    for person in everybody:
        for jaw in (0.07, 0.12):
            face = labiodental(head, person, jaw)
            assert through(head, face, lips, "upper_teeth") < 0.3, (person.name, jaw)
            assert through(head, face, lips, "lower_teeth") < 0.3, (person.name, jaw)


def test_the_red_of_the_lower_lip_rolls_in(head: Head) -> None:
    """In the middle, its front turns from forward to up."""
    rest, rolled = head.neutral * 1e3, labiodental(head, head.person("default"), 0.09) * 1e3
    rim = head.topology.landmarks["lip_inner_lower"][2]
    beside = np.abs(rest - rest[rim])
    front = (
        part(head, "skin") & (beside[:, 0] < 0.5) & (rest[:, 2] > rest[rim, 2] + 1) & (rest[:, 1] < rest[rim, 1] - 2)
    )
    red = np.flatnonzero(front & (head.topology.regions["lips"] > 0.5))
    assert len(red)
    for vertex in red:
        before, after = (np.degrees(np.arctan2(*(face[vertex, 1:] - face[rim, 1:]))) for face in (rest, rolled))
        assert 20 < after - before < 70


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"jawOpen": 0.08, "tongueOut": 0.2},
        {"jawOpen": 0.12, "tongueOut": 0.3} | both("mouthLowerDown", 0.3),
        {"jawOpen": 0.12, "tongueOut": 0.5},
        {"jawOpen": 0.16, "tongueOut": 0.5},
        {"jawOpen": 0.3, "tongueOut": 1.0},
        {"jawOpen": 0.45, "tongueOut": 1.0},
    ],
)
def test_tongue_goes_through_neither_teeth_nor_lips(
    head: Head, everybody: tuple[Person, ...], weights: dict[str, float]
) -> None:
    tongue = part(head, "tongue") & (head.neutral[:, 2] > 0.05)
    for person in everybody:
        face = posed(head, person, **weights)
        assert through(head, face, tongue, "upper_teeth") < TEETH_MM, person.name
        assert through(head, face, tongue, "lower_teeth") < TEETH_MM, person.name
        assert through(head, face, tongue, "skin", "inner_mouth") < FLESH_MM, person.name


def tip_of(head: Head, face: np.ndarray) -> np.ndarray:
    """(n,3) millimetres: the foremost 2 mm of the tongue."""
    tongue = face[part(head, "tongue")] * 1e3
    return tongue[tongue[:, 2] > tongue[:, 2].max() - 2]


def test_tongue_tip_is_between_the_teeth_at_th_and_seen(head: Head, everybody: tuple[Person, ...]) -> None:
    before = []
    for person in everybody:
        face = posed(head, person, jawOpen=0.14, tongueOut=0.5)
        tip, upper, lower = tip_of(head, face), marks(head, face, "upper_teeth"), marks(head, face, "lower_teeth")
        before.append(tip[:, 2].max() - upper[:, 2].max())
        assert tip[:, 1].max() < upper[:, 1].max(), person.name
        assert tip[:, 1].min() > lower[:, 1].min(), person.name
        lips_y = (marks(head, face, "lip_inner_lower")[2, 1], marks(head, face, "lip_inner_upper")[2, 1])
        assert lips_y[0] < tip[:, 1].mean() < lips_y[1], f"{person.name}: hidden by a lip"
    assert 1 < np.mean(before) < 3
    assert min(before) > 0
    assert max(before) < 4


def test_tongue_tip_is_behind_the_upper_teeth_at_t_d_n_l_and_seen(head: Head, everybody: tuple[Person, ...]) -> None:
    for person in everybody:
        for weight in (0.2, 0.3):
            face = posed(head, person, jawOpen=0.12, tongueOut=weight, **both("mouthLowerDown", 0.25))
            tip, upper, lower = tip_of(head, face), marks(head, face, "upper_teeth"), marks(head, face, "lower_teeth")
            assert tip[:, 2].max() < upper[6, 2], person.name
            assert tip[:, 1].max() > lower[:, 1].max() + 1.5, f"{person.name}: hidden by the lower teeth"


def test_tongue_lies_on_the_lower_lip_when_it_is_out(head: Head, everybody: tuple[Person, ...]) -> None:
    for person in everybody:
        face = posed(head, person, jawOpen=0.3, tongueOut=1.0)
        lip = face[lips_and_around(head)] * 1e3
        lip = lip[(np.abs(lip[:, 0]) < 3) & (lip[:, 1] < marks(head, face, "lip_inner_lower")[2, 1] + 0.5)]
        tongue = face[part(head, "tongue")] * 1e3
        assert tongue[:, 2].max() > lip[:, 2].max() + 1, person.name
        over = tongue[(np.abs(tongue[:, 0]) < 3) & (tongue[:, 2] > marks(head, face, "lip_inner_lower")[2, 2] - 2)]
        assert over[:, 1].min() - lip[:, 1].max() < 4, person.name


def test_lips_move_without_chin_and_nose(head: Head) -> None:
    rest = head.neutral
    for weights, most_mm in (
        (both("mouthLowerDown", 1.0), 0.15),
        ({"mouthRollLower": 1.0}, 0.3),
        ({"mouthRollUpper": 1.0}, 0.3),
        (both("mouthUpperUp", 1.0), 0.3),
        ({"tongueOut": 1.0}, 1e-3),
    ):
        moved = posed(head, head.person("default"), **weights)
        for name in ("chin", "nose_tip"):
            far = np.linalg.norm(marks(head, moved, name) - marks(head, rest, name), axis=1).max()
            assert far <= most_mm, (weights, name)


def test_lower_lip_bares_the_lower_teeth(head: Head, everybody: tuple[Person, ...]) -> None:
    for person in everybody:
        face = posed(head, person, **both("mouthLowerDown", 1.0))
        assert 5 < lip_opening_m(face, head.topology) * 1e3 < 6, person.name
        shown = marks(head, face, "lower_teeth")[:, 1].mean() - marks(head, face, "lip_inner_lower")[1:4, 1].mean()
        assert 1 < shown < 5, person.name


def test_funnel_is_a_round_hole_half_as_wide_as_the_mouth(head: Head, everybody: tuple[Person, ...]) -> None:
    lips = head.seams["lips"]
    for person in everybody:
        face = posed(head, person, mouthFunnel=1.0)
        assert 7 < lip_opening_m(face, head.topology) * 1e3 < 8.7, person.name
        opening = lips.opening_m(face) * 1e3
        hole = face[lips.upper[opening > 1.0], 0]
        width = np.ptp(marks(head, face, "lip_corners")[:, 0])
        assert 0.4 < np.ptp(hole) * 1e3 / width < 0.65, person.name
        assert 0.45 < opening.max() / (np.ptp(hole) * 1e3) < 1.1, person.name


def test_rounded_lips_close_in_and_come_forward_without_crossing(head: Head, everybody: tuple[Person, ...]) -> None:
    lips = head.seams["lips"]
    for person in everybody:
        for pucker, funnel in ((0.6, 0.2), (0.8, 0.3)):
            weights = {"jawOpen": 0.1, "mouthClose": 0.1, "mouthPucker": pucker, "mouthFunnel": funnel}
            face = posed(head, person, **weights)
            corners = marks(head, face, "lip_corners") - marks(head, person.template, "lip_corners")
            narrower = corners[0, 0] - corners[1, 0]
            assert 4.5 < narrower < 8.5, (person.name, narrower)
            forward = (marks(head, face, "lip_inner_upper") - marks(head, person.template, "lip_inner_upper"))[:, 2]
            assert forward.mean() > 3, person.name
            opening = lips.opening_m(face) * 1e3
            assert opening.min() > -0.3, person.name
            assert 1.5 < lip_opening_m(face, head.topology) * 1e3 < 3.5, person.name
            assert np.ptp(face[lips.upper[opening > 0.5], 0]) * 1e3 < 0.65 * np.ptp(
                marks(head, face, "lip_corners")[:, 0]
            )


def test_corners_go_out_without_the_jaw(head: Head, everybody: tuple[Person, ...]) -> None:
    for name in ("mouthStretch", "mouthSmile"):
        for person in everybody:
            face = posed(head, person, **both(name, 0.3))
            wide, rest = (np.ptp(marks(head, f, "lip_corners")[:, 0]) for f in (face, person.template))
            assert 2 < wide - rest < 4, (person.name, name)
            jaw = marks(head, face, "lower_teeth") - marks(head, person.template, "lower_teeth")
            assert np.abs(jaw).max() < 0.01, (person.name, name)
