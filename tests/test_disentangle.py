"""Who decides which part of the face: swap tables and mixing, on a rig whose right answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_rig import TOPOLOGY, LittleCorpus, LoudnessAnimator, make_clip

from meshtalk import evaluation as ev
from meshtalk.errors import InputError
from meshtalk.evaluation import baselines
from meshtalk.evaluation.disentangle import Region, Swapping, swap_pairs, swap_tables
from meshtalk.measures import metrics


@pytest.fixture(scope="module")
def corpus():
    return LittleCorpus()


def swapped(systems, corpus, infos):
    swapping = Swapping(systems, corpus, infos)
    return swap_tables([swapping.changes(pair) for pair in swapping.pairs])


def test_an_entangled_model_shows_in_the_table(corpus):
    class Deaf(LoudnessAnimator):
        def swap(self, audio_clip, expression_clip):
            return replace(expression_clip, template=audio_clip.template)

    tables, truth = swapped({"deaf": Deaf()}, corpus, baselines.split_of(corpus, "test"))
    assert tables["deaf"].table == pytest.approx(np.array([[0, 0], [1, 1]]), abs=1e-6)
    assert truth is not None
    assert swapped({}, corpus, baselines.split_of(corpus, "test")) == ({}, None)
    assert swapped({"deaf": Deaf()}, corpus, corpus.clips[:1]) == ({}, None)


def test_the_truth_swaps_what_its_clips_were_composed_from(corpus, monkeypatch):
    asked = []

    def mixed(_, speech, expression, face):
        asked.append((speech.id, expression.id, face.id))
        return corpus.load(speech)

    monkeypatch.setattr(baselines, "mixed", mixed)
    _, truth = swapped({"model": LoudnessAnimator()}, corpus, corpus.clips[:2])
    assert asked[:3] == [("c1", "c1", "c0"), ("c1", "c0", "c0"), ("c0", "c1", "c0")]
    assert truth.table == pytest.approx(np.array([[1, 1], [0, 0]]))  # as this corpus claims


def test_a_dense_corpus_has_no_table_of_its_own():
    class Dense(LoudnessAnimator):
        def swap(self, audio_clip, expression_clip):
            motion = np.array(expression_clip.displacement)
            where = TOPOLOGY.indices("mouth")
            motion[:, where] = audio_clip.displacement[:, where]
            return replace(audio_clip, displacement=motion)

    dense = LittleCorpus(dense=True)
    tables, truth = swapped({"perfect": Dense()}, dense, dense.clips[:4])
    assert truth is None
    assert tables["perfect"].table == pytest.approx(np.eye(2), abs=1e-6)


def test_the_short_cut_through_the_basis_is_exact():
    one, two = make_clip(1), make_clip(2)
    dense = replace(two, displacement=two.displacements(), weights=None, basis=None, basis_names=())
    other_face = replace(two, template=two.template + np.float32(1e-3))
    for name in ("mouth", "upper_face"):
        region = Region(TOPOLOGY, name)
        weights = TOPOLOGY.region(name)
        expected = metrics.region_change_mm(one.vertices, two.vertices, weights)
        assert region.change_mm(one, two) == pytest.approx(expected, rel=1e-4)
        assert region.change_mm(one, dense) == pytest.approx(expected, rel=1e-4)
        apart = metrics.region_change_mm(one.vertices, other_face.vertices, weights)
        assert region.change_mm(one, other_face) == pytest.approx(apart, rel=1e-4)
        assert apart > expected * 1.001
        assert region.change_mm(one, one) == 0


def test_mixing_keeps_the_mouth_and_takes_the_upper_face():
    class Smeared(LoudnessAnimator):
        def swap(self, audio_clip, expression_clip):
            mix = super().swap(audio_clip, expression_clip)
            weights = np.array(mix.weights)
            return replace(mix, weights=weights + 0.7 * weights[:, [1, 0, 2]])

    speech, expressions = make_clip(1), [make_clip(7, 3.4), make_clip(8)]
    good = ev.mixing(LoudnessAnimator(), speech, expressions)
    assert good.mouth_r == pytest.approx(1)
    assert good.upper_r == pytest.approx((1, 1))
    assert good.upper_change_r == pytest.approx((1, 1))
    bad = ev.mixing(Smeared(), speech, expressions)
    assert bad.mouth_r < 0.9
    assert max(bad.upper_r) < 0.98
    assert max(bad.upper_change_r) < 0.95
    with pytest.raises(InputError, match="at least two expressions"):
        ev.mixing(LoudnessAnimator(), speech, expressions[:1])


def test_swap_partners_differ_in_sentence_and_if_possible_in_emotion(corpus):
    infos = corpus.clips
    for i, j in swap_pairs(infos):
        assert infos[i].sentence != infos[j].sentence
        assert infos[i].emotion != infos[j].emotion
    same = [replace(infos[0], id=str(k)) for k in range(3)]
    assert swap_pairs(same) == [(0, 1), (1, 2), (2, 0)]
