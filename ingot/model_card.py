"""A model version's card: everything an auditor asks first, made from the store and the ledger alone.

`card` gathers it, `card_markdown` writes it as the description of MLflow's model version page. The same
store gives the same card, whenever and wherever it is made: after registering, gating, promoting, rolling
back and `ingot rebuild`. Numbers, names and digests; no document text. Costs a few small reads.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ingot import adopted, ledger, manifest, markdown, promotion
from ingot.cleaned import COLUMNS as CLEANED_COLUMNS
from ingot.cleaned import cleaned_against, cleaned_rows
from ingot.ledger import Entry
from ingot.manifest import Manifest
from ingot.markdown import plain
from ingot.model_versions import ModelVersion
from ingot.plan_words import plan_words
from ingot.storage import Store

MOVES = ("approved", "overridden", "promoted", "rolled_back")
_MAX_WORDS = 400

Link = Callable[[str, int], str]
"""(corpus, version) -> address of its page; empty for no link."""


def card(store: Store, version: ModelVersion, entries: Sequence[Entry] | None = None) -> dict[str, Any]:
    """The card as JSON: corpora, recipe, code, verdict, who moved it and why, licences, sources, ledger, digests.

    entries: the ledger, when the caller has read it already.
    """
    entries = ledger.read(store) if entries is None else entries
    found = [(row, *_version(store, row["corpus"])) for row in version.corpora]
    own = found[0][2]
    recipe = version.details.get("recipe") or {}
    records = about(entries, version)
    return {
        "kind": "model_card",
        "model": version.name,
        "version": version.version,
        "registered": version.registered.time,
        "requested_by": version.details.get("requested_by"),
        "base_model": version.base_model,
        **_adopted(version, entries),
        "parameters": version.details.get("num_parameters"),
        "tokens_seen": version.details.get("tokens_seen"),
        **({"plan": version.details["plan_against_actual"]} if "plan_against_actual" in version.details else {}),
        "corpora": [
            {
                "corpus": read.identity.corpus,
                "version": number,
                "documents": read.identity.accounting["kept"],
                "heldout": read.identity.accounting["heldout"],
                "dropped": read.identity.accounting["dropped"],
                "tokens": row["num_tokens"],
                "tokens_read": row["tokens_read"],
                "epochs": row["epochs"],
                "classification": manifest.classification_of(read.identity),
                "identity_digest": read.identity_digest,
                "root_digest": read.identity.root_digest,
                "content_digest": read.identity.content_digest,
                "sources": sorted(read.identity.statistics.get("source", {})),
            }
            for row, number, read in found
        ],
        "cleaned_against": [line for _, _, read in found for line in cleaned_against(read.identity)],
        "recipe": {
            "name": recipe.get("model") or recipe.get("corpus") or version.name,
            "digest": version.details.get("recipe_digest"),
        },
        "code": version.details.get("code") or {},
        "verdict": verdict_of(store, list(entries), version),
        "moves": [_move(entry, version) for entry in records if entry.verb in MOVES],
        "licences": _shares(_statistics(found, "licence"), version.tokens_of("licence")),
        "sources": _shares(_statistics(found, "source"), version.tokens_of("source")),
        "ledger": [
            {"sequence": e.sequence, "time": e.time, "verb": e.verb, "by": e.actor.id, "kind": e.actor.kind,
             "established_by": e.actor.established_by, "sha256": e.sha256}
            for e in records
        ],
        "digests": {
            "checkpoint": version.evidence["checkpoint"],
            "corpus identity": own.identity_digest,
            "corpus root": own.identity.root_digest,
            "corpus content": own.identity.content_digest,
            "tokenizer": version.evidence.get("tokenizer"),
            "recipe": version.details.get("recipe_digest"),
            "run": version.details.get("run"),
        },
    }  # fmt: skip


def _adopted(version: ModelVersion, entries: Sequence[Entry]) -> dict[str, Any]:
    """Where a version began with a model from outside: which, and the share that is ours; else nothing."""
    origin = adopted.origin_of(version, entries)
    return {"adopted": origin} if origin else {}


def _version(store: Store, name: str) -> tuple[int, Manifest]:
    corpus, number = manifest.find(store, name)
    return number, manifest.read(store, corpus, number)


def _statistics(found: Sequence[tuple[Any, int, Manifest]], group: str) -> dict[str, dict[str, int]]:
    """The documents of all corpora by a group's values."""
    return manifest.summed([read.identity.statistics.get(group, {}) for _, _, read in found])


def about(entries: Iterable[Entry], version: ModelVersion) -> list[Entry]:
    """The ledger's records about a version, those that moved the champion away from it too.

    Who read an evaluation's text is in the ledger and not here: a card would change by being looked into.
    """
    return [
        entry
        for entry in entries
        if entry.verb != "read_text"
        and (
            entry.subject == version.subject
            or (
                entry.verb in MOVES
                and entry.details.get("model") == version.name
                and version.version in (entry.details.get("version"), entry.details.get("previous"))
            )
        )
    ]


