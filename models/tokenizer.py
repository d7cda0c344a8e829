"""Prompt → the fixed number of text token ids that stage 2 reads.

A character BPE in the files of the official checkpoints (a vocabulary and its merges, or a file of
YouTokenToMe), run by the `tokenizers` library. Knows nothing of CLIP, which has its own tokenizer.
"""

from __future__ import annotations

import json
import re
import string
from operator import itemgetter
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as AnyBpe
from tokenizers.implementations.char_level_bpe import CharBPETokenizer

from models import yttm
from models.errors import ConfigError, CorruptFileError, MissingFileError
from models.lookalikes import content, visible

PAD = "[PAD]"
UNK = "[UNK]"
WORD_END = "</w>"  # marks the last piece of a word
YTTM_FILE = "bpe.model"
ADDED_FILE = "added_tokens.json"
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")  # kana and ideographs: no space ends a word


def well_formed(text: str) -> str:
    """Join surrogate pairs and put U+FFFD for lone surrogates, which no UTF-8 library accepts."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Tokenizer:
    """Lower-cases, keeps accents, splits at spaces and punctuation; no start or end tokens.

    "[PAD]" and "[UNK]" written in a prompt are those tokens. The empty prompt is all padding. One
    of YouTokenToMe's files splits at spaces alone, and `ends` are its start and end tokens.
    """

    def __init__(
        self,
        bpe: CharBPETokenizer | AnyBpe,
        context_length: int,
        ends: tuple[int, int] | None = None,
    ) -> None:
        pad_id = bpe.token_to_id(PAD)
        if pad_id is None or bpe.token_to_id(UNK) is None:
            raise ConfigError(f"the tokenizer's vocabulary must hold {PAD} and {UNK}")
        self._bpe = bpe
        self._pad_id: int = pad_id
        self._ends = ends
        self.context_length = context_length

    @classmethod
    def load(cls, folder: Path, context_length: int) -> Tokenizer:
        """Read `bpe.model`, or else `*vocab.json` and `*merges.txt`, from `folder`.

        Beside the latter `added_tokens.json` may give ids to words and phrases that are one token
        each, whatever the merges say, as Hugging Face's tokenizers have it.

        Raises:
            MissingFileError: a file is absent.
            CorruptFileError: a file can't be read as a vocabulary, as merges or as added tokens.
        """
        if (folder / YTTM_FILE).is_file():
            file = yttm.read(folder / YTTM_FILE, pad=PAD, unknown=UNK)
            return cls(file.tokenizer, context_length, (file.start_id, file.end_id))
        vocab, merges = _only(folder, "*vocab.json"), _only(folder, "*merges.txt")
        try:
            json.loads(vocab.read_text(encoding="utf-8"))
            bpe = CharBPETokenizer.from_file(
                str(vocab), str(merges), unk_token=UNK, lowercase=True, dropout=None
            )
        except Exception as error:  # the library raises bare Exception for bad files
            raise CorruptFileError(f"can't read the tokenizer in {folder}: {error}") from error
        if bpe.token_to_id(PAD) is not None:
            bpe.add_special_tokens([PAD])
        if (folder / ADDED_FILE).is_file():
            _add(bpe, folder / ADDED_FILE)
        return cls(bpe, context_length)

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """What belongs to the tokenizer that `load` reads from a folder."""
        inside = [path for path in visible(folder.iterdir(), folder) if path.is_file()]
        return [path for path in inside if path.name == YTTM_FILE] or inside

    @classmethod
    def of_letters(cls, context_length: int) -> Tokenizer:
        """Without merges: every character is a token. For models that were never trained."""
        letters = [*string.ascii_lowercase, *string.digits, *".,!?'-"]
        tokens = [PAD, UNK, *letters, *(letter + WORD_END for letter in letters)]
        vocab = {token: index for index, token in enumerate(tokens)}
        bpe = CharBPETokenizer(vocab=vocab, merges=[], unk_token=UNK, lowercase=True)
        bpe.add_special_tokens([PAD])
        return cls(bpe, context_length)

    def encode(self, prompt: str) -> tuple[list[int], bool]:
        """Return exactly `context_length` ids, and whether the prompt was cut to fit."""
        return self.fitted(self.pieces(prompt))

    def pieces(self, text: str) -> list[int]:
        """The ids of a text alone: not cut, without padding and what begins and ends it."""
        ids: list[int] = self._bpe.encode(well_formed(text)).ids
        return ids

    def words(self, text: str) -> list[str]:
        """What a text is split into before any merge."""
        normal = self._bpe.normalizer.normalize_str(well_formed(text))
        return [word for word, _ in self._bpe.pre_tokenizer.pre_tokenize_str(normal)]

    def fitted(self, ids: list[int]) -> tuple[list[int], bool]:
        """A text's ids as `encode` returns them: with what begins and ends it, cut or padded."""
        if self._ends:
            start, end = self._ends
            ids = [start, *ids, end]
        kept = ids[: self.context_length]
        padding = [self._pad_id] * (self.context_length - len(kept))
        return kept + padding, len(ids) > self.context_length

    def check_fits(self, vocab_size: int, reader: str = "stage 2") -> None:
        """Refuse a tokenizer that makes ids at or above the `vocab_size` of who reads them.

        Raises:
            ConfigError: naming both sizes.
        """
        largest = max(self._bpe.get_vocab().values())
        if largest >= vocab_size:
            raise ConfigError(
                f"the tokenizer makes ids up to {largest}, {reader} has {vocab_size} text tokens"
            )

    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""
        vocabulary: dict[str, int] = self._bpe.get_vocab()
        return vocabulary

    def added_words(self) -> dict[str, int]:
        """The tokens that are read whatever the merges say, but for the special ones."""
        added = self.document()["added_tokens"]
        return {token["content"]: token["id"] for token in added if not token["special"]}

    def spellings(self) -> dict[str, int]:
        """Every token as merges would write it, so that added words end as words do."""
        added = self.added_words()
        pieces = {
            token: number for token, number in self.vocabulary().items() if token not in added
        }
        return pieces | {word.lower() + WORD_END: number for word, number in added.items()}

    def document(self) -> dict[str, Any]:
        """All that it does, as the library writes it down."""
        found: dict[str, Any] = json.loads(self._bpe.to_str())
        return found

    def tokens(self, ids: list[int]) -> list[str]:
        """The tokens behind ids, for reports."""
        return [self._bpe.id_to_token(i) or UNK for i in ids]


def _add(bpe: CharBPETokenizer, file: Path) -> None:
    first = 1 + max(bpe.get_vocab().values())
    if what := content(file, is_text=True):
        raise CorruptFileError(f"{file} {what}")
    try:
        ids: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
        words = [word for word, _ in sorted(ids.items(), key=itemgetter(1))]
        # Whole words alone, unless their script leaves no spaces.
        bpe.add_tokens([AddedToken(word, single_word=not _UNSPACED.search(word)) for word in words])
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CorruptFileError(f"can't read {file}: {error}") from error
    for number, word in enumerate(words, first):
        if ids[word] != number or bpe.encode(word).ids != [number]:
            raise CorruptFileError(f"{file}: {word!r} must be new, and have the next id, {number}")


def _only(folder: Path, pattern: str) -> Path:
    found = visible(folder.glob(pattern), folder)
    if not found:
        raise MissingFileError(f"{folder} holds no {pattern}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{folder} holds more than one {pattern}: {names}; keep one of them")
    if what := content(found[0], is_text=True):
        raise CorruptFileError(f"{found[0]} {what}")
    return found[0]
