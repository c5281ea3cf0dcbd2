"""Filling holes with a model trained by the stage `infill`: beam search, ranked with what stands behind the hole.

# B holes, P tokens of a prompt, K hypotheses, V vocabulary

A hole of known length is filled with exactly so many characters; of unknown length, with as many as the model ends
after. A filling's score is log P(filling, end | prefix, suffix) in the order of infilling, plus `reading_weight` times
log P(word with filling, what follows | prefix) in reading order: two views of one model that err differently. A
second reader, such as an n-gram (`evaluation/character_ngram.py`), may propose fillings and have its say in their rank.
Deterministic; ties by text. On one core a model of 2M parameters fills some five holes of 100-character texts a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from evaluation.generation import TransformersModel
from ingot.errors import DataError
from ingot.infill_tokens import InfillVocabulary, is_inside, read_infill_vocabulary


@dataclass(frozen=True)
class Hole:
    """A place in a text where something is missing."""

    prefix: str = field(repr=False)
    suffix: str = field(repr=False)
    num_characters: int | None = None
    """How many are missing; None when that is not known."""


@dataclass(frozen=True)
class Filling:
    """What may have stood in a hole."""

    text: str = field(repr=False)
    score: float
    """Natural logarithm; comparable between fillings of one hole only."""
    infill_score: float
    """Its part from the order of infilling."""


class Reader(Protocol):
    """Another model of the same texts."""

    def propose(self, hole: Hole, *, beam: int) -> list[str]:
        """Fillings to consider, of the hole's length if it is known."""
        ...

    def score(self, hole: Hole, text: str) -> float:
        """log P(text, what follows | prefix), as far as it sees."""
        ...


@dataclass(frozen=True)
class Options:
    """How holes are filled."""

    beam: int = 40
    """Hypotheses kept for each hole at every step."""
    top: int = 20
    """Fillings returned for each hole."""
    order: Literal["spm", "psm"] = "spm"
    """Order of the prompt; the stage's spm_share must have trained it."""
    reading_weight: float = 1.0
    """Weight of the score in reading order; 0 leaves it out, for a model that never read plain text."""
    reader_weight: float = 2.0
    """Weight of a second reader's score; a model that knows more than its reader wants less."""
    following_characters: int = 32
    """So much of what stands behind the hole is scored in reading order."""
    context_characters: int = 256
    """So much before and behind a hole is shown to the model, if its context holds it."""
    max_characters: int = 32
    """Longest filling of a hole of unknown length."""
    batch_holes: int = 8
    """Holes searched side by side; memory grows with it times beam."""


