"""Referring expressions for things of a scene: true of the thing, and of no other thing in the scene."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from data_prep.world import relations
from data_prep.world.arrangement import Shown
from data_prep.world.phrases import (
    MOTIONS,
    RELATIONS,
    SIZES,
    Expression,
    HasLook,
    Meant,
    absent_look,
    pick,
    plainly,
    usual,
)
from data_prep.world.rich_expressions import RICH_KINDS, rich_expression
from data_prep.world.scene import Scene
from data_prep.world.vocabulary import COLOUR_WORDS, COLOURS, PATTERNS, SHAPES, Look

KINDS: dict[str, float] = {
    "attribute": 0.4,
    "synonym": 0.2,
    "colloquial": 0.13,
    "relation": 0.1,
    "size": 0.09,
    "motion": 0.08,
}
"""The kinds of basic expressions, and how often each is drawn where it is possible."""

WORDS: dict[str, dict[str, float]] = {
    "basic": KINDS,
    "rich": {**{kind: 0.4 * share for kind, share in KINDS.items()}, **RICH_KINDS},
}
"""The kinds of expressions for each value of `WorldPreset.words`, and how often each is drawn."""

TRIES = 64  # for an expression of an absent look, before it is given up

ATTRIBUTE = ("the {colour} {shape}", "{colour} {shape}", "the {shape} that is {colour}")
PATTERNED = ("the {pattern} {colour} {shape}", "{colour} {pattern} {shape}")
SIZED = ("the {size} {colour} {shape}", "the {colour} {shape}, the {size} one")
RELATED = ("the {colour} {shape} {relation} the {other}",)
MOVING = ("the {colour} {shape} {motion}", "the {colour} {shape} that is {motion}")
CALLING = (
    "see the {colour} {shape} there? follow it",
    "follow the {colour} {shape}",
    "keep an eye on the {colour} {shape}",
    "where is that {colour} {shape}",
)
BY_COLOUR = ("that {colour} thing", "the {colour} one", "follow the {colour} thing")
BY_SHAPE = ("the {shape}", "that {shape} there", "follow the {shape}")


def refer(rng: np.random.Generator, scene: Scene, index: int, frame: Shown | None = None) -> Expression:
    """Draw an expression for thing number `index` that is true and fits no other thing of the scene.

    The kinds are those of the preset's `words`. With `frame`, the kinds of `RICH_KINDS` also hold in that
    frame, if it shows the thing.
    """
    thing, kinds = scene.things[index], WORDS[scene.preset.words]
    # Not every kind is possible for every thing, so kinds are drawn until one is.
    # This ends, since an attribute is possible for every thing.
    while True:
        kind = _draw_kind(rng, kinds)
        expression = _said(rng, scene.things, (scene, index), kind, (thing.colour, thing.shape), frame)
        if expression is not None:
            return expression


def absent(
    rng: np.random.Generator,
    things: Sequence[HasLook],
    look: Look | None = None,
    kind: str | None = None,
    words: str = "basic",
) -> Expression:
    """Draw an expression for a colour and shape that none of the things has, as `refer` does for a thing.

    Without `look`, most expressions share something with the things that are there (`SHARED`), so that both
    the colour and the shape must be compared. `kind` is a kind of `words`; None: drawn by its share.
    """
    while True:
        expression = absent_as(rng, things, look or absent_look(rng, things), kind, words)
        if expression is not None:
            return expression


def absent_as(
    rng: np.random.Generator,
    things: Sequence[HasLook],
    look: Look,
    kind: str | None = None,
    words: str = "basic",
) -> Expression | None:
    """As `absent`, for a look; None where no expression of this kind is false of all things.

    Kinds of `RICH_KINDS` may leave out the colour or the shape, and so may fit a thing that shares the other.
    """
    for _ in range(TRIES):
        expression = _said(rng, things, None, kind or _draw_kind(rng, WORDS[words]), look)
        if expression is not None:
            return expression
    return None


def expression_texts(scene: Scene, count: int) -> tuple[str, ...]:
    """`count` different expressions for the scene's target; see `expressions_for`."""
    return tuple(expression.text for expression in expressions_for(scene, count))


