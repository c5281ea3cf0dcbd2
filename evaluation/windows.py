"""Which tokens are scored in which forward pass, for texts longer than a model's context.

Pure arithmetic. A text of n tokens is scored as n predictions: token i from the start token and the
tokens before it, as many as the context holds. Every token is scored exactly once.
"""

from typing import NamedTuple


class Window(NamedTuple):
    """One forward pass over `tokens[begin:end]`; the last `num_scored` of them are scored.

    The model reads the token before `begin` (the start token when begin is 0) up to `end - 1`, which are
    `end - begin` inputs, never more than the context.
    """

    begin: int
    end: int
    num_scored: int


def scoring_windows(num_tokens: int, context_tokens: int, stride_tokens: int) -> list[Window]:
    """Windows that score tokens 0 .. num_tokens - 1 once each, in order.

    The first window scores up to `context_tokens` tokens; each later one scores the next `stride_tokens`
    (the last one what is left) and reads as many tokens before them as still fit, so such a token has
    at least `context_tokens - stride_tokens` tokens before it.
    """
    if not 1 <= stride_tokens <= context_tokens:
        raise ValueError(
            f"scoring_windows: stride_tokens={stride_tokens} with context_tokens={context_tokens}; "
            "choose a stride between 1 and the context"
        )
    windows = []
    scored = 0
    while scored < num_tokens:
        end = min(num_tokens, scored + (stride_tokens if scored else context_tokens))
        begin = max(0, end - context_tokens)
        windows.append(Window(begin, end, end - scored))
        scored = end
    return windows
