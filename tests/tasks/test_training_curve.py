"""The training curve's page: numbers of now, a picture, few points."""

import base64
import re

from tasks.training_curve import MAX_POINTS, TrainingCurve


def line(step: int) -> dict[str, float]:
    return {
        "step": step, "loss": 6.0 - step / 1_000, "learning_rate": 0.002, "tokens": step * 100,
        "tokens_per_second": 2_000.0,
    }  # fmt: skip


def curve(num_lines: int, total_tokens: int = 1_000_000) -> TrainingCurve:
    made = TrainingCurve("mini pretrain on handbook@1", total_tokens)
    made.add([{"step": 0, "loss": 6.1, "learning_rate": 0.0, "tokens": 0}, *map(line, range(1, num_lines))])
    return made


def pictures(markdown: str) -> list[str]:
    return [
        base64.b64decode(data).decode() for data in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)\)", markdown)
    ]


def test_the_page_tells_step_loss_speed_and_time_left() -> None:
    page = curve(1_001).markdown()
    assert page.startswith("# Training curve of mini pretrain on handbook@1\n")
    assert "**step 1,000**, loss **5.0000**, learning rate 0.002, 100,000 of 1,000,000 tokens" in page
    assert "2,000 tokens per second, about 8 min left" in page
    assert "| 1,000 | 5.0000 | 2,000 | 0.002 |" in page
    assert "done" in curve(1_001, 100_000).markdown()


def test_the_picture_has_at_most_sixty_points_and_both_ends() -> None:
    page = curve(1_001).markdown()
    loss, speed = pictures(page)
    (points,) = re.findall(r'<polyline[^>]* points="([^"]+)"', loss)
    places = points.split()
    assert 30 <= len(places) <= MAX_POINTS
    assert places[0].startswith("70.0,") and places[-1].startswith("730.0,")
    assert "tokens per second" in speed
    assert len(page) < 15_000 and len(re.findall(r"(?m)^\| [\d,]+ \|", page)) <= 13


def test_a_curve_grows_and_a_repeated_step_replaces_the_earlier_one() -> None:
    growing = curve(3)
    before = growing.markdown()
    growing.add([{**line(2), "loss": 4.5}, line(3)])
    after = growing.markdown()
    assert "**step 2**" in before and "**step 3**" in after and "| 2 | 4.5000 |" in after
    assert after.count("| 2 | ") == 1


def test_a_loss_that_is_not_finite_does_not_break_the_page() -> None:
    broken = curve(3)
    broken.add([{**line(4), "loss": float("nan")}])
    assert "nan" in broken.markdown() and len(pictures(broken.markdown())) == 2


def test_before_the_first_step_the_page_says_so() -> None:
    page = TrainingCurve("mini", 10).markdown()
    assert "no step yet" in page and "no points yet" in pictures(page)[0]


def test_held_out_bits_per_byte_are_a_picture_of_their_own_and_stand_among_the_numbers() -> None:
    looked = curve(3)
    looked.add([line(4), {"step": 4, "heldout_bits_per_byte": 2.4567}, line(5)])  # told apart where no line is due
    page = looked.markdown()
    assert "loss **5.9950**" in page and "**2.457** bits per byte of held-out text" in page
    assert "Held-out text" in pictures(page)[1] and len(pictures(page)) == 3
    mixed = curve(3)
    mixed.add([{**line(4), "heldout_bits_per_byte_old": 2.0, "heldout_bits_per_byte_new": 3.0}])
    assert "**2.000** bits per byte of held-out text of old, **3.000** bits" in mixed.markdown()
    assert ">old<" in pictures(mixed.markdown())[1] and ">new<" in pictures(mixed.markdown())[1]