def expressions_for(scene: Scene, count: int) -> tuple[Expression, ...]:
    """`count` different expressions for the scene's target: an attribute first, then one of each other kind.

    They depend on the scene alone, and do not change with `count`: the first two of four are the two of two.
    """
    # A generator of its own: the expressions do not depend on what was rendered before.
    rng = np.random.default_rng((scene.seed, 4))
    thing = scene.things[scene.target]
    # 1. One expression of each kind that is possible, an attribute first.
    kinds = WORDS[scene.preset.words]
    others = [str(kind) for kind in rng.permutation([kind for kind in kinds if kind != "attribute"])]
    expressions: dict[str, Expression] = {}
    for kind in ("attribute", *others):
        expression = _said(rng, scene.things, (scene, scene.target), kind, (thing.colour, thing.shape))
        if expression is not None:
            expressions.setdefault(expression.text, expression)
    # 2. If these are not enough, any others, as long as their texts differ.
    while len(expressions) < count:
        expression = refer(rng, scene, scene.target)
        expressions.setdefault(expression.text, expression)
    return tuple(expressions.values())[:count]


def corpus() -> list[str]:
    """Expressions that contain every word and every template, for training a tokenizer."""
    looks = list(product(COLOURS, SHAPES))
    colours = [word for words in COLOUR_WORDS.values() for word in words]
    shapes = [word for words in SHAPES.values() for word in words]
    # 1. Every name of a colour with every name of a shape.
    names = list(product(colours, shapes))
    expressions = [ATTRIBUTE[0].format(colour=colour, shape=shape) for colour, shape in names]
    templates = (*ATTRIBUTE, *PATTERNED, *SIZED, *RELATED, *MOVING, *CALLING, *BY_COLOUR, *BY_SHAPE)
    # 2. Every combination of details, with the templates in turn.
    details = product(_words(PATTERNS), _words(SIZES), _words(RELATIONS), _words(MOTIONS))
    for number, (pattern, size, relation, motion) in enumerate(details):
        template = templates[number % len(templates)]
        colour, shape = names[number % len(names)]
        other = plainly(*looks[number % len(looks)]).removeprefix("the ")
        words = {"pattern": pattern, "size": size, "relation": relation, "motion": motion, "other": other}
        # `format` ignores the words that a template does not use.
        expressions.append(template.format(colour=colour, shape=shape, **words))
    # 3. Every detail by itself, so that each is also seen in another context.
    details_alone = (*_words(RELATIONS), *_words(MOTIONS), *_words(SIZES), *_words(PATTERNS))
    expressions += [f"the {detail} one" for detail in details_alone]
    return list(dict.fromkeys(expressions))


