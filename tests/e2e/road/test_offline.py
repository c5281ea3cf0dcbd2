"""Nothing leaves: the road from `up` to `down` where there is no network, watched by a name server of ours."""

import json

import pytest

from tests.e2e.road.conftest import CleanRoad

pytestmark = pytest.mark.stack


@pytest.fixture
def offline(clean_road: CleanRoad) -> CleanRoad:
    if clean_road.isolated:
        pytest.skip(f"no network namespace: {clean_road.isolated}")
    return clean_road


def test_the_road_runs_to_its_end(clean_road: CleanRoad) -> None:
    up, build, *_, down = clean_road.commands
    assert [c["exit_code"] for c in (up, build, down)] == [0, 0, 0], build["stderr"] + up["stderr"] + down["stderr"]
    print(f"\nclean road: up {up['seconds']:.0f} s, build {build['seconds']:.0f} s, down {down['seconds']:.0f} s")
    assert json.loads(build["stdout"])["verdict"]["verdict"] == "FIRST"
    assert json.loads(down["stdout"])["stopped"] >= 3


def test_the_road_asks_for_no_name(offline: CleanRoad) -> None:
    assert offline.interfaces == ["lo"]
    up, build, _, _, down = offline.commands
    assert [name for command in (up, build, down) for name in command["names"]] == []


def test_a_process_that_asks_is_seen(offline: CleanRoad) -> None:
    _, _, talkative, asking, _ = offline.commands
    assert set(asking["names"]) == {"example.invalid"}
    # The library we switch off does ask when only DO_NOT_TRACK=1 is set: the silence above is our doing.
    assert "config.mlflow-telemetry.io" in talkative["names"], talkative["stderr"]
