"""Does the mouth do what the phones ask, on every face and in every mood?"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtalk.clip import Phone
from meshtalk.errors import InputError
from meshtalk.measures import tracks
from meshtalk.mesh.head import load_head
from meshtalk.synth import effort
from meshtalk.synth.articulation import articulate
from meshtalk.synth.clips import make_clip
from meshtalk.synth.lips import compose, default_lips, shape_names
from meshtalk.synth.phones import PHONES
from meshtalk.synth.upper_face import EMOTIONS, upper_face

RATE_HZ = 16_000
FAST = Fraction(300)
SENTENCE = [
    "aa",
    "m",
    "iy",
    "f",
    "uw",
    "b",
    "ae",
    "n",
    "d",
    "ow",
    "p",
    "eh",
    "t",
    "aa",
    "k",
    "sh",
    "ih",
    "l",
    "ao",
    "g",
]
VOWELS = frozenset({"aa", "ae", "ao", "eh", "ih", "iy", "ow", "uw"})


def spoken(names, pause_s=0.4, vowel_s=0.15, other_s=0.08):
    """Phones with pauses around them and noise as loud as speech where they are."""
    phones, now_s = [Phone("pau", 0.0, pause_s)], pause_s
    for name in names:
        length_s = vowel_s if name in VOWELS else other_s
        phones.append(Phone(name, now_s, now_s + length_s))
        now_s += length_s
    phones.append(Phone("pau", now_s, now_s + pause_s))
    n = round((now_s + pause_s) * RATE_HZ)
    audio = np.random.default_rng(0).normal(0, 0.1, n).astype(np.float32)
    times_s = np.arange(n) / RATE_HZ
    audio[(times_s < pause_s) | (times_s > now_s)] = 0
    return tuple(phones), audio


def mouth(names, fps=FAST, seed=0, **kwargs):
    phones, audio = spoken(names, **kwargs)
    return phones, articulate(phones, audio, RATE_HZ, fps, np.random.default_rng(seed))


def inside(phone, fps=FAST):
    return slice(int(np.ceil(phone.start_s * fps)), int(phone.end_s * fps) + 1)


def test_bilabials_close_for_40_ms_and_nothing_else_does():
    phones, weights = mouth(SENTENCE)
    opening_mm = default_lips().opening_mm(weights)
    for phone in phones:
        gap = opening_mm[inside(phone)]
        if phone.name in ("p", "b", "m"):
            assert (np.abs(gap) <= 0.6).sum() / FAST >= 0.04, phone
        elif phone.name != "pau":
            middle = gap[len(gap) // 4 : -len(gap) // 4]
            assert middle.min() > 1.0, phone


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_no_mood_parts_or_crosses_closed_lips(emotion):
    head = load_head()
    phones, audio = spoken(SENTENCE)
    for person in (head.person("default"), *head.people[::8]):
        clip = make_clip(audio, RATE_HZ, phones, person, emotion=emotion, strength=1.0, seed=3)
        opening_mm = clip.lip_opening_mm()
        for phone in phones:
            if phone.name in ("p", "b", "m"):
                assert np.abs(opening_mm[inside(phone, clip.fps)]).min() < 0.6, (person.name, phone)
        seam_mm = np.concatenate([head.seams["lips"].opening_m(part) for part in clip.chunks()]) * 1e3
        assert seam_mm.min() > -0.6, person.name


def test_vowels_differ_as_they_should():
    names = shape_names()
    phones, weights = mouth(["aa", "t", "iy", "t", "uw", "t", "ao", "t", "ae"])
    opening_mm = default_lips().opening_mm(weights)
    at = {p.name: int((p.start_s + p.end_s) / 2 * FAST) for p in phones}

    def value(shape, phone):
        return weights[at[phone], names.index(shape)]

    assert opening_mm[at["aa"]] > opening_mm[at["iy"]] + 2 > 10
    assert 0.5 * opening_mm[at["iy"]] > opening_mm[at["uw"]] > 1
    assert value("mouthPucker", "uw") > 0.4 > 0.2 > value("mouthPucker", "iy")
    assert value("mouthFunnel", "ao") > value("mouthFunnel", "aa") + 0.1
    assert value("mouthStretchLeft", "iy") > 0.01 > value("mouthStretchLeft", "uw")
    assert value("mouthDimpleLeft", "iy") > 0.01  # draws the corners up as far as the stretch draws them down


def test_f_brings_the_lower_lip_to_the_upper_teeth():
    head = load_head()
    lower, teeth = head.topology.landmarks["lip_inner_lower"], head.topology.landmarks["upper_teeth"]
    phones, audio = spoken(["aa", "f", "aa"])
    clip = make_clip(audio, RATE_HZ, phones, head.person("default"), fps=FAST)

    def drop_mm(time_s):
        frame = clip.frames(k := int(time_s * FAST), k + 1)[0]
        return 1e3 * (frame[teeth, 1].mean() - frame[lower, 1].mean())

    centres = [(p.start_s + p.end_s) / 2 for p in phones[1:4]]
    assert drop_mm(centres[1]) < min(drop_mm(centres[0]), drop_mm(centres[2])) - 5


@pytest.mark.parametrize("around", ["aa", "iy", "uw"])
def test_the_lower_lip_touches_the_upper_teeth_on_every_face(around):
    phones, audio = spoken([around, "f", around, "v", around])
    for person in (load_head().person("default"), *load_head().people[::6]):
        clip = make_clip(audio, RATE_HZ, phones, person, fps=Fraction(120), strength=0.0)
        apart_mm = tracks.lip_to_teeth_mm(clip)
        for phone in phones:
            if phone.name in ("f", "v"):
                least_mm = apart_mm[inside(phone, clip.fps)].min()
                assert least_mm < (3.0 if around == "uw" else 2.2), person.name


def test_the_tongue_comes_between_the_teeth_at_th_and_is_raised_at_l():
    head = load_head()
    tongue = head.topology.parts == head.topology.part_names.index("tongue")
    marks = head.topology.landmarks
    phones, audio = spoken(["iy", "th", "ae", "l", "aa", "k", "aa"])
    clip = make_clip(audio, RATE_HZ, phones, head.person("default"), fps=Fraction(120), strength=0.0)

    def tip(phone):
        k = int((phone.start_s + phone.end_s) / 2 * 120)
        face = clip.frames(k, k + 1)[0] * 1e3
        place = face[tongue][face[tongue][:, 2].argmax()]
        return place, face[marks["upper_teeth"]].mean(0), face[marks["lower_teeth"]].mean(0)

    at = {phone.name: tip(phone) for phone in phones}
    place, upper, lower = at["th"]
    assert upper[1] > place[1] > lower[1]  # between the edges
    assert place[2] > upper[2] - 0.5  # and as far forward as they are
    assert at["th"][0][2] > at["l"][0][2] + 3 > at["k"][0][2] + 5


def test_effort_that_is_heard_opens_the_mouth_further():
    phones, _ = spoken(SENTENCE)
    voice = np.zeros(int(phones[-1].end_s * RATE_HZ))
    times_s = np.arange(len(voice)) / RATE_HZ
    for harmonic in range(1, 40):
        voice += np.sin(2 * np.pi * 120 * harmonic * times_s) / harmonic
    voice[(times_s < phones[1].start_s) | (times_s > phones[-1].start_s)] = 0
    voice = (0.1 * voice).astype(np.float32)
    opening = []
    for emphasis_db in (-8.0, 0.0, 8.0):
        sound = effort.with_effort(voice, RATE_HZ, emphasis_db)
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(np.sqrt(np.mean(voice**2)), rel=0.02)
        weights = articulate(phones, sound, RATE_HZ, Fraction(60), _rng())
        opening.append(default_lips().opening_mm(weights))
        for phone in phones:
            if phone.name in ("p", "b", "m"):
                assert np.abs(opening[-1][inside(phone, Fraction(60))]).min() < 0.6
    soft, usual, loud = (np.percentile(one, 95) for one in opening)
    assert soft < 0.95 * usual < usual < 0.95 * loud


def test_diphthongs_move():
    phones, weights = mouth(["t", "ay", "t"], vowel_s=0.3, other_s=0.1)
    opening_mm = default_lips().opening_mm(weights)[inside(phones[2])]
    first, second = opening_mm[: len(opening_mm) // 2].max(), opening_mm[-6:].max()
    assert first > second + 2


def test_pauses_close_and_short_ones_do_not():
    phones, audio = spoken(["aa", "t", "aa"])
    still = default_lips().opening_mm(articulate(phones, audio, RATE_HZ, FAST, np.random.default_rng(0)))
    assert np.ptp(still[: int(0.2 * FAST)]) < 0.01  # long before speech: neutral and still
    assert np.ptp(still[-int(0.1 * FAST) :]) < 0.01
    for pause_s, closed in ((0.4, True), (0.08, False)):
        gap = [Phone("aa", 0.0, 0.3), Phone("pau", 0.3, 0.3 + pause_s), Phone("aa", 0.3 + pause_s, 1.0)]
        noise = np.random.default_rng(1).normal(0, 0.1, RATE_HZ).astype(np.float32)
        opening_mm = default_lips().opening_mm(articulate(gap, noise, RATE_HZ, FAST, np.random.default_rng(0)))
        assert (opening_mm[inside(gap[1])].min() < 0.6) == closed


def test_equal_times_give_equal_weights_at_any_rate():
    phones, audio = spoken(SENTENCE)
    for slow, fast in ((30, 60), (25, 50), (Fraction(30000, 1001), Fraction(60000, 1001))):
        curves = [articulate(phones, audio, RATE_HZ, Fraction(fps), np.random.default_rng(5)) for fps in (slow, fast)]
        np.testing.assert_array_equal(curves[0][: len(curves[1][::2])], curves[1][::2])


def test_only_the_style_seed_and_relative_loudness_matter():
    phones, audio = spoken(SENTENCE)

    def say(seed, gain=1.0):
        return articulate(phones, gain * audio, RATE_HZ, Fraction(30), np.random.default_rng(seed))

    np.testing.assert_array_equal(say(1), say(1))
    assert 0.001 < np.abs(say(1) - say(2)).max() < 0.15  # another style is a small change
    np.testing.assert_allclose(say(1, 0.01), say(1), atol=1e-4)
    quiet_end = audio.copy()
    quiet_end[len(audio) // 2 :] *= 0.1
    softer = articulate(phones, quiet_end, RATE_HZ, Fraction(30), np.random.default_rng(1))
    half = slice(3 * len(softer) // 5, None)
    jaw = shape_names().index("jawOpen")
    assert softer[half, jaw].sum() < 0.9 * say(1)[half, jaw].sum()


def test_silent_audio_is_no_problem():
    weights = articulate((Phone("pau", 0, 0.2),), np.zeros(3200, np.float32), RATE_HZ, Fraction(30), _rng())
    assert weights.shape == (6, len(shape_names()))
    assert np.abs(weights).max() == 0
    assert len(articulate((), np.zeros(1, np.float32), RATE_HZ, Fraction(30), _rng())) == 1


def _rng():
    return np.random.default_rng(0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(PHONES)), st.floats(0.02, 0.4)), max_size=12))
def test_any_phone_sequence_gives_sane_smooth_weights(drawn):
    now_s, phones = 0.0, []
    for name, length_s in drawn:
        phones.append(Phone(name, now_s, now_s + length_s))
        now_s += length_s
    audio = np.random.default_rng(0).normal(0, 0.1, max(1, int(now_s * RATE_HZ))).astype(np.float32)
    weights = articulate(phones, audio, RATE_HZ, FAST, _rng())
    assert np.isfinite(weights).all()
    assert weights.min() >= 0
    assert weights.max() <= 1
    # 3 ms: nothing pops; people's lips part by a centimetre in 40 ms, and one shape alone moves them little
    assert np.abs(np.diff(weights, axis=0)).max(initial=0) < 0.2
    assert np.abs(np.diff(default_lips().opening_mm(weights))).max(initial=0) < 1.8


@pytest.mark.parametrize(
    ("phones", "audio"),
    [
        ([Phone("xx", 0, 1)], np.zeros(16000)),
        ([Phone("AA", 0, 1)], np.zeros(16000)),
        ([Phone("aa", 0.5, 1), Phone("t", 0.2, 0.6)], np.zeros(16000)),
        ([Phone("aa", 0.5, 0.3)], np.zeros(16000)),
        ([Phone("aa", 0, 1)], np.zeros(0)),
        ([Phone("aa", 0, 1)], np.zeros((16000, 2))),
    ],
)
def test_nonsense_is_one_sentence(phones, audio):
    with pytest.raises(InputError):
        articulate(phones, audio, RATE_HZ, Fraction(30), _rng())


def test_the_names_are_those_of_the_aligner():
    align = pytest.importorskip("meshtalk.synth.align")
    pytest.importorskip("pocketsphinx")
    heard = {p for variants in align.dictionary().values() for variant in variants for p in variant}
    assert heard <= PHONES


def test_composition_keeps_ranges_and_lets_rounding_win():
    names = shape_names()
    _, weights = mouth(["uw"] * 6, fps=Fraction(30))
    smile = upper_face(len(weights), Fraction(30), "happy", _rng(), strength=1.0)
    both = compose(weights, smile)
    assert both.min() >= 0
    assert both.max() <= 1
    rounded = weights[:, names.index("mouthPucker")] > 0.45
    left = names.index("mouthSmileLeft")
    assert rounded.any()
    assert (both[rounded, left] < 0.6 * smile[rounded, left].max()).all()
