"""Reader of the data sets that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from bnnrl.data.columns import Columns
from bnnrl.data.source import Source

EXAMPLES = ("breast_cancer", "diabetes", "digits", "friedman1", "iris", "wine")


def read(name: str) -> Source:
    """Return one of `EXAMPLES`.

    "digits" holds images [8, 8, 1] in [0, 1]. "friedman1" holds 1000 rows of Friedman's first regression problem, with
    noise of standard deviation 1 and a fixed seed.
    """
    from sklearn import datasets  # takes a second to import

    if name == "friedman1":
        x, y = datasets.make_friedman1(n_samples=1000, n_features=10, noise=1.0, random_state=0)
        return Source(name, {"train": (x, y)}, tuple(f"x{i}" for i in range(10)))
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    x, y, classes = bunch.data, bunch.target, getattr(bunch, "target_names", None)
    class_names = None if classes is None else tuple(str(c) for c in classes)
    if name == "digits":
        return Source(name, {"train": (bunch.images[..., np.newaxis] / 16, y)}, class_names=class_names)
    names = tuple(str(f) for f in bunch.feature_names)
    return Source(name, {"train": (x, y)}, names, class_names=class_names, columns=Columns.of_numbers(names))