def verdict_of(store: Store, entries: list[Entry], version: ModelVersion) -> dict[str, Any] | None:
    """The newest verdict about a version with its intervals and baselines; None when it was never gated."""
    gated = promotion.latest_verdict(entries, version)
    if gated is None:
        return None
    record = store.read_record(f"evaluations/{gated.evidence['verdict']}.json")
    names = ("verdict", "reason", "suite", "num_documents", "num_bytes", "candidate_bits_per_byte",
             "champion_bits_per_byte", "difference", "low", "high", "p_value")  # fmt: skip
    config = record.get("config") or {}
    return {
        **{name: record.get(name) for name in names},
        "champion": gated.details.get("champion"),
        "bits_per_byte": gated.details.get("bits_per_byte"),
        "margin": config.get("margin_bits_per_byte"),
        "level": 1 - config["alpha"] if "alpha" in config else None,
        "baselines": [
            {name: baseline.get(name) for name in ("baseline", "bits_per_byte", "difference", "low", "high", "beats")}
            for baseline in record.get("baselines") or ()
        ],
        "digest": gated.evidence["verdict"],
        "evaluation": gated.evidence.get("evaluation"),
        "ledger": gated.sequence,
        "time": gated.time,
    }


def _move(entry: Entry, version: ModelVersion) -> dict[str, Any]:
    """A decision of a person about a version: what, who, when, why."""
    return {
        "verb": entry.verb,
        "to": entry.details.get("version"),
        "from": entry.details.get("previous"),
        "by": entry.actor.id,
        "kind": entry.actor.kind,
        "established_by": entry.actor.established_by,
        "time": entry.time,
        "reason": entry.details.get("reason") or "",
        "objection": entry.details.get("objection") or "",
        "ledger": entry.sequence,
        "this_version": entry.subject == version.subject or entry.details.get("version") == version.version,
    }


def _shares(rows: dict[str, dict[str, int]], tokens: dict[str, int]) -> list[dict[str, Any]]:
    """Kept documents, tokens and share of all tokens by name, the largest first; without names nothing was kept of."""
    total = sum(tokens.values())
    shares = [
        {
            "name": name,
            "documents": row["kept"],
            "bytes": row["kept_bytes"],
            "tokens": tokens.get(name, 0),
            "share": tokens.get(name, 0) / total if total else None,
        }
        for name, row in rows.items()
        if row["kept"]
    ]
    return sorted(shares, key=lambda row: (-row["tokens"], -row["bytes"], row["name"]))


def card_markdown(card: dict[str, Any], link: Link = lambda corpus, version: "") -> str:
    """The card as a description for MLflow: long tables show their largest rows and say how many more there are."""
    return markdown.fitting(lambda rows: _lines(card, link, rows), "`ingot trace model` shows all of it.")


def _lines(card: dict[str, Any], link: Link, rows: int) -> list[str]:
    name = f"{card['model']}/{card['version']}"
    verdict = card["verdict"]
    lines = [f"**{name}**: {verdict['verdict'] if verdict else 'not gated yet'}. {plain(standing(card))}", ""]
    for corpus in card["corpora"]:
        label = f"{corpus['corpus']}@{corpus['version']}"
        address = link(corpus["corpus"], corpus["version"])
        facts = f"{corpus['documents']:,} documents, {count(corpus['tokens'])} tokens, {readings(corpus)}"
        facts += f"strictest classification: {plain(corpus['classification'])}"
        lines.append(f"- Trained on {f'[{label}]({address})' if address else f'**{label}**'}: {facts}")
    lines += [
        f"- Recipe `{card['recipe']['name']}`, `{card['recipe']['digest']}`",
        f"- Code {plain(code_words(card['code']))}",
        *([f"- Asked for by {plain(card['requested_by'])}"] if card["requested_by"] else []),
        f"- {count(card['parameters'])} parameters, {count(card['tokens_seen'])} tokens seen; base model "
        f"{card['base_model']}",
        *([f"- Trained to {plain(plan_words(card['plan']))}"] if card.get("plan") else []),
    ]
    if card.get("adopted"):
        lines += ["", "**From outside**", ""]
        lines += [f"- {what}: {plain(words)}" for what, words in adopted.lines(card["adopted"])]
    lines += ["", "**Gate**", "", *_verdict_lines(verdict, rows)]
    lines += ["", "**Decided by**", ""]
    lines += [f"- {plain(sentence)}" for sentence in moves(card)[-rows:]] or ["Nobody yet."]
    header = ["documents", "tokens", "share of tokens"]
    lines += ["", "**Licences**", *markdown.table(["licence", *header], share_rows(card["licences"], rows))]
    lines += ["", "**Sources**", *markdown.table(["source", *header], share_rows(card["sources"], rows))]
    if card.get("cleaned_against"):
        lines += ["", "**Cleaned against**"]
        lines += markdown.table(CLEANED_COLUMNS, cleaned_rows(card["cleaned_against"])[:rows])
    lines += ["", "**Ledger**", ""]
    lines += [
        f"- {e['sequence']}: {e['verb']} {minute(e['time'])} by {plain(e['by'])}, `{e['sha256']}`"
        for e in card["ledger"][-rows:]
    ]
    lines += ["", "**Digests** (SHA-256)", ""]
    lines += [f"- {what} `{digest}`" for what, digest in card["digests"].items() if digest]
    return [*lines, "", f"`ingot trace model {name}` and `ingot audit pack {name}` give all of it."]


