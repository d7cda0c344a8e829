from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random

import numpy as np
import pytest
import torch

from models.train.data.data_set import Variant
from models.train.data.emoji.art import ART_SETS, Art
from models.train.data.emoji.concepts import Concept, is_held_out
from models.train.data.emoji.emoji_set import Selection
from models.train.data.scenes import layouts
from models.train.data.scenes.composer import COUNT_WORDS, SHARES
from models.train.data.scenes.composition import Part, Scene, scene_of
from models.train.data.scenes.layouts import Box
from models.train.data.scenes.scene_set import SceneSet
from models.train.data.scenes.things import load_things


def art_of(size: int = 32) -> Art:
    """Discs in every style for every curated thing and two concepts that are none."""
    labels = [*load_things(), "grinning face", "blue heart"]
    concepts = tuple(Concept(label, "1F600", "any", (), ()) for label in labels)
    y, x = np.mgrid[:size, :size]
    disc = (np.hypot(y - size / 2 + 0.5, x - size / 2 + 0.5) < 0.45 * size)[..., None]
    rng = np.random.default_rng(0)
    count = len(concepts) * len(ART_SETS)
    colours = rng.integers(0, 256, (count, 1, 1, 3))
    rgba = np.concatenate([disc * colours, np.broadcast_to(disc * 255, (count, size, size, 1))], -1)
    owners = np.arange(count) % len(concepts)
    return Art(rgba.astype(np.uint8), owners, np.arange(count) // len(concepts), concepts)


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    return SceneSet(art_of(), {})


def drawn(scenes: SceneSet, number: int = 4000) -> list[Scene]:
    return [scene_of(scenes.scene(0, index)) for index in range(number)]


def test_a_scene_depends_on_seed_and_index_alone(scenes: SceneSet) -> None:
    again = SceneSet(art_of(), {})
    assert drawn(scenes, 200) == drawn(again, 200)
    assert torch.equal(scenes.render(scenes.scene(0, 7)), again.render(again.scene(0, 7)))
    assert scenes.scene(0, 7) != scenes.scene(1, 7)


def test_single_things_are_at_least_half_and_every_layout_comes(scenes: SceneSet) -> None:
    kinds = Counter(scene.kind for scene in drawn(scenes))
    assert kinds["single"] >= 2000
    for kind, share in SHARES.items():
        assert kinds[kind] == pytest.approx(4000 * share, rel=0.25)
    found = {scene.layout for scene in drawn(scenes)}
    assert {f"pair/{name}" for name in layouts.PAIRS} <= found
    assert {f"trio/{name}" for name in layouts.TRIOS} <= found
    assert {f"placed/{name}" for name in layouts.PLACES} <= found
    assert {"count/2", "count/3", "count/4", "single/", "single/small", "single/big"} <= found


def test_no_drawn_scene_is_held_out(scenes: SceneSet) -> None:
    for scene in drawn(scenes):
        labels = sorted({scenes.art.concept_of(part.image).label for part in scene.parts})
        for label in labels:
            assert not scene.background or not is_held_out(label, "background", scene.background)
            assert not scene.finish or not is_held_out(label, "style", scene.finish)
        for part in scene.parts:
            label = scenes.art.concept_of(part.image).label
            assert not part.colour or not is_held_out(label, "colour", part.colour)
            assert part.image not in scenes.held_out
        assert not any(is_held_out(a, "thing", b) for a, b in combinations(labels, 2))
        if scene.kind == "count":
            assert not is_held_out(labels[0], "count", COUNT_WORDS[len(scene.parts)])


def test_each_kind_of_combination_is_held_out_for_some(scenes: SceneSet) -> None:
    def scene(layout: str, *images: int, **how: str) -> Scene:
        box = layouts.SINGLE[""]
        return Scene(layout, tuple(Part(image, box, how.get("colour")) for image in images))

    first = range(60)
    pairs = [scenes.composer.is_allowed(scene("pair/beside", 0, image)) for image in first[1:]]
    counts = [scenes.composer.is_allowed(scene("count/2", image, image)) for image in first]
    colours = [
        scenes.composer.is_allowed(scene("single/", image, colour="blue")) for image in first
    ]
    assert all(0.7 < sum(allowed) / len(allowed) < 1 for allowed in (pairs, counts, colours))


def test_only_curated_things_of_one_style_stand_together(scenes: SceneSet) -> None:
    for scene in drawn(scenes):
        if scene.kind == "single":
            continue
        concepts = [scenes.art.concept_of(part.image).label for part in scene.parts]
        assert set(concepts) <= set(load_things())
        assert len({scenes.art.style_of(part.image) for part in scene.parts}) == 1
        assert len(set(concepts)) == (1 if scene.kind == "count" else len(scene.parts))


def test_held_out_art_is_shown_only_to_judge(scenes: SceneSet) -> None:
    assert not set(scenes.images) & set(scenes.held_out)
    judged = {name: list(map(scene_of, found)) for name, found in scenes.judged(9).items()}
    assert [len(found) for found in judged.values()] == [9, 9]
    for scene in [*judged["single"], *judged["scene"]]:
        assert {part.image for part in scene.parts} <= set(scenes.held_out)
    assert all(scene.kind != "single" for scene in judged["scene"])


def test_a_title_says_the_first_thing_and_the_whole_look(scenes: SceneSet) -> None:
    variant = scenes.judged(1)["scene"][0]
    title = scenes.title(variant)
    assert title.startswith(
        f"{scenes.art.concept_of(variant.image).label} {scenes.art.style_of(variant.image)} "
    )
    assert scene_of(variant).layout in title


def test_styles_can_be_chosen() -> None:
    chosen = SceneSet(art_of(), {}, Selection(styles=("fluent", "flat")))
    styles = {
        chosen.art.style_of(part.image) for scene in drawn(chosen, 500) for part in scene.parts
    }
    assert styles == {"fluent", "flat"}


def test_everything_stands_inside_the_grid() -> None:
    boxes = [*layouts.SINGLE.values(), *layouts.PLACES.values()]
    boxes += [box for group in layouts.COUNTS.values() for row in group for box in row]
    boxes += [box for group in layouts.PAIRS.values() for row in group for box in row]
    boxes += [box for row in layouts.TRIOS.values() for box in row]
    for box in boxes:
        assert 0 <= box.x <= box.x + box.size <= layouts.CELLS
        assert 0 <= box.y <= box.y + box.size <= layouts.CELLS


def test_things_are_painted_where_their_boxes_are(scenes: SceneSet) -> None:
    left, right = (Part(image, box) for image, box in ((0, Box(0, 4, 8)), (1, Box(8, 4, 8))))
    both = scenes.render(Scene("pair/beside", (left, right)).as_variant())
    alone = scenes.render(Scene("single/", (left,)).as_variant())
    assert both.shape == (3, 32, 32)
    assert torch.equal(both[:, :, :16], alone[:, :, :16])
    assert torch.equal(alone[:, :, 16:], torch.ones(3, 32, 16))
    assert alone[:, 8:24, :16].std() > 0.01


def test_the_first_thing_is_in_front(scenes: SceneSet) -> None:
    parts = (Part(0, Box(0, 0, 16)), Part(1, Box(0, 0, 16)))
    front = scenes.render(Scene("pair/in front", parts).as_variant())
    alone = scenes.render(Scene("single/", parts[:1]).as_variant())
    torch.testing.assert_close(front, alone, atol=0.02, rtol=0)


def test_colour_background_and_finish_show(scenes: SceneSet) -> None:
    part = Part(0, layouts.SINGLE[""])
    blue = scenes.render(Scene("single/", (Part(0, part.box, "blue"),)).as_variant())[:, 16, 16]
    assert blue[2] > blue[0]
    night = scenes.render(Scene("single/", (part,), "night").as_variant())
    assert night[:, 0, 0].max() < 0
    dark = scenes.render(Scene("single/", (part,), None, "silhouette").as_variant())
    assert dark[:, 16, 16].max() < -0.5


def test_singles_are_the_allowed_ways_the_plain_one_first(scenes: SceneSet) -> None:
    image = scenes.images[0]
    found = list(scenes.composer.singles(image))
    assert found[0] == scene_of(Variant(image))
    assert {"single/small", "single/big"} <= {scene.layout for scene in found}
    assert all(scenes.composer.is_allowed(scene) for scene in found)
    heart = next(i for i in scenes.images if scenes.art.concept_of(i).label == "blue heart")
    assert not any(scene.parts[0].colour for scene in scenes.composer.singles(heart))


def test_what_stage_2_sees_has_every_kind_and_only_the_selected(scenes: SceneSet) -> None:
    selection = Selection(styles=("fluent", "flat"), varied=("flat",))
    chosen = SceneSet(art_of(), {}, selection)
    variants = chosen.variants()
    assert len(variants) == len(set(variants))
    assert {chosen.kind(variant) for variant in variants} == set(chosen.shares)
    assert sum(chosen.shares.values()) == pytest.approx(1)
    assert sum(chosen.shares[kind] for kind in ("plain", "varied")) >= 0.5
    styles = {
        kind: {chosen.art.style_of(v.image) for v in variants if chosen.kind(v) == kind}
        for kind in ("plain", "varied")
    }
    assert styles == {"plain": {"fluent", "flat"}, "varied": {"flat"}}


def test_half_of_the_art_is_left_to_a_judge() -> None:
    even, odd = (SceneSet(art_of(), {}, Selection(part=part)) for part in ("even", "odd"))
    assert not set(even.images) & set(odd.images)
    assert even.held_out == odd.held_out


def test_a_variant_is_its_scene_again(scenes: SceneSet) -> None:
    for scene in drawn(scenes, 500):
        variant = scene.as_variant()
        assert scene_of(variant) == scene
        assert variant.image == scene.parts[0].image
        assert all(word is None or isinstance(word, str) for word in variant.look)


def test_meaning_leaves_the_style_aside(scenes: SceneSet) -> None:
    label = scenes.art.concept_of(0).label
    twin = next(i for i in range(1, 9999) if scenes.art.concept_of(i).label == label)
    night = Scene("single/", (Part(0, layouts.SINGLE[""]),), "night")
    assert scenes.meaning(Variant(0)) == scenes.meaning(Variant(twin))
    assert scenes.meaning(Variant(0)) != scenes.meaning(night.as_variant())
    assert scenes.names()[scenes.name_of(twin)] == label.lower().replace("’", "'")


def test_a_caption_is_the_same_for_the_same_random_numbers(scenes: SceneSet) -> None:
    variant = scenes.scene(0, 3)
    assert scenes.caption(variant, Random(5)) == scenes.caption(variant, Random(5))


def test_a_thing_that_no_varied_style_has_is_varied_in_another(scenes: SceneSet) -> None:
    def shown(selection: Selection) -> tuple[SceneSet, set[int], list[Scene]]:
        chosen = SceneSet(art_of(), {}, selection)
        varied = [v for v in chosen.variants() if chosen.kind(v) != "plain"]
        found = list(map(scene_of, varied))
        return chosen, {part.image for scene in found for part in scene.parts}, found

    _, alone, _ = shown(Selection(varied=("flat",)))
    chosen, images, found = shown(Selection(varied=("flat",), stand_ins=("retro", "fluent")))
    art = chosen.art
    missing = {art.concept[i] for i in chosen.images} - {art.concept[i] for i in alone}
    assert len(missing) > 3
    assert {art.concept[i] for i in images - alone} == missing
    for concept in missing:
        (image,) = (i for i in images if art.concept[i] == concept)
        held_out = [i for i in chosen.held_out if art.concept[i] == concept]
        is_retro_held_out = "retro" in map(art.style_of, held_out)
        assert art.style_of(image) == ("fluent" if is_retro_held_out else "retro")
    mixed = [s for s in found if len({art.style_of(part.image) for part in s.parts}) > 1]
    assert {"pair", "trio"} == {scene.kind for scene in mixed}
    said = [chosen.caption(scene.as_variant(), Random(n)) for n, scene in enumerate(mixed)]
    assert not any(" style" in caption for caption in said)
