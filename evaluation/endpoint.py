"""A language model behind an OpenAI-compatible endpoint, such as a vLLM server of your own.

Only `/completions` is used, one request a text, in order. httpx is imported on first use. The API key is
named, never held: `credentials="judge"` reads INGOT_SECRET_JUDGE when a request is made.
"""

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ingot.errors import DataError, RecipeError, ServiceError


class OpenAIModel:
    """See `evaluation.generation.LanguageModel`.

    Scoring needs a server that echoes the prompt with its log-probabilities (`echo`, `logprobs`,
    `max_tokens=0`; vLLM does) and `start_text`, the text form of the model's start token, because such
    servers give no probability for the first token of a prompt. The context length is the server's: a
    text that is too long is an error, not a shorter text.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        credentials: str | None = None,
        *,
        start_text: str | None = None,
        timeout_seconds: float = 120.0,
        transport: Any = None,
    ) -> None:
        address = urlsplit(base_url)
        if address.username or address.password:
            raise RecipeError(
                f"the address of model {model!r} holds a user name or password; name a credential instead "
                "(credentials: judge is read from INGOT_SECRET_JUDGE)"
            )
        if address.scheme not in ("http", "https") or not address.hostname:
            raise RecipeError(f"the address of model {model!r} is no http(s) URL; write it as https://host:port/v1")
        self._url = base_url.rstrip("/") + "/completions"
        self._model = model
        self._credentials = credentials
        self._start_text = start_text
        self._timeout_seconds = timeout_seconds
        self._transport = transport  # httpx transport; tests answer from memory with it

    def describe(self) -> dict[str, str | int]:
        return {"kind": "openai", "model": self._model}

    def log_likelihoods(self, texts: Sequence[str]) -> list[float]:
        if not self._start_text:
            raise DataError(
                f"model {self._model!r} cannot score texts: start_text is not set, and endpoints give no "
                "probability "
                "for the first token of a prompt; set it to the model's start token, e.g. <|endoftext|>"
            )
        skipped = len(self._start_text)
        totals = []
        for index, text in enumerate(texts):
            answer = self._post(
                {
                    "prompt": self._start_text + text,
                    "max_tokens": 0,
                    "echo": True,
                    "logprobs": 1,
                    "temperature": 0.0,
                }
            )
            scores = answer.get("logprobs") or {}
            offsets, values = scores.get("text_offset") or [], scores.get("token_logprobs") or []
            scored = [value for offset, value in zip(offsets, values, strict=False) if offset >= skipped]
            # A token that straddles the border would be skipped and the text counted too cheap.
            if skipped not in offsets or len(offsets) != len(values) or any(value is None for value in scored):
                raise DataError(
                    f"model {self._model!r} returned no complete log-probabilities for text {index} of "
                    f"{len(texts)}; "
                    "use a server that supports echo with logprobs, and check start_text"
                )
            totals.append(float(sum(scored)))
        return totals

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, temperature: float, seed: int) -> list[str]:
        return [
            str(
                self._post(
                    {
                        "prompt": prompt or self._start_text or "",
                        "max_tokens": max_new_tokens,
                        "temperature": temperature,
                        "seed": seed + index,
                    }
                )["text"]
            )
            for index, prompt in enumerate(prompts)
        ]

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """The first choice of the answer. Neither request nor answer is ever quoted in an error."""
        import httpx

        headers = {"Authorization": f"Bearer {self._secret()}"} if self._credentials else {}
        try:
            # trust_env=False: no proxy of the environment may carry document text elsewhere.
            with httpx.Client(
                timeout=self._timeout_seconds,
                transport=self._transport,
                trust_env=False,
                follow_redirects=False,
            ) as client:
                response = client.post(self._url, json={"model": self._model, **body}, headers=headers)
            if response.status_code != 200:
                raise ServiceError(
                    f"the endpoint of model {self._model!r} answered with status {response.status_code}; "
                    "look into its own log"
                )
            choice = response.json()["choices"][0]
            if not isinstance(choice, dict):
                raise TypeError("choice")
            return choice
        except httpx.HTTPError as error:
            raise ServiceError(
                f"the endpoint of model {self._model!r} does not answer ({type(error).__name__}); is it running?"
            ) from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise ServiceError(
                f"the endpoint of model {self._model!r} did not answer in the form of /completions; check its address"
            ) from None

    def _secret(self) -> str:
        name = f"INGOT_SECRET_{str(self._credentials).upper().replace('-', '_')}"
        value = os.environ.get(name)
        if not value:
            raise RecipeError(f"credential {self._credentials!r} is not set; put it into {name}")
        return value