def readings(corpus: dict[str, Any]) -> str:
    """How much of a corpus was read, with a comma behind; nothing where it was not recorded."""
    if corpus["tokens_read"] is None:
        return ""
    return f"{count(corpus['tokens_read'])} read ({corpus['epochs']:.2f} epochs), "


def standing(card: dict[str, Any]) -> str:
    """Whether somebody made this version the champion, and whether another one replaced it, as one sentence."""
    last = next((m for m in reversed(card["moves"]) if m["verb"] in ("promoted", "rolled_back")), None)
    if last is None:
        return "Not promoted."
    if not last["this_version"]:
        return f"Was the champion until ledger record {last['ledger']}."
    return f"Made champion by {last['by']}, ledger record {last['ledger']}."


def moves(card: dict[str, Any]) -> list[str]:
    """What persons decided about the version, one sentence a decision."""
    return [
        f"{minute(m['time'])} {m['by']} ({m['established_by']}) {_what(card, m)}"
        + (f", against: {m['objection']}" if m["objection"] else "")
        + (f": {m['reason'][:_MAX_WORDS]}" if m["reason"] else "")
        + f" [record {m['ledger']}]"
        for m in card["moves"]
    ]


def _what(card: dict[str, Any], move: dict[str, Any]) -> str:
    other = f"{card['model']}/{move['to']}"
    if move["verb"] == "approved":
        return "approved it"
    if move["verb"] == "overridden":
        return f"overruled the gate for {other}"
    verb = "promoted" if move["verb"] == "promoted" else "rolled back to"
    was = f" in place of {card['model']}/{move['from']}" if move["from"] else ""
    return f"{verb} {other}{was}"


def code_words(code: dict[str, Any]) -> str:
    """Version, commit and whether it had uncommitted changes."""
    dirty = ", with uncommitted changes" if code.get("dirty") == "true" else ""
    return f"version {code.get('version') or 'unknown'}, commit {code.get('commit') or 'not known'}{dirty}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in bits per byte; a dash when there is none."""
    return "–" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _verdict_lines(verdict: dict[str, Any] | None, rows: int) -> list[str]:
    if verdict is None:
        return ["Not evaluated yet; `ingot evaluate` does it."]
    level = f"{verdict['level']:.0%} interval" if verdict["level"] is not None else "interval"
    lines = [f"{verdict['verdict']}: {plain(str(verdict['reason'])[:_MAX_WORDS])}"]
    measured = []
    if verdict["difference"] is not None:
        measured.append(
            [f"{verdict['champion']} (champion)", _bits(verdict["champion_bits_per_byte"]),
             f"{verdict['difference']:+.4f}", interval(verdict["low"], verdict["high"])]
        )  # fmt: skip
    measured += [
        [b["baseline"], _bits(b["bits_per_byte"]), f"{b['difference']:+.4f}", interval(b["low"], b["high"])]
        for b in verdict["baselines"][:rows]
    ]
    own = _bits(verdict["candidate_bits_per_byte"])
    if measured:
        lines += markdown.table(["Compared with", "bits per byte", f"this model ({own}) minus it", level], measured)
    lines += ["", f"On {count(verdict['num_documents'])} held-out documents, {count(verdict['num_bytes'])} bytes; "
              f"verdict `{verdict['digest']}`"]  # fmt: skip
    return lines


def share_rows(shares: list[dict[str, Any]], rows: int) -> list[list[object]]:
    """Table rows of shares: the largest, then one that gathers the rest."""
    shown: list[list[object]] = [
        [row["name"], row["documents"], row["tokens"], _percent(row["share"])] for row in shares[:rows]
    ]
    rest = shares[rows:]
    if rest:
        known = [row["share"] for row in rest if row["share"] is not None]
        shown.append(
            [f"{len(rest)} more", sum(row["documents"] for row in rest), sum(row["tokens"] for row in rest),
             _percent(sum(known) if known else None)]
        )  # fmt: skip
    return shown


def minute(time: str) -> str:
    """An ISO 8601 time to the minute, for people."""
    return time[:16].replace("T", " ")


def count(value: int | None) -> str:
    """A count for people; a dash when it is not known."""
    return "–" if value is None else f"{value:,}"


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
