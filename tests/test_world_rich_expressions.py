"""More words: each expression is read again here, and fits the thing that is meant and nothing else."""

import hashlib
import re
from functools import lru_cache

import numpy as np
import pytest
from transformers import AutoTokenizer

from data_prep.contract.contract import BUILT_IN
from data_prep.world.expressions import WORDS, absent, absent_as, expressions_for, refer
from data_prep.world.phrases import RELATIONS, Expression
from data_prep.world.presets import PRESETS
from data_prep.world.rich_expressions import FRAME_KINDS, RICH_KINDS
from data_prep.world.scene import Scene, make_scene
from data_prep.world.vocabulary import COLOUR_WORDS, SHAPES
from models.config import SHIPPED
from train.scratch.annotated_frames import AnnotatedFrame
from train.scratch.frame_pool import PoolSpec, open_pool
from train.scratch.questions import QuestionMix, sample_questions

COLOURS = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
NOUNS = {word: shape for shape, words in SHAPES.items() for word in words}
NOUNS |= {word + ("es" if word[-1] in "sxh" else "s"): shape for word, shape in NOUNS.items()}
NOUNS |= {"clouds of smoke": "smoke", "flocks of birds": "flock"}
NOUN = "|".join(sorted([*NOUNS, "things?", "ones?"], key=len, reverse=True))
NAME = rf"((?:{'|'.join(COLOURS)}) )?({NOUN})"
SIDES = {
    "leftmost": (0, -1),
    "rightmost": (0, 1),
    "topmost": (1, -1),
    "highest": (1, -1),
    "lowest": (1, 1),
    "biggest": (2, 1),
    "largest": (2, 1),
    "smallest": (2, -1),
    "left": (0, -1),
    "right": (0, 1),
    "top": (1, -1),
    "bottom": (1, 1),
}
FROM = "|".join(SIDES)
PATTERNS = {"striped": "striped", "stripes": "striped", "dotted": "dotted", "dots": "dotted"}
BESIDE = {word: name for name, words in RELATIONS.items() for word in words}
Look = tuple[str | None, str | None]


def scenes(count: int, name: str = "words") -> list[Scene]:
    preset = PRESETS[name]
    return [make_scene(preset.first_seed + offset, preset) for offset in range(count)]


@lru_cache(maxsize=1)
def said() -> list[tuple[Scene, int, Expression]]:
    rng = np.random.default_rng(0)
    pairs = [(scene, index) for scene in scenes(220) for index in range(len(scene.things)) for _ in range(2)]
    return [(scene, index, refer(rng, scene, index)) for scene, index in pairs]


# ---- an independent reading ----------------------------------------------------------------------


def look_of(colour: str | None, noun: str) -> Look:
    return COLOURS[colour.strip()] if colour else None, NOUNS.get(noun)


def alike(scene: Scene, look: Look) -> list[int]:
    return [
        number
        for number, thing in enumerate(scene.things)
        if look[0] in (None, thing.colour) and look[1] in (None, thing.shape)
    ]


