"""What is said of things: true of the one that is meant, of no other, and false where it is absent."""

import dataclasses
import itertools
import re
from functools import lru_cache

import numpy as np
import pytest

from data_prep.world import relations
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import (
    KINDS,
    absent,
    corpus,
    expression_texts,
    expressions_for,
    refer,
)
from data_prep.world.phrases import MOTIONS, RELATIONS, SIZES, Expression, plainly
from data_prep.world.presets import PRESETS
from data_prep.world.scene import FAST_SPIN, Scene, make_scene
from data_prep.world.vocabulary import AMORPHOUS, COLOUR_WORDS, PATTERNS, SHAPES, SPINNABLE

TRAIN = PRESETS["train"]
Said = tuple[Scene, int, Expression]


def scenes(count: int, name: str = "train") -> list[Scene]:
    preset = PRESETS[name]
    return [make_scene(preset.first_seed + offset, preset) for offset in range(count)]


@lru_cache(maxsize=1)
def said() -> list[Said]:
    """Expressions for all things of many scenes."""
    rng = np.random.default_rng(0)
    pairs = [(scene, index) for scene in scenes(330) for index in range(len(scene.things))]
    return [(scene, index, refer(rng, scene, index)) for scene, index in pairs]


def of_kind(kind: str, count: int) -> list[Said]:
    found = [one for one in said() if one[2].kind == kind]
    assert len(found) >= count
    return found[:count]


