"""Is a source unlike everything that the network has learnt from? A distance in the space of its attended features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from radio_ag.errors import WeightsError
from radio_ag.network.model import CLASSES


@dataclass(frozen=True)
class FeatureModel:
    """Gaussian classes with one covariance (Lee et al. 2018, arXiv:1807.03888, eqs. 1, 2).

    Attributes
    ----------
    means : ndarray, shape (classes, features)
        Mean features of each class, standardised as ``(features - centre) / scale``.
    precision : ndarray, shape (features, features)
        Inverse of the covariance within classes.
    centre, scale : ndarray, shape (features,)
    """

    means: NDArray[np.float64]
    precision: NDArray[np.float64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, features: ArrayLike, labels: ArrayLike, shrinkage: float = 0.1) -> FeatureModel:
        """Fit to training features.

        Parameters
        ----------
        features : array_like, shape (n, features)
        labels : array_like of int, shape (n,)
        shrinkage : float
            Share of the identity in the covariance of the standardised features, without which features that hardly
            vary would decide.
        """
        features, labels = np.asarray(features, float), np.asarray(labels)
        centre, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        standard = (features - centre) / scale
        means = np.stack([standard[labels == label].mean(0) for label in np.unique(labels)])
        within = standard - means[np.searchsorted(np.unique(labels), labels)]
        covariance = (1 - shrinkage) * within.T @ within / len(within) + shrinkage * np.eye(len(centre))
        return cls(means, np.linalg.inv(covariance), centre, scale)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], features: int, classes: int = len(CLASSES)) -> FeatureModel:
        """Take a model out of the tensors beside a network's own, where it is kept as ``novelty.NAME``.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        features : int
            How many features the networks give.
        classes : int
            How many classes they tell apart.

        Raises
        ------
        WeightsError
            One of the tensors is missing, of another shape, or not finite.
        """
        shapes: dict[str, tuple[int, ...]] = {"means": (classes, features), "precision": (features, features)}
        shapes |= {"centre": (features,), "scale": (features,)}
        for name, shape in shapes.items():
            tensor = tensors.get(f"novelty.{name}")
            if tensor is None or tensor.shape != shape or not tensor.is_floating_point() or not tensor.isfinite().all():
                found = "missing" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"
                raise WeightsError(f"the tensor novelty.{name} is {found}, expected finite numbers of shape {shape}")
        return cls(**{name: tensors[f"novelty.{name}"].double().numpy() for name in shapes})

    def distance(self, features: ArrayLike) -> NDArray[np.float64]:
        """Return the Mahalanobis distance from the nearest class, shape (n,).

        Parameters
        ----------
        features : array_like, shape (n, features)
        """
        standard = (np.asarray(features, float) - self.centre) / self.scale
        difference = standard[:, None, :] - self.means
        squared = np.einsum("nkf,fg,nkg->nk", difference, self.precision, difference)
        return np.sqrt(squared.min(1))