class Infiller:
    """Fills holes with the model of a folder; DataError when its tokenizer has no infilling tokens."""

    def __init__(self, model: TransformersModel, options: Options | None = None, reader: Reader | None = None) -> None:
        import torch

        self._torch, self._reader = torch, reader
        self._options = options or Options()
        self._model, self._device = model._model, model._device
        # A document ends with the token that the next one starts after: packed training has one for both.
        self._tokenizer, self._start, self._end = model._tokenizer, model._start, model._start
        self._context_tokens = model.context_tokens
        self._vocabulary: InfillVocabulary = read_infill_vocabulary(model._tokenizer.to_str())
        pieces = self._vocabulary.pieces
        self._characters = torch.tensor(self._vocabulary.characters())
        self._is_text = torch.tensor([piece is not None and len(piece) > 0 for piece in pieces])
        self._begins_inside = torch.tensor(self._vocabulary.begins_inside())

    def fill(self, holes: Sequence[Hole]) -> list[list[Filling]]:
        """The best fillings of each hole, best first; fewer than `top` where the search found fewer."""
        prompts = [self._prompt(hole) for hole in holes]
        # Prompts of like length pad each other least.
        order = sorted(range(len(holes)), key=lambda index: (len(prompts[index]), index))
        results: list[list[Filling]] = [[] for _ in holes]
        for begin in range(0, len(order), self._options.batch_holes):
            batch = order[begin : begin + self._options.batch_holes]
            found = self._search([holes[index] for index in batch], [prompts[index] for index in batch])
            for index, fillings in zip(batch, found, strict=True):
                results[index] = self._ranked(holes[index], prompts[index], fillings)
        return results

    def _prompt(self, hole: Hole) -> list[int]:
        """Ids up to where the filling begins; of a text too long for the context, what is nearest to the hole."""
        missing = self._longest(hole)
        room = self._context_tokens - 5 - missing
        if room < 2:
            raise DataError(
                f"a hole of {missing} characters leaves no room in a context of {self._context_tokens} tokens; "
                "use a model with a longer context"
            )
        width = self._options.context_characters
        prefix = self._encode(hole.prefix[-width:] if width else "")
        suffix = self._encode(hole.suffix[:width])
        # Each side may take half, and what the other leaves.
        num_prefix = min(len(prefix), max(room // 2, room - len(suffix)))
        prefix = prefix[len(prefix) - num_prefix :]
        suffix = suffix[: room - num_prefix]
        names = self._vocabulary
        before, after = [names.prefix, *prefix], [names.suffix, *suffix]
        both = after + before if self._options.order == "spm" else before + after
        return [self._start, *both, names.middle_for(hole.num_characters)]

    def _longest(self, hole: Hole) -> int:
        return self._options.max_characters if hole.num_characters is None else hole.num_characters

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _search(self, holes: Sequence[Hole], prompts: Sequence[list[int]]) -> list[list[tuple[bytes, float]]]:
        """(filling, score) of the best hypotheses of each hole that ended."""
        beam = self._options.beam
        read = self._read_prompts(prompts)
        log_probabilities = read.log_probabilities
        live = [[_Hypothesis()] for _ in holes]
        ended: list[list[tuple[bytes, float]]] = [[] for _ in holes]
        while True:
            for number, hole in enumerate(holes):
                grown = self._grow(hole, live[number], log_probabilities[number], ended[number])
                live[number] = [] if _is_settled(ended[number], grown, beam) else grown
            if not any(live):
                return [sorted(found, key=_by_score)[:beam] for found in ended]
            log_probabilities = self._continue(read, live)

    def _read_prompts(self, prompts: Sequence[list[int]]) -> "_Prompts":
        """The prompts' keys and values, padded on the left, and what comes next."""
        from transformers import DynamicCache

        torch, longest = self._torch, max(map(len, prompts))
        ids = torch.tensor([[self._start] * (longest - len(prompt)) + prompt for prompt in prompts])
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = torch.arange(longest) >= longest - lengths[:, None]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache()
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(self._device),
                attention_mask=mask.long().to(self._device),
                position_ids=positions.to(self._device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        return _Prompts(cache, mask, self._log_probabilities(logits))

    def _continue(self, read: "_Prompts", live: Sequence[Sequence["_Hypothesis"]]) -> Any:
        """Log-probabilities [B, K, V] of what comes after each hypothesis of each hole.

        A hole's hypotheses stand in one row behind its prompt, and see it and themselves: its keys and values are held
        once, not once for each of them.
        """
        torch = self._torch
        most = max(map(len, live))
        length = len(next(hypotheses[0].tokens for hypotheses in live if hypotheses))
        rows = [[hypothesis.tokens for hypothesis in hypotheses] for hypotheses in live]
        ids = torch.tensor([sum(row, []) + [self._start] * (length * (most - len(row))) for row in rows])
        num_fresh = most * length
        own = torch.block_diag(*[torch.ones(length, length, dtype=torch.bool).tril()] * most).bool()
        mask = torch.cat(
            [read.mask[:, None].expand(-1, num_fresh, -1), own[None].expand(len(live), -1, -1)], dim=2
        )
        positions = read.mask.sum(1, keepdim=True) + torch.arange(length).repeat(most)
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids.to(self._device),
                attention_mask=mask[:, None].to(self._device),
                position_ids=positions.to(self._device),
                past_key_values=read.cache,
                use_cache=True,
                logits_to_keep=torch.arange(length - 1, num_fresh, length, device=self._device),
            ).logits
        read.cache.crop(-num_fresh)
        return self._log_probabilities(logits)

    def _log_probabilities(self, logits: Any) -> Any:
        scores = self._torch.log_softmax(logits.double(), dim=-1).cpu()
        return scores[..., : len(self._vocabulary.pieces)]

    def _grow(
        self, hole: Hole, hypotheses: list["_Hypothesis"], log_probabilities: Any, ended: list[tuple[bytes, float]]
    ) -> list["_Hypothesis"]:
        """The best continuations of a hole's hypotheses; those that may end here are added to `ended`."""
        if not hypotheses:
            return []
        torch, pieces = self._torch, self._vocabulary.pieces
        own = log_probabilities[: len(hypotheses)]
        left = torch.tensor([self._longest(hole) - hypothesis.num_characters for hypothesis in hypotheses])
        for number, hypothesis in enumerate(hypotheses):
            is_long_enough = left[number] == 0 if hole.num_characters is not None else hypothesis.num_characters > 0
            if is_long_enough and _is_text(hypothesis.text):
                ended.append((hypothesis.text, hypothesis.score + float(own[number, self._end])))
        open_ends = torch.tensor([_open_bytes(hypothesis.text) > 0 for hypothesis in hypotheses])
        allowed = self._is_text & (self._characters <= left[:, None]) & (self._begins_inside == open_ends[:, None])
        scores = torch.tensor([hypothesis.score for hypothesis in hypotheses], dtype=torch.float64)[:, None] + own
        scores = scores.masked_fill(~allowed, float("-inf")).flatten()
        best = torch.sort(scores, descending=True, stable=True).indices[: self._options.beam].tolist()
        grown = []
        for index in best:
            score = float(scores[index])
            if score == float("-inf"):
                break
            parent, token = hypotheses[index // len(pieces)], index % len(pieces)
            piece, num_characters = pieces[token], parent.num_characters + int(self._characters[token])
            assert piece is not None
            grown.append(_Hypothesis([*parent.tokens, token], parent.text + piece, num_characters, score))
        return grown

    def _ranked(self, hole: Hole, prompt: list[int], found: Sequence[tuple[bytes, float]]) -> list[Filling]:
        options, reader = self._options, self._reader
        infill = {text.decode(): score for text, score in found}
        if reader is not None:
            proposed = [text for text in reader.propose(hole, beam=options.beam) if text not in infill]
            infill |= self._infill_scores(prompt, proposed)
        texts = list(infill)
        scores = dict(infill)
        if options.reading_weight:
            for text, score in self._reading_scores(hole, texts).items():
                scores[text] += options.reading_weight * score
        if reader is not None:
            for text in texts:
                scores[text] += options.reader_weight * reader.score(hole, text)
        fillings = [Filling(text, round(scores[text], 6), round(infill[text], 6)) for text in texts]
        return sorted(fillings, key=lambda filling: (-filling.score, filling.text))[: options.top]

    def _infill_scores(self, prompt: list[int], texts: Sequence[str]) -> dict[str, float]:
        """log P(text, end | prompt) of given texts."""
        return self._tail_scores(prompt, {text: [*self._encode(text), self._end] for text in texts})

    def _reading_scores(self, hole: Hole, texts: Sequence[str]) -> dict[str, float]:
        """log P(text, what follows | prefix) in reading order, up to a number that all texts share.

        Tokens are those of whole words, as plain text is read in training: scored is from the word that the hole cuts.
        """
        options = self._options
        follows = hole.suffix[: options.following_characters]
        end = [self._end] if len(follows) == len(hole.suffix) else []
        prefix = hole.prefix[-options.context_characters :] if options.context_characters else ""
        head, cut = _before_last_word(prefix)
        tails = {text: [*self._encode(cut + text + follows), *end] for text in texts}
        room = self._context_tokens - max(map(len, tails.values()), default=0)
        prompt = [self._start, *self._encode(head)]
        return self._tail_scores(prompt[-max(room, 1) :], tails)

    def _tail_scores(self, prompt: list[int], tails: dict[str, list[int]]) -> dict[str, float]:
        """Log-probability of each tail after the prompt, which is read once."""
        from transformers import DynamicCache

        if not tails:
            return {}
        torch, longest = self._torch, max(map(len, tails.values()))
        padded = [tail + [self._end] * (longest - len(tail)) for tail in tails.values()]
        targets = torch.tensor(padded, device=self._device)
        cache = DynamicCache()
        with torch.inference_mode():
            first = self._model(
                input_ids=torch.tensor([prompt], device=self._device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
            cache.batch_repeat_interleave(len(tails))
            rest = self._model(input_ids=targets[:, :-1], past_key_values=cache, use_cache=True).logits
        logits = torch.cat([first.expand(len(tails), -1, -1), rest], dim=1).double()
        scores = torch.log_softmax(logits, dim=-1).gather(2, targets[:, :, None])[:, :, 0].cpu()
        return {text: float(scores[row, : len(tail)].sum()) for row, (text, tail) in enumerate(tails.items())}


@dataclass(frozen=True)
class _Prompts:
    """A batch of prompts that were read."""

    cache: Any
    mask: Any
    """[B, P]: which places hold a token of the prompt, not padding."""
    log_probabilities: Any
    """[B, 1, V] of what comes next."""


@dataclass(frozen=True)
class _Hypothesis:
    """The beginning of a filling; those of one step have equally many tokens."""

    tokens: list[int] = field(default_factory=list)
    text: bytes = b""
    num_characters: int = 0
    score: float = 0.0


def _is_settled(ended: Sequence[tuple[bytes, float]], live: Sequence[_Hypothesis], beam: int) -> bool:
    """Whether no hypothesis can still come among the best: growing only lowers a score."""
    if len(ended) < beam or not live:
        return not live
    worst_kept = sorted((score for _, score in ended), reverse=True)[beam - 1]
    return live[0].score <= worst_kept


def _before_last_word(text: str) -> tuple[str, str]:
    """The text, and its last word with the blank before it."""
    start = max((place for place, letter in enumerate(text) if letter.isspace()), default=0)
    return text[:start], text[start:]


def _by_score(found: tuple[bytes, float]) -> tuple[float, bytes]:
    return -found[1], found[0]


def _open_bytes(text: bytes) -> int:
    """How many bytes the last character still lacks."""
    num_inside = 0
    for byte in reversed(text[-4:]):
        if is_inside(byte):
            num_inside += 1
            continue
        needs = 0 if byte < 0xC0 else 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
        return max(0, needs - num_inside)
    return 0


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
