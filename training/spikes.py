"""Spikes of loss or gradient: their updates are skipped, and a run that diverges may go back and pass the data by.

The skip is decided on the device from the last losses and gradient norms, so nothing waits for it; these are part of a
checkpoint. After OLMo's SkipStepAdamW (github.com/allenai/OLMo-core): mean plus six standard deviations of the last 128
steps, the skipped ones included, so that a lasting change of level is accepted after a while. Going back and passing
data by: Chowdhery et al. 2022 (PaLM, arXiv:2204.02311), section 5.1. torch is imported on use.
"""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class SkipSpikes(BaseModel):
    """When an update is skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(
        default=128, ge=4, description="Steps whose losses and gradient norms are the measure, as OLMo's; from half on."
    )
    deviations: float = Field(
        default=6.0, gt=0, description="Standard deviations above their mean from which a step is a spike, as OLMo's."
    )


class RollBack(BaseModel):
    """How often, and from what on, a run goes back to its last checkpoint and passes by the data it read since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(
        default=2, ge=1, description="Times a run goes back; then it stops, because more often is not the data's fault."
    )
    spike_steps: int = Field(
        default=16,
        ge=2,
        description="Updates skipped in a row by skip_spikes from which a spike lasts; 16 are an eighth of its window.",
    )


class SpikeWatch:
    """The last losses and gradient norms of a run, and how many updates were skipped for them."""

    skipped: "torch.Tensor"
    """Updates skipped so far, on the device."""
    lasted: "torch.Tensor"
    """Whether lasting_steps updates in a row were skipped since the start; stays true."""
    _in_a_row: "torch.Tensor"

    def __init__(self, config: SkipSpikes, device: "torch.device", *, lasting_steps: int | None = None) -> None:
        """lasting_steps: updates skipped in a row from which `lasted` is true; None: it never is."""
        self.config = config
        self._device = device
        self._lasting_steps = lasting_steps
        self.restore(None)

    def is_spike(self, loss: "torch.Tensor", grad_norm: "torch.Tensor") -> "torch.Tensor":
        """Whether this step's update is to be skipped, as a boolean on the device; the step is remembered.

        Never true before half a window was seen, nor for numbers that are not finite: those end a run.
        """
        import torch

        spike = torch.zeros((), dtype=torch.bool, device=self._device)
        known = min(self._steps, self.config.window)
        if known >= self.config.window // 2:
            for past, now in ((self._losses, loss), (self._norms, grad_norm)):
                deviation, mean = torch.std_mean(past[:known])
                spike = spike | (now - mean > self.config.deviations * deviation)
        slot = self._steps % self.config.window
        self._losses[slot] = loss
        self._norms[slot] = grad_norm
        self._steps += 1
        self.skipped += spike
        self._in_a_row = torch.where(spike, self._in_a_row + 1, 0)
        if self._lasting_steps is not None:
            self.lasted = self.lasted | (self._in_a_row >= self._lasting_steps)
        return spike

    def start_over(self) -> None:
        """Forget how many updates in a row were skipped: the data that comes next is other data."""
        self._in_a_row.zero_()

    def record(self) -> dict[str, Any]:
        """What state.json keeps of it; floats come back from JSON exactly."""
        return {
            "steps": self._steps,
            "losses": self._losses.tolist(),
            "grad_norms": self._norms.tolist(),
            "skipped": int(self.skipped.item()),
            "in_a_row": int(self._in_a_row.item()),
        }

    def restore(self, record: dict[str, Any] | None) -> None:
        """Put back what `record` gave; None: nothing was seen yet."""
        import torch

        zeros = [0.0] * self.config.window
        record = record or {"steps": 0, "losses": zeros, "grad_norms": zeros, "skipped": 0, "in_a_row": 0}
        self._steps = int(record["steps"])
        self._losses = torch.tensor(record["losses"], dtype=torch.float32, device=self._device)
        self._norms = torch.tensor(record["grad_norms"], dtype=torch.float32, device=self._device)
        self.skipped = torch.tensor(record["skipped"], device=self._device)
        self._in_a_row = torch.tensor(record["in_a_row"], device=self._device)
        self.lasted = torch.zeros((), dtype=torch.bool, device=self._device)


def watch_for(skip: SkipSpikes | None, roll_back: RollBack | None, device: "torch.device") -> SpikeWatch | None:
    """The watch a run's options ask for; None when spikes are not skipped."""
    if skip is None:
        return None
    return SpikeWatch(skip, device, lasting_steps=roll_back.spike_steps if roll_back else None)
