"""The ranks of continued pre-training run the loop of pre-training."""

from training.loops.pretrain import train

__all__ = ["train"]