@lru_cache(maxsize=8)
def tracks(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Places and radii in 13 frames (frames, things, 3), and whether each thing is in the image."""
    times = np.linspace(0, scene.frames - 1, 13).astype(int)
    numbers = range(len(scene.things))
    places = np.array([[scene.place(number, int(t)) for number in numbers] for t in times])
    away = [[any(a.start < t < a.stop for a in thing.absences) for thing in scene.things] for t in times]
    inside = ((places[..., :2] > 0) & (places[..., :2] < scene.preset.size)).all(-1)
    return places, inside & ~np.array(away)


def mostly(holds: np.ndarray, where: np.ndarray) -> bool:
    return bool(where.sum() >= 3 and holds[where].mean() >= 0.7)


def ranked(scene: Scene, members: list[int], side: str, number: int) -> list[int]:
    places, shown = tracks(scene)
    axis, sign = SIDES[side]
    values = np.where(shown, -sign * places[..., axis], np.inf)[:, members]
    order = values.argsort(axis=1).argsort(axis=1)
    enough = shown[:, members].sum(axis=1) >= number
    found = enumerate(members)
    return [m for column, m in found if mostly((order[:, column] == number - 1) & enough, shown[:, m])]


def beside(scene: Scene, number: int, relation: str, other: int) -> bool:
    places, shown = tracks(scene)
    x, y, _ = (places[:, number] - places[:, other]).T
    near = np.hypot(x, y) < 1.9 * (places[:, number, 2] + places[:, other, 2])
    holds = {
        "left": (x < 0) & (-x > 0.5 * abs(y)),
        "right": (x > 0) & (x > 0.5 * abs(y)),
        "near": near,
        "above": (y < 0) & (-y > 0.5 * abs(x)),
        "below": (y > 0) & (y > 0.5 * abs(x)),
    }[relation]
    return number != other and mostly(holds, shown[:, number] & shown[:, other])


def amid(scene: Scene, number: int, one: int, other: int) -> bool:
    places, shown = tracks(scene)
    start, way = places[:, one, :2], places[:, other, :2] - places[:, one, :2]
    along = ((places[:, number, :2] - start) * way).sum(1) / (way**2).sum(1)
    off = np.linalg.norm(places[:, number, :2] - start - along[:, None] * way, axis=1)
    holds = (along > 0.1) & (along < 0.9) & (off < 0.35 * np.linalg.norm(way, axis=1))
    return len({number, one, other}) == 3 and mostly(holds, shown[:, [number, one, other]].all(1))


def by_place(scene: Scene, text: str) -> list[int] | None:
    """The things of a scene that a text about a place fits; None: it is about none."""

    def read(pattern: str) -> re.Match[str] | None:
        return re.fullmatch(pattern, text)

    if m := read(rf"the (second|third) {NAME} from the ({FROM})"):
        number = {"second": 2, "third": 3}[m[1]]
        return ranked(scene, alike(scene, look_of(m[2], m[3])), m[4], number)
    if m := read(rf"the ({FROM})(?: of the)? {NAME}"):
        return ranked(scene, alike(scene, look_of(m[2], m[3])), m[1], 1)
    if m := read(rf"the {NAME} that is ({FROM})"):
        return ranked(scene, alike(scene, look_of(m[1], m[2])), m[3], 1)
    if m := read(rf"the {NAME}(?: that is)? between the {NAME} and the {NAME}"):
        ends = [alike(scene, look_of(m[at], m[at + 1])) for at in (3, 5)]
        if not all(ends):
            return []
        rivals = alike(scene, look_of(m[1], m[2]))
        return [each for each in rivals if amid(scene, each, ends[0][0], ends[1][0])]
    if m := read(rf"the {NAME}(?: that is)? ({'|'.join(BESIDE)}) the {NAME}"):
        rivals = alike(scene, look_of(m[1], m[2]))
        others = alike(scene, look_of(m[4], m[5]))
        return [each for each in rivals for other in others if beside(scene, each, BESIDE[m[3]], other)]
    return None


def by_look(scene: Scene, text: str) -> list[int] | None:
    """The things of a scene that a text about looks fits; None: it is not."""
    things = scene.things

    def read(pattern: str) -> re.Match[str] | None:
        return re.fullmatch(pattern, text)

    if m := read(rf"the (\w+) one of the (two|three) ({NOUN})"):
        same = alike(scene, (None, NOUNS[m[3]]))
        same = same if len(same) == {"two": 2, "three": 3}[m[2]] else []
        return [each for each in same if things[each].colour == COLOURS[m[1]]]
    if m := read(rf"the {NAME}(?: (?:that|which) is not|, not the) (?:an? )?(?:{NAME}|(\w+))(?: one)?"):
        denied = look_of(m[3], m[4]) if m[4] else (COLOURS[m[5]], None)
        return [each for each in alike(scene, look_of(m[1], m[2])) if each not in alike(scene, denied)]
    if m := read(rf"the {NAME} (?:that is|with) ({'|'.join(PATTERNS)})"):
        same = alike(scene, look_of(m[1], m[2]))
        return [each for each in same if things[each].pattern == PATTERNS[m[3]]]
    if m := read(rf"the (striped|dotted) {NAME}"):
        return [each for each in alike(scene, look_of(m[2], m[3])) if things[each].pattern == m[1]]
    if m := read(r"the (?:one|thing) that is (\w+)") or read(rf"the (?:one|thing) that is (?:an? )?({NOUN})"):
        word = m[1]
        return alike(scene, (COLOURS[word], None) if word in COLOURS else (None, NOUNS[word]))
    if m := read(rf"the {NAME} that (?:moves|goes|spins|drifts).*"):
        return alike(scene, look_of(m[1], m[2]))
    return None


def fitting(scene: Scene, text: str) -> list[int]:
    """The things of a scene that a text fits."""
    for read in (by_place, by_look):
        found = read(scene, text)
        if found is not None:
            return found
    raise AssertionError(f"not read: {text}")


# ---- expressions ---------------------------------------------------------------------------------


def test_an_expression_fits_the_thing_that_is_meant_and_no_other() -> None:
    seen = dict.fromkeys(RICH_KINDS, 0)
    for scene, index, expression in said():
        thing = scene.things[index]
        assert expression.colour in (None, thing.colour) and expression.shape in (None, thing.shape)
        if expression.kind in RICH_KINDS:
            found = fitting(scene, expression.text)
            assert found == [index], f"{expression} of seed {scene.seed} fits {found}, not {index}"
            seen[expression.kind] += 1
    assert min(seen.values()) >= 2 and sum(seen.values()) > 700, seen


def test_an_expression_of_an_absent_target_fits_nothing() -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(120):
        for kind in RICH_KINDS:
            expression = absent(rng, scene.things, kind=kind, words="rich")
            assert expression.kind == kind
            if kind != "count":
                found = fitting(scene, expression.text)
                assert not found, f"{expression} of seed {scene.seed} fits {found}"
            else:
                assert not alike(scene, (expression.colour, expression.shape))


def test_what_is_named_is_what_the_words_say_and_nothing_that_is_denied() -> None:
    for *_, expression in said():
        if expression.kind in ("superlative", "ordinal", "one_that", "patterned", "count"):
            words = expression.text
            named = {colour for word, colour in COLOURS.items() if re.search(rf"\b{word}\b", words)}
            assert named == ({expression.colour} if expression.colour else set()), expression
        if expression.kind == "negation":
            kept, denied = re.split(r" (?:that|which) is not |, not the ", expression.text)
            assert bool(expression.colour) == any(word in COLOURS for word in kept.split())
            assert not expression.colour or COLOURS[kept.split()[1]] == expression.colour
            assert all(COLOURS.get(word, "") != expression.colour for word in denied.split())
            assert bool(expression.shape) != bool(expression.colour)


def test_kinds_that_leave_out_one_word_are_not_said_of_things_that_share_it() -> None:
    """What has a colour and a shape that are both there can be the leftmost of neither."""
    rng = np.random.default_rng(2)
    impossible = 0
    for scene in scenes(20):
        one, other = scene.things[0], scene.things[1]
        if not alike(scene, (one.colour, other.shape)):
            assert absent_as(rng, scene.things, (one.colour, other.shape), "superlative", "rich") is None
            assert absent_as(rng, scene.things, (one.colour, other.shape), "attribute") is not None
            impossible += 1
    assert impossible > 5


def test_absent_targets_are_spoken_of_as_present_ones_are() -> None:
    rng = np.random.default_rng(3)
    there = [expression for *_, expression in said()]
    missing = [absent(rng, scene.things, kind=k, words="rich") for scene in scenes(100) for k in RICH_KINDS]
    words = {"superlative": "most", "ordinal": "third", "landmark": "n(ear|ext)", "count": "three"}
    words |= {"patterned": "str", "one_that": "that (moves|goes|spins|drifts)", "negation": ", not"}
    for kind, word in words.items():
        shares = [
            np.mean([bool(re.search(word, each.text)) for each in texts if each.kind == kind])
            for texts in (there, missing)
        ]
        assert shares[0] == pytest.approx(shares[1], abs=0.2), kind


def test_presets_with_basic_words_keep_their_expressions() -> None:
    digest = hashlib.sha256()
    for name in ("train", "val", "test", "demo", "hard"):
        for scene in scenes(20, name):
            rng = np.random.default_rng(scene.seed)
            texts = [expressions_for(scene, 4), refer(rng, scene, 0), absent(rng, scene.things)]
            digest.update(repr(texts).encode())
    assert digest.hexdigest()[:16] == "789f1eac7c5e6ab9"
    assert {name for name, preset in PRESETS.items() if preset.words == "rich"} == {"words", "words_val"}


def test_a_target_has_expressions_of_many_kinds() -> None:
    kinds: set[str] = set()
    for scene in scenes(60, "words_val"):
        expressions = expressions_for(scene, 4)
        kinds |= {expression.kind for expression in expressions}
        assert expressions[0].kind == "attribute" and len({each.text for each in expressions}) == 4
        assert expressions_for(scene, 2) == expressions[:2]
    # Others share the target's colour and its shape, so neither decides alone.
    assert kinds >= set(WORDS["rich"]) - {"between", "one_that"} and "one_that" not in kinds


def test_the_shipped_tokenizer_knows_all_words() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "nano_grounder")
    texts = [expression.text for *_, expression in said()]
    for text in texts:
        ids = tokenizer(f"find {text}", add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == f"find {text}" and len(ids) <= 40, text


# ---- in frames -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["frames", "crops"])
def shots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[AnnotatedFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.scratch.frame_pool.CHUNK", 60)
        spec = PoolSpec("words", BUILT_IN["short"], (280, 196), request.param)
        return list(open_pool(tmp_path_factory.mktemp("pool"), spec, 0, 60))


def shown(frame: AnnotatedFrame, phrase: Expression) -> int:
    """How many shown things have the named colour or shape."""
    return sum(
        thing.box_resized is not None
        and phrase.colour in (None, thing.colour)
        and phrase.shape in (None, thing.shape)
        for thing in frame.things
    )


def test_questions_of_absent_targets_fit_no_thing_of_the_frame(shots: list[AnnotatedFrame]) -> None:
    samples = sample_questions(np.random.default_rng(4), shots, 20, QuestionMix(absent=1.0))
    judged = [sample for sample in samples if sample.phrase.kind in FRAME_KINDS]
    for sample in judged:
        number = 2 if "second" in sample.phrase.text else 3 if "third" in sample.phrase.text else 1
        assert shown(sample.frame, sample.phrase) < number, sample.phrase
    assert len(judged) > 50


def test_what_is_said_of_a_thing_holds_in_its_frame(shots: list[AnnotatedFrame]) -> None:
    checked = 0
    for frame in shots:
        for thing in frame.things:
            for phrase in thing.phrases:
                if phrase.kind == "superlative" and "most" in phrase.text and thing.box_resized:
                    axis, sign = next(way for word, way in SIDES.items() if word in phrase.text)
                    rivals = [
                        other.box_resized
                        for other in frame.things
                        if phrase.colour in (None, other.colour) and phrase.shape in (None, other.shape)
                    ]
                    middles = [sign * (box[axis] + box[axis + 2]) for box in rivals if box]
                    own = sign * (thing.box_resized[axis] + thing.box_resized[axis + 2])
                    assert own == max(middles), phrase
                    checked += 1
                if phrase.kind == "ordinal" and thing.clear:
                    assert shown(frame, phrase) >= (2 if "second" in phrase.text else 3)
    assert checked > 20


def test_the_kind_of_words_does_not_tell_what_is_absent(shots: list[AnnotatedFrame]) -> None:
    for template in (0.0, 1.0):
        shares = []
        for missing in (0.0, 1.0):
            mix = QuestionMix(absent=missing, template=template)
            asked = sample_questions(np.random.default_rng(5), shots, 40, mix)
            kinds = [s.phrase.kind for s in asked if (s.thing is None) == bool(missing)]
            shares.append({kind: kinds.count(kind) / len(kinds) for kind in WORDS["rich"]})
        for kind, share in shares[0].items():
            assert share == pytest.approx(shares[1][kind], abs=0.06), kind
