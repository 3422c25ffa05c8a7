"""Bootstrap over subjects: how often each sample is drawn, and the interval from what resamples give.

The samples of one subject are alike, so whole subjects are drawn with replacement (cluster bootstrap; Field
and Welsh, J. R. Stat. Soc. B 2007). A resample is a weight for each sample, never a copy of rows.
"""

from collections.abc import Iterator

import numpy as np

COVERAGE = 0.95
BLOCK_WEIGHTS = 2**22  # weights held at a time (32 MB)


def draws(subjects: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `subjects` subjects is drawn, (subjects,) int64, for each resample.

    >>> [int(count.sum()) for count in draws(5, resamples=3, seed=0)]
    [5, 5, 5]
    """
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(subjects, size=subjects), minlength=subjects)


def weights(subject, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights (a block of resamples, n) of samples of `subject` (n,); together `resamples` rows.

    The draws depend on the seed and the number of subjects alone, not on the size of a block, so two models
    evaluated on the same samples see the same resamples.

    >>> [block] = weights([7, 7, 9], resamples=4, seed=0)
    >>> bool((block[:, 0] == block[:, 1]).all()), block.shape
    (True, (4, 3))
    """
    names, position = np.unique(np.asarray(subject), return_inverse=True)
    step = max(1, BLOCK_WEIGHTS // len(position))
    block = []
    for count in draws(len(names), resamples, seed):
        block.append(count[position].astype(np.float64))
        if len(block) == step:
            yield np.array(block)
            block = []
    if block:
        yield np.array(block)


def interval(value: np.ndarray) -> tuple[float | None, float | None, str | None]:
    """Percentile interval of `value` (resamples,), NaN where undefined, and a remark on undefined resamples.

    No interval where fewer than half of the resamples are defined.

    >>> interval(np.array([0.5, 0.5, np.nan]))
    (0.5, 0.5, '1 of 3 resamples undefined, left out of the interval')
    >>> interval(np.array([0.5, np.nan, np.nan]))
    (None, None, 'no interval: undefined in 2 of 3 resamples')
    """
    defined = value[~np.isnan(value)]
    missing = len(value) - len(defined)
    if len(value) == 0:
        return None, None, None
    if 2 * len(defined) < len(value):
        return None, None, f"no interval: undefined in {missing} of {len(value)} resamples"
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    remark = f"{missing} of {len(value)} resamples undefined, left out of the interval" if missing else None
    return float(low), float(high), remark
