from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.client.manifest import MANIFEST_NAME, Entry, Manifest, read_entries


def entries_of(tmp_path: Path, *lines: str) -> list[Entry]:
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return read_entries(path, {"priority": "low"})


def test_lines_are_texts_classes_nothing_or_requests(tmp_path: Path) -> None:
    lines = ['"a cat"', "", "7", "null", '{"prompt": "é", "name": "owl", "n": 2, "seed": 1}']
    first, second, third, owl = entries_of(tmp_path, *lines)
    assert (first.name, first.prompt, first.parameters) == ("000001", "a cat", {"priority": "low"})
    assert (second.prompt, third.prompt, third.name) == (7, None, "000004")
    assert (owl.prompt, owl.parameters) == ("é", {"priority": "low", "n": 2, "seed": 1})
    assert owl.file_name(1) == "owl-1.png"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting"),
        ("[1]", "a text, a class or null"),
        ("true", "a text, a class or null"),
        ('{"prompt": "x", "name": "../x"}', "letters, digits"),
        ('{"prompt": "x", "name": ".x"}', "letters, digits"),
        ('{"prompt": "x", "name": "%s"}' % ("猫" * 81), "more than 240 bytes"),
        ('{"prompt": "x", "name": "000001"}', "stands there twice"),
        ('{"prompt": "x", "output_format": "../x"}', "png, jpeg or webp"),
        (r'{"prompt": "x \ud83d"}', "half a character"),
        (r'{"prompt": "x", "priority": "\ud83d"}', "half a character"),
        ('{"prompt": "x", "seed": NaN}', "infinite, or none"),
        ('{"prompt": "x", "temperature": [1, 1e999]}', "infinite, or none"),
        ('{"prompt": "x", "self": 1}', "no field self"),
        ('{"prompt": "x", "idempotency_key": "k"}', "no field idempotency_key"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_wrong_line_is_named(line: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"line 2: .*{words}"):
        entries_of(tmp_path, '"a cat"', line)


def test_only_a_line_s_own_end_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes('"a\u2028cat"\r\n"an\x85owl"\r{\n'.encode())
    with pytest.raises(ValueError, match="line 3: "):
        read_entries(path, {})
    path.write_bytes(path.read_bytes().removesuffix(b"{\n"))
    assert [entry.prompt for entry in read_entries(path, {})] == ["a\u2028cat", "an\x85owl"]


@pytest.mark.parametrize(("data", "line"), [('1\n"é'.encode("latin-1"), 2), (b"\xff\xfe1\0", 1)])
def test_a_file_of_other_letters_is_named(data: bytes, line: int, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"prompts.jsonl, line {line}: it is not UTF-8"):
        read_entries(path, {})


def test_the_longest_name_is_one_of_a_file(tmp_path: Path) -> None:
    line = json.dumps({"name": "猫" * 80, "output_format": "webp"})
    (entry,) = entries_of(tmp_path, line)
    with Manifest(tmp_path) as manifest:
        assert (tmp_path / manifest.write_image(entry, 9, b"webp")).is_file()


def done(manifest: Manifest, entry: Entry) -> None:
    name = manifest.write_image(entry, 0, b"png")
    manifest.add(entry, {"status": "succeeded", "images": [{"file": name}]})


def test_what_is_done_is_known_by_its_request_and_its_files(tmp_path: Path) -> None:
    entry, other = Entry("a", "a cat", {"seed": 1}), Entry("a", "a cat", {"seed": 2})
    with Manifest(tmp_path) as manifest:
        assert not manifest.is_done(entry)
        done(manifest, entry)
        assert manifest.is_done(entry)
        run_id = manifest.run_id
    with Manifest(tmp_path) as manifest:
        assert manifest.run_id == run_id
        assert manifest.is_done(entry)
        assert not manifest.is_done(other)
        (tmp_path / "a-0.png").unlink()
        assert not manifest.is_done(entry)


def test_each_attempt_has_a_key_of_its_own_which_a_killed_call_finds_again(tmp_path: Path) -> None:
    entry = Entry("a", "a cat", {})
    with Manifest(tmp_path) as manifest:
        first = manifest.key(entry)
    with Manifest(tmp_path) as manifest:
        assert manifest.key(entry) == first
        manifest.add(entry, {"status": "failed", "images": []})
        assert manifest.key(entry) != first
        assert manifest.key(Entry("b", "a cat", {})) != first
    with Manifest(tmp_path / "elsewhere") as manifest:
        assert manifest.key(entry) != first


def test_a_line_that_was_cut_costs_no_other(tmp_path: Path) -> None:
    one, two = Entry("a", "a cat", {}), Entry("b", "an owl", {})
    with Manifest(tmp_path) as manifest:
        done(manifest, one)
    path = tmp_path / MANIFEST_NAME
    path.write_text(path.read_text() + '{"name": "b", "dig')
    with Manifest(tmp_path) as manifest:
        assert manifest.is_done(one)
        done(manifest, two)
    with Manifest(tmp_path) as manifest:
        assert manifest.is_done(one)
        assert manifest.is_done(two)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line).get("name") for line in whole] == [None, "a", "b"]


@pytest.mark.parametrize(
    "changes",
    [{"name": ["a"]}, {"name": None}, {"images": 7}, {"images": [{}]}, {"images": ["a-0.png"]}],
)
def test_a_line_that_somebody_edited_costs_no_other(
    changes: dict[str, object], tmp_path: Path
) -> None:
    entry = Entry("a", "a cat", {})
    with Manifest(tmp_path) as manifest:
        done(manifest, entry)
    path = tmp_path / MANIFEST_NAME
    last = json.loads(path.read_text().splitlines()[-1])
    path.write_text(path.read_text() + json.dumps(last | changes) + "\n")
    with Manifest(tmp_path) as manifest:
        assert manifest.is_done(entry)


def test_a_prompt_of_several_lines_is_known_as_done_and_half_a_letter_costs_nothing(
    tmp_path: Path,
) -> None:
    entry = Entry("a", "a\u2028cat", {})
    with Manifest(tmp_path) as manifest:
        done(manifest, entry)
    with (tmp_path / MANIFEST_NAME).open("ab") as file:
        file.write('{"name": "é'.encode()[:-1])
    with Manifest(tmp_path) as manifest:
        assert manifest.is_done(entry)


def test_one_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Manifest(tmp_path),
        pytest.raises(ValueError, match="another process is at work"),
        Manifest(tmp_path),
    ):
        pass