def _words(table: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [word for words in table.values() for word in words]


def _draw_kind(rng: np.random.Generator, kinds: Mapping[str, float]) -> str:
    return str(rng.choice(list(kinds), p=list(kinds.values())))


def _said(
    rng: np.random.Generator,
    things: Sequence[HasLook],
    meant: Meant,
    kind: str,
    look: Look,
    frame: Shown | None = None,
) -> Expression | None:
    """An expression of a kind for the thing that is meant, or for a look that is absent.

    None where no expression of this kind is true. For an absent look every detail may be claimed, with the
    same words and templates, so that the kind of an expression does not reveal whether its target exists.
    """
    if kind in RICH_KINDS:
        return rich_expression(rng, things, meant, kind, look, frame)
    if kind == "colloquial":
        return _colloquial(rng, things, meant, look)
    colour, shape = look
    names = {"colour": COLOUR_WORDS[colour][0], "shape": SHAPES[shape][0]}
    # Attributes use the most common words, and in half of the cases the pattern.
    if kind == "attribute":
        pattern = _pattern(rng, meant)
        attributes = PATTERNED if pattern and rng.random() < 0.5 else ATTRIBUTE
        return Expression(pick(rng, attributes).format(pattern=pattern, **names), kind, colour, shape)
    if kind == "synonym":
        text = _synonym(rng, look)
        return None if text is None else Expression(text, kind, colour, shape)
    names = {"colour": usual(rng, COLOUR_WORDS[colour]), "shape": usual(rng, SHAPES[shape])}
    # The other kinds add one detail, which must be true of the thing.
    detail = {"size": _size, "relation": _relation, "motion": _motion}[kind](rng, things, meant)
    if detail is None:
        return None
    templates: dict[str, tuple[str, ...]] = {"size": SIZED, "relation": RELATED, "motion": MOVING}
    return Expression(pick(rng, templates[kind]).format(**detail, **names), kind, colour, shape)


def _pattern(rng: np.random.Generator, meant: Meant) -> str:
    """A word for a thing's pattern; empty where it has none."""
    if meant is None:
        pattern = str(rng.choice(list(PATTERNS), p=(0.6, 0.2, 0.2)))
    else:
        scene, index = meant
        pattern = scene.things[index].pattern
    return pick(rng, PATTERNS[pattern]) if PATTERNS[pattern] else ""


def _synonym(rng: np.random.Generator, look: Look) -> str | None:
    """An expression in which at least one word is not the most common one; None where there are no others."""
    colours, shapes = COLOUR_WORDS[look[0]], SHAPES[look[1]]
    # All combinations except the first, which has the most common words.
    pairs = [(colour, shape) for colour in colours for shape in shapes][1:]
    if not pairs:
        return None
    colour, shape = pairs[int(rng.integers(len(pairs)))]
    return pick(rng, ATTRIBUTE).format(colour=colour, shape=shape)


def _colloquial(
    rng: np.random.Generator, things: Sequence[HasLook], meant: Meant, look: Look
) -> Expression | None:
    """A casual expression, which may leave out the shape or the colour where the other one is unique."""
    # The colour alone identifies the target if no other thing has it; the same with the shape.
    others = [thing for number, thing in enumerate(things) if meant is None or number != meant[1]]
    colour_decides = all(thing.colour != look[0] for thing in others)
    shape_decides = all(thing.shape != look[1] for thing in others)
    colour, shape = usual(rng, COLOUR_WORDS[look[0]]), usual(rng, SHAPES[look[1]])
    # By colour alone in 40 % of the cases, by shape alone in 40 %, if that is unique; else by both.
    draw = rng.random()
    if draw < 0.4 and colour_decides:
        return Expression(pick(rng, BY_COLOUR).format(colour=colour), "colloquial", look[0], None)
    if draw > 0.6 and shape_decides:
        return Expression(pick(rng, BY_SHAPE).format(shape=shape), "colloquial", None, look[1])
    return Expression(pick(rng, CALLING).format(colour=colour, shape=shape), "colloquial", *look)


def _size(rng: np.random.Generator, _things: Sequence[HasLook], meant: Meant) -> dict[str, str] | None:
    if meant is None:
        size: str | None = pick(rng, list(SIZES)) if rng.random() < 0.6 else None
    else:
        size = relations.size_of(*meant)
    return None if size is None else {"size": pick(rng, SIZES[size])}


def _relation(rng: np.random.Generator, things: Sequence[HasLook], meant: Meant) -> dict[str, str] | None:
    if meant is None:
        other, relation = int(rng.integers(len(things))), pick(rng, list(RELATIONS))
    else:
        # One of the true relations, and the other thing in its simplest words.
        true = relations.relations_of(*meant)
        if not true:
            return None
        other, relation = true[int(rng.integers(len(true)))]
    thing = things[other]
    name = plainly(thing.colour, thing.shape).removeprefix("the ")
    return {"relation": pick(rng, RELATIONS[relation]), "other": name}


def _motion(rng: np.random.Generator, _things: Sequence[HasLook], meant: Meant) -> dict[str, str] | None:
    if meant is None:
        true = [pick(rng, list(MOTIONS))] if rng.random() < 0.6 else []
    else:
        true = relations.motions_of(*meant)
    return {"motion": pick(rng, MOTIONS[pick(rng, true)])} if true else None