def words_in(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def meant(text: str, table: dict[str, tuple[str, ...]]) -> set[str]:
    """What of a table a text names, by the longest words first."""
    found = set()
    pairs = [(word, key) for key, words in table.items() for word in words]
    for word, key in sorted(pairs, key=lambda pair: -len(pair[0])):
        if re.search(rf"\b{word}\b", text):
            found.add(key)
            text = re.sub(rf"\b{word}\b", " ", text)
    return found


# ---- what decides --------------------------------------------------------------------------------


def test_no_word_means_two_things() -> None:
    tables = (COLOUR_WORDS, SHAPES, PATTERNS, SIZES, RELATIONS, MOTIONS)
    words = [word for table in tables for options in table.values() for word in options]
    assert len(set(words)) == len(words)


def test_an_expression_says_what_it_claims_to_say() -> None:
    for scene, index, expression in said():
        thing = scene.things[index]
        text = expression.text.removesuffix(_other(expression))
        assert meant(text, COLOUR_WORDS) == ({expression.colour} if expression.colour else set())
        assert meant(text, SHAPES) == ({expression.shape} if expression.shape else set())
        assert expression.colour in (thing.colour, None) and expression.shape in (thing.shape, None)


def _other(expression: Expression) -> str:
    """The words of a relation and the thing that it is to, with which such a text ends; else nothing."""
    if expression.kind != "relation":
        return ""
    options = [word for words in RELATIONS.values() for word in words]
    return max((expression.text[expression.text.find(f" {word} the ") :] for word in options), key=len)


def test_what_an_expression_says_fits_one_thing_of_the_scene() -> None:
    for scene, _, expression in said():
        fitting = [
            thing
            for thing in scene.things
            if expression.colour in (None, thing.colour) and expression.shape in (None, thing.shape)
        ]
        assert len(fitting) == 1, f"{expression} of seed {scene.seed}"
        assert expression.kind == "colloquial" or (expression.colour and expression.shape)


def test_the_kinds_come_as_often_as_they_can() -> None:
    shares = {kind: np.mean([expression.kind == kind for _, _, expression in said()]) for kind in KINDS}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["attribute"] > 0.35 and min(shares.values()) > 0.02
    assert any(expression.colour is None for *_, expression in said())
    assert any(expression.shape is None for *_, expression in said())


def test_patterns_and_synonyms_are_what_they_are_called() -> None:
    patterned = 0
    for scene, index, expression in said():
        pattern = meant(expression.text, PATTERNS)
        assert pattern <= {scene.things[index].pattern}
        patterned += bool(pattern)
        if expression.kind == "synonym":
            assert expression.colour and expression.shape
            usual = COLOUR_WORDS[expression.colour][0], SHAPES[expression.shape][0]
            bare = expression.text.replace("cloud of smoke", "cloud").replace("flock of birds", "birds")
            assert not set(usual) <= set(words_in(bare)), "one word at least is not the commonest"
    assert patterned > 100


# ---- sizes, relations and motions are seen in the masks ------------------------------------------


@lru_cache(maxsize=64)
def middles(scene: Scene) -> np.ndarray:
    """Middles of all masks in 12 frames, (frames, things, 2), NaN where a thing is hardly seen."""
    rows = []
    for t in np.linspace(0, scene.frames - 1, 12).astype(int):
        masks = draw_frame(scene, int(t))[1]
        rows.append([_middle(mask, thing.radius) for mask, thing in zip(masks, scene.things, strict=True)])
    return np.array(rows)


def _middle(mask: np.ndarray, radius: float) -> tuple[float, float]:
    ys, xs = np.nonzero(mask)
    return (float(xs.mean()), float(ys.mean())) if len(xs) > 0.6 * radius**2 else (np.nan, np.nan)


def test_relations_hold_where_both_things_are_seen() -> None:
    held: list[bool] = []
    for scene, index, expression in of_kind("relation", 18):
        (relation,) = meant(expression.text, RELATIONS)
        named = _other(expression)
        (other,) = (
            number
            for number, thing in enumerate(scene.things)
            if named.endswith(plainly(thing.colour, thing.shape).removeprefix("the "))
        )
        assert other != index
        x, y = (middles(scene)[:, index] - middles(scene)[:, other]).T
        near = np.hypot(x, y) < 2.3 * (scene.things[index].radius + scene.things[other].radius)
        holds = {"left": x < 0, "right": x > 0, "above": y < 0, "below": y > 0, "near": near}[relation]
        seen = ~np.isnan(x)
        if seen.sum() >= 3:
            held.append(float(holds[seen].mean()) >= 0.75)
    assert len(held) > 12 and np.mean(held) > 0.95


def test_things_go_where_they_are_said_to_go() -> None:
    checked = 0
    for scene, index, expression in of_kind("motion", 28):
        (motion,) = meant(expression.text, MOTIONS)
        thing = scene.things[index]
        if motion == "spins":
            assert abs(thing.spin) >= FAST_SPIN and thing.shape in SPINNABLE
        elif motion == "drifts":
            assert thing.shape in AMORPHOUS
        else:
            track = middles(scene)[:, index]
            track = track[~np.isnan(track[:, 0])]
            if len(track) < 6:  # much of it is behind something
                continue
            dx, dy = track[-2:].mean(axis=0) - track[:2].mean(axis=0)
            way = {"left": -dx, "right": dx, "up": -dy, "down": dy}[motion]
            assert way > 0.15 * TRAIN.size[1], f"{expression.text} of seed {scene.seed}"
            checked += 1
    assert checked > 5


def test_big_and_small_things_are_so_among_the_others() -> None:
    for scene, index, expression in of_kind("size", 40):
        (size,) = meant(expression.text, SIZES)
        radii = sorted(thing.radius for thing in scene.things)
        own, third = scene.things[index].radius, -(-len(radii) // 3)
        assert own in (radii[-third:] if size == "big" else radii[:third])
        factor = own / np.mean([radius for radius in radii if radius != own])
        assert factor > 1.2 if size == "big" else factor < 1 / 1.2


def test_a_mirrored_scene_has_mirrored_truths() -> None:
    """So that no name of a direction can be swapped with its opposite."""
    opposite = {"left": "right", "right": "left", "above": "above", "below": "below", "near": "near"}
    for scene in scenes(12):
        still = make_scene(PRESETS["plain"].first_seed, PRESETS["plain"]).camera
        scene = dataclasses.replace(scene, camera=still)
        width = scene.preset.size[0]
        things = []
        for thing in scene.things:
            path, (x, y) = thing.path, thing.path.swing
            path = dataclasses.replace(
                path,
                start=(width - path.start[0], path.start[1]),
                stop=(width - path.stop[0], path.stop[1]),
                swing=(dataclasses.replace(x, reach=-x.reach), y),
            )
            things.append(dataclasses.replace(thing, path=path, absences=()))
        plain = tuple(dataclasses.replace(thing, absences=()) for thing in scene.things)
        scene = dataclasses.replace(scene, things=plain)
        mirrored = dataclasses.replace(scene, things=tuple(things))
        for index in range(len(things)):
            there = relations.relations_of(scene, index)
            assert set(relations.relations_of(mirrored, index)) == {(n, opposite[name]) for n, name in there}


# ---- what is absent ------------------------------------------------------------------------------


def test_absent_words_name_nothing_of_the_scene_but_often_half_of_it() -> None:
    rng = np.random.default_rng(1)
    shared, kinds = [], set()
    for scene in scenes(500):
        expression = absent(rng, scene.things)
        looks = [(thing.colour, thing.shape) for thing in scene.things]
        assert not any(
            expression.colour in (None, colour) and expression.shape in (None, shape)
            for colour, shape in looks
        ), f"{expression} of seed {scene.seed}"
        colours, shapes = zip(*looks, strict=True)
        shared.append(expression.colour in colours or expression.shape in shapes)
        kinds.add(expression.kind)
    assert 0.65 < np.mean(shared) < 0.95
    assert kinds == set(KINDS), "what is absent is spoken of in all the ways that present things are"


def test_the_kind_of_words_hardly_tells_whether_something_is_there() -> None:
    rng = np.random.default_rng(2)
    missing = [absent(rng, scene.things).kind for scene in scenes(400) for _ in range(3)]
    for kind in KINDS:
        there = np.mean([expression.kind == kind for *_, expression in said()])
        assert np.mean([other == kind for other in missing]) == pytest.approx(there, abs=0.06)


# ---- expressions of a target and the corpus -----------------------------------------------------


def test_expressions_differ_in_text_and_kind_and_mean_the_target() -> None:
    for scene in scenes(60, "val"):
        expressions = expressions_for(scene, 4)
        target = scene.things[scene.target]
        assert (
            len({expression.text for expression in expressions}) == 4 and expressions[0].kind == "attribute"
        )
        assert len({expression.kind for expression in expressions}) >= 2
        for expression in expressions:
            assert expression.colour in (None, target.colour) and expression.shape in (None, target.shape)
        assert expression_texts(scene, 4) == tuple(expression.text for expression in expressions)
        assert [expression_texts(scene, count) for count in (1, 2, 3)] == [
            expression_texts(scene, 4)[:count] for count in (1, 2, 3)
        ]
    firsts = [expression_texts(scene, 1)[0] for scene in scenes(60, "val")]
    plain = [
        plainly(scene.things[scene.target].colour, scene.things[scene.target].shape)
        for scene in scenes(60, "val")
    ]
    assert 5 < sum(one == other for one, other in zip(firsts, plain, strict=True)) < 55


def test_the_corpus_holds_every_word_and_the_vocabulary_is_small() -> None:
    known = {word for text in corpus() for word in words_in(text)}
    rng = np.random.default_rng(3)
    texts = [expression.text for *_, expression in said()]
    texts += [absent(rng, scene.things).text for scene in scenes(200)]
    assert {word for text in texts for word in words_in(text)} <= known
    assert len(known) < 150
    for colour, shape in itertools.product(COLOUR_WORDS, SHAPES):
        assert plainly(colour, shape) in corpus()
