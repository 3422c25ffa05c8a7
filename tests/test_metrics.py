"""Metrics agree with scikit-learn, their intervals with scikit-learn on weighted rows, and hold their value."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

import zoo.metrics as zm
from zoo.metrics.bootstrap import weights

quick = settings(max_examples=60, deadline=None)
grids = st.sampled_from([2, 5, 1000])  # few distinct scores make many ties
seeds = st.integers(0, 2**32 - 1)


def values(kind, label, score, **options):
    found = zm.evaluate(kind, label, score, np.arange(len(label)), resamples=0, **options)
    return {name: metric.value for name, metric in found.items()}


def same(value, expected):
    """Equal up to rounding, where None stands for scikit-learn's NaN."""
    if value is None:
        return np.isnan(expected)
    return value == pytest.approx(float(expected), abs=1e-10, rel=1e-10)


def draw(seed, shape, grid, share=0.4):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < share, rng.integers(0, grid + 1, shape) / grid


def precise_recall(label, score, weight=None):
    """The highest recall on scikit-learn's curve at a precision of 80 %."""
    precision, recall, _ = sk.precision_recall_curve(label, score, sample_weight=weight)
    return recall[precision >= 0.8 - 1e-12].max()


def f1_of_means(label, guess, weight=None):
    """As CAML's `macro_f1`, which adds 1e-10 to each denominator, written with loops."""
    weight = np.ones(len(label)) if weight is None else weight
    precisions, recalls = [], []
    for y, p in zip(label.T, guess.T, strict=True):
        both = weight[y & p].sum()
        precisions.append(both / weight[p].sum() if p.any() else 0)
        recalls.append(both / weight[y].sum() if y.any() else 0)
    precision, recall = np.mean(precisions), np.mean(recalls)
    if not (label.any() or guess.any()):
        return np.nan
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean_over(pairs, score):
    """Mean of scikit-learn's `score` over the pairs of label and score it is defined for."""
    found = [score(y, p) for y, p in pairs]
    return np.mean(found) if found else np.nan


# Values equal scikit-learn's


@quick
@given(seeds, st.integers(2, 40), grids)
def test_binary_values_equal_sklearn(seed, n, grid):
    label, score = draw(seed, n, grid)
    label[:2] = [False, True]
    found, guess = values("binary", label, score), score >= 0.5
    assert same(found["auroc"], sk.roc_auc_score(label, score))
    assert same(found["auprc"], sk.average_precision_score(label, score))
    assert same(found["recall_at_precision_80"], precise_recall(label, score))
    assert same(found["f1"], sk.f1_score(label, guess, zero_division=0))
    assert same(found["accuracy"], sk.accuracy_score(label, guess))
    assert same(found["sensitivity"], sk.recall_score(label, guess))
    assert same(found["specificity"], sk.recall_score(label, guess, pos_label=False))
    assert same(found["brier"], sk.brier_score_loss(label, score))
    frequency, mean = calibration_curve(label, score, n_bins=10)
    count = np.bincount(np.searchsorted(np.linspace(0, 1, 11)[1:-1], score), minlength=10)
    assert same(found["ece"], (np.abs(frequency - mean) * count[count > 0]).sum() / n)


@quick
@given(seeds, st.integers(2, 40), grids)
def test_functions_take_sample_weights(seed, n, grid):
    label, score = draw(seed, n, grid)
    label[:2] = [False, True]
    weight = np.random.default_rng(seed + 1).random(n) * 3
    guess, w = score >= 0.5, {"sample_weight": weight}
    assert same(zm.auroc(label, score, weight), sk.roc_auc_score(label, score, **w))
    assert same(zm.auprc(label, score, weight), sk.average_precision_score(label, score, **w))
    assert same(zm.recall_at_precision_80(label, score, weight), precise_recall(label, score, weight))
    assert same(zm.f1(label, guess, weight), sk.f1_score(label, guess, **w))
    assert same(zm.jaccard(label, guess, weight), sk.jaccard_score(label, guess, **w))
    assert same(zm.accuracy(label, guess, weight), sk.accuracy_score(label, guess, **w))
    assert same(zm.sensitivity(label, guess, weight), sk.recall_score(label, guess, **w))
    assert same(zm.brier(label, score, weight), sk.brier_score_loss(label, score, **w))
    assert same(zm.mae(label, score, weight), sk.mean_absolute_error(label, score, **w))
    assert same(zm.r2(label, score, weight), sk.r2_score(label, score, **w))


@quick
@given(seeds, st.integers(2, 12), grids, st.sampled_from([0.1, 0.5]))
def test_a_weight_counts_rows(seed, n, grid, share):
    label, score = draw(seed, n, grid, share)
    weight = np.random.default_rng(seed + 1).integers(0, 3, n)
    weight[0] = 1
    rows = np.repeat(np.arange(n), weight)
    functions = [zm.auroc, zm.auprc, zm.recall_at_precision_80, zm.brier, zm.ece, zm.mae, zm.mse, zm.mape, zm.r2]
    for function in functions:
        np.testing.assert_allclose(function(label, score, weight), function(label[rows], score[rows]), atol=1e-12)
    guess = score >= 0.5
    for function in (zm.f1, zm.jaccard, zm.accuracy, zm.sensitivity, zm.specificity):
        np.testing.assert_allclose(function(label, guess, weight), function(label[rows], guess[rows]), atol=1e-12)
    with pytest.raises(ValueError, match="above 0"):
        zm.mae(label, score, np.zeros(n))


@quick
@given(seeds, st.integers(1, 40), st.integers(2, 6), grids)
def test_multiclass_values_equal_sklearn(seed, n, classes, grid):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    score = (rng.integers(0, grid + 1, (n, classes)) + 1e-3) / (grid + 1e-3)
    score /= score.sum(axis=1, keepdims=True)
    found, guess = values("multiclass", label, score), score.argmax(axis=1)
    present = np.unique(label)
    assert same(found["f1_macro"], sk.f1_score(label, guess, average="macro"))  # of classes that occur in either
    assert same(found["f1_weighted"], sk.f1_score(label, guess, average="weighted", zero_division=0))
    assert same(found["accuracy"], sk.accuracy_score(label, guess))
    rest = [(label == c, score[:, c]) for c in present if len(present) > 1]
    assert same(found["auroc_macro"], mean_over(rest, sk.roc_auc_score))
    if len(np.union1d(label, guess)) > 1:
        expected = sk.cohen_kappa_score(label, guess, labels=np.arange(classes), weights="linear")
        assert same(found["kappa_linear"], expected)
    else:
        assert found["kappa_linear"] is None


@quick
@given(seeds, st.integers(1, 30), st.integers(1, 6), grids, st.sampled_from([0.1, 0.5]))
def test_multilabel_values_equal_sklearn(seed, n, labels, grid, share):
    label, score = draw(seed, (n, labels), grid, share)
    score *= np.random.default_rng(seed).random(labels) ** 0.3  # of some labels nothing is predicted
    found, guess = values("multilabel", label, score, ks=(1, 3)), score >= 0.5
    some_set = label.any() or guess.any()
    views = {
        "micro": [(label.ravel(), score.ravel())],
        "macro": list(zip(label.T, score.T, strict=True)),
        "samples": list(zip(label, score, strict=True)),
    }
    for average, pairs in views.items():
        some = [pair for pair in pairs if pair[0].any()]
        mixed = [pair for pair in some if not pair[0].all()]
        assert same(found[f"auroc_{average}"], mean_over(mixed, sk.roc_auc_score))
        assert same(found[f"auprc_{average}"], mean_over(some, sk.average_precision_score))
        kept = [(y, p) for y, p in pairs if average == "samples" or y.any() or (p >= 0.5).any()] if some_set else []
        for name, score_of in (("f1", sk.f1_score), ("jaccard", sk.jaccard_score)):
            expected = mean_over(kept, lambda y, p, f=score_of: f(y, p >= 0.5, zero_division=0))
            assert same(found[f"{name}_{average}"], expected)
    if labels > 1:  # scikit-learn takes one column for two classes
        assert same(found["f1_macro"], sk.f1_score(label, guess, average="macro", zero_division=np.nan))
    assert same(found["f1_macro_of_means"], f1_of_means(label, guess))
    assert same(found["accuracy_element"], (label == guess).mean())


@quick
@given(seeds, st.integers(1, 20), st.integers(2, 8), st.integers(1, 10))
def test_top_k_counts_the_best_scored_labels(seed, n, labels, k):
    label, _ = draw(seed, (n, labels), 1)
    score = np.random.default_rng(seed).permuted(np.tile(np.arange(labels) / labels, (n, 1)), axis=1)
    label[0, 0] = True
    rows = [set(np.argsort(-s)[:k]) & set(np.flatnonzero(y)) for y, s in zip(label, score, strict=True)]
    found = values("multilabel", label, score, ks=[k])
    assert same(found[f"precision_at_{k}"], np.mean([len(hit) / k for hit in rows]))
    recalls = [len(hit) / y.sum() for hit, y in zip(rows, label, strict=True) if y.any()]
    assert same(found[f"recall_at_{k}"], np.mean(recalls))
    assert same(zm.precision_at_k(label, score, k), found[f"precision_at_{k}"])
    assert same(zm.recall_at_k(label, score, k), found[f"recall_at_{k}"])


@quick
@given(seeds, st.integers(2, 40), st.floats(-1e6, 1e6))
def test_regression_values_equal_sklearn(seed, n, offset):
    rng = np.random.default_rng(seed)
    label = rng.exponential(5, n) + 0.1 + abs(offset)
    score = label + rng.normal(0, 2, n)
    found = values("regression", label, score)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(label, score))
    assert found["mse"] == pytest.approx(sk.mean_squared_error(label, score))
    assert found["mape"] == pytest.approx(sk.mean_absolute_percentage_error(label, score))
    assert found["r2"] == pytest.approx(sk.r2_score(label, score))


def test_averages_of_the_plain_functions_equal_sklearn():
    label, score = draw(3, (40, 5), 7)
    label[~label.any(axis=1), 0] = True
    for average in ("micro", "macro", "samples"):
        expected = sk.average_precision_score(label, score, average=average)
        assert same(zm.auprc(label, score, average=average), expected)
    for average in ("micro", "macro", "weighted", "samples"):
        expected = sk.f1_score(label, score > 0.5, average=average, zero_division=0)
        assert same(zm.f1(label, score > 0.5, average=average), expected)


def test_many_labels_fall_in_several_blocks(monkeypatch):
    label, score = draw(5, (60, 11), 9)
    whole = zm.evaluate("multilabel", label, score, np.arange(60) // 2, resamples=7)
    monkeypatch.setattr("zoo.metrics.ranking.BLOCK_ITEMS", 130)
    monkeypatch.setattr("zoo.metrics.classification.BLOCK_CELLS", 130)
    monkeypatch.setattr("zoo.metrics.bootstrap.BLOCK_WEIGHTS", 130)
    parts = zm.evaluate("multilabel", label, score, np.arange(60) // 2, resamples=7)
    for name, metric in whole.items():
        assert (metric.value, metric.low, metric.high) == pytest.approx(
            (parts[name].value, parts[name].low, parts[name].high), rel=1e-12
        )


# Intervals


def interval_of(drawn, value):
    """95 % of what was drawn, about the value."""
    return tuple(np.percentile(np.array(drawn) - np.median(drawn) + value, [2.5, 97.5]))


def check_interval(kind, label, score, subject, functions):
    """`evaluate`'s interval is that of scikit-learn's `functions` on rows with the weights of the resamples."""
    found = zm.evaluate(kind, label, score, subject, resamples=20, seed=9)
    assert set(functions) == set(found)
    drawn = [w for block in weights(subject, 20, 9) for w in block]
    for name, function in functions.items():
        expected = interval_of([function(label, score, w) for w in drawn], found[name].value)
        low, high = zm.suite(kind)[name].limits
        expected = max(expected[0], low), min(expected[1], high)
        assert (found[name].low, found[name].high) == pytest.approx(expected, abs=1e-10), name


def test_binary_interval_equals_sklearn_on_weighted_rows():
    label, score = draw(0, 90, 12)
    functions = {
        "auroc": lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w),
        "auprc": lambda y, p, w: sk.average_precision_score(y, p, sample_weight=w),
        "recall_at_precision_80": precise_recall,
        "f1": lambda y, p, w: sk.f1_score(y, p >= 0.5, sample_weight=w),
        "accuracy": lambda y, p, w: sk.accuracy_score(y, p >= 0.5, sample_weight=w),
        "sensitivity": lambda y, p, w: sk.recall_score(y, p >= 0.5, sample_weight=w),
        "specificity": lambda y, p, w: sk.recall_score(~y, p < 0.5, sample_weight=w),
        "brier": lambda y, p, w: sk.brier_score_loss(y, p, sample_weight=w),
        "ece": lambda y, p, w: zm.ece(y, p, w),
    }
    check_interval("binary", label, score, np.arange(90) // 3, functions)


def test_the_calibration_error_takes_weights():
    label, score = draw(14, 60, 1000)
    weight = np.random.default_rng(14).exponential(size=60)
    where = np.ceil(score * 10).clip(1)
    gaps = [np.sum(weight[where == b] * (score - label)[where == b]) for b in range(1, 11)]
    assert zm.ece(label, score, weight) == pytest.approx(np.abs(gaps).sum() / weight.sum())


def test_multiclass_interval_equals_sklearn_on_weighted_rows():
    rng = np.random.default_rng(1)
    label, score = rng.integers(0, 4, 100), rng.dirichlet(np.ones(4), 100)
    classes = range(4)

    def f1(average):
        return lambda y, p, w: sk.f1_score(y, p.argmax(axis=1), average=average, sample_weight=w)

    def kappa(y, p, w):
        return sk.cohen_kappa_score(y, p.argmax(axis=1), labels=classes, weights="linear", sample_weight=w)

    functions = {
        "f1_macro": f1("macro"),
        "f1_weighted": f1("weighted"),
        "auroc_macro": lambda y, p, w: np.mean([sk.roc_auc_score(y == c, p[:, c], sample_weight=w) for c in classes]),
        "accuracy": lambda y, p, w: sk.accuracy_score(y, p.argmax(axis=1), sample_weight=w),
        "kappa_linear": kappa,
    }
    check_interval("multiclass", label, score, rng.integers(0, 30, 100), functions)


def test_multilabel_interval_equals_sklearn_on_weighted_rows():
    label, score = draw(2, (80, 5), 20)
    label[~label.any(axis=1), 0] = True
    label[label.all(axis=1), 0] = False
    score[:, 4] *= 0.4  # no prediction of this label
    functions = {
        "accuracy_element": lambda y, p, w: np.average((y == (p >= 0.5)).mean(axis=1), weights=w),
        "f1_macro_of_means": lambda y, p, w: f1_of_means(y, p >= 0.5, w),
    }
    for average in ("micro", "macro", "samples"):
        named = {"average": average}
        cut = {"zero_division": 0, **named}
        functions |= {
            f"auroc_{average}": lambda y, p, w, named=named: sk.roc_auc_score(y, p, sample_weight=w, **named),
            f"auprc_{average}": lambda y, p, w, named=named: sk.average_precision_score(y, p, sample_weight=w, **named),
            f"f1_{average}": lambda y, p, w, cut=cut: sk.f1_score(y, p >= 0.5, sample_weight=w, **cut),
            f"jaccard_{average}": lambda y, p, w, cut=cut: sk.jaccard_score(y, p >= 0.5, sample_weight=w, **cut),
        }
    for k in (5, 10):
        functions[f"precision_at_{k}"] = lambda y, p, w, k=k: zm.precision_at_k(y, p, k, w)
        functions[f"recall_at_{k}"] = lambda y, p, w, k=k: zm.recall_at_k(y, p, k, w)
    check_interval("multilabel", label, score, np.arange(80) // 2, functions)


def test_regression_interval_equals_sklearn_on_weighted_rows():
    rng = np.random.default_rng(4)
    label = rng.exponential(4, 70) + 0.1
    functions = {
        "mae": sk.mean_absolute_error,
        "mse": sk.mean_squared_error,
        "mape": sk.mean_absolute_percentage_error,
        "r2": sk.r2_score,
    }
    functions = {n: lambda y, p, w, f=f: f(y, p, sample_weight=w) for n, f in functions.items()}
    check_interval("regression", label, label + rng.normal(0, 1, 70), rng.integers(0, 25, 70), functions)


def test_weights_are_exponential_and_those_of_the_subject():
    subject = np.array([4, 4, 7, 9, 9, 9])
    [drawn] = weights(subject, 4000, seed=3)
    assert (drawn > 0).all()
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3] == drawn[:, 5]).all()
    one = drawn[:, [0, 2, 3]]
    np.testing.assert_allclose(one.mean(axis=1), 1)
    # A third of such a weight is Beta(1, 2): uniform on the simplex (Rubin 1981).
    assert kstest(one[:, 1] / 3, "beta", (1, 2)).pvalue > 0.01
    np.testing.assert_array_equal(next(weights(subject * 5, 9, seed=3)), drawn[:9])


def random_scores(kind, positives, rng, subjects=60):
    """Labels of which so many subjects have a positive, and scores that know nothing of them."""
    order = rng.permuted(np.tile(np.arange(subjects), (5, 1)), axis=1).T
    chosen = order < positives
    chosen[:, 1] = chosen[:, 0]  # two drugs together
    score = rng.random((subjects, 5))
    if kind == "multilabel":
        among = np.triu(rng.random((5, 5)) < 0.5, 1)
        before = np.where(rng.random((subjects, 1)) < 0.3, np.nan, rng.random((subjects, 5)) < 0.5)
        return chosen, score, {"interactions": among | among.T, "before": before}
    if kind == "multiclass":
        return chosen[:, [0, 2]].sum(axis=1), rng.dirichlet(np.ones(4), subjects), {}
    if kind == "regression":
        return 1 + 4.0 * chosen[:, 0], 1 + rng.exponential(size=subjects), {}
    return chosen[:, 0], score[:, 0], {}


def held(found):
    return found.low <= found.value <= found.high


@pytest.mark.parametrize("positives", [1, 2, 3, 50])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_intervals_hold_their_value_on_random_scores(kind, positives):
    counts = dict.fromkeys(zm.suite(kind, {"interactions": None} if kind == "multilabel" else {}), 0)
    for seed in range(200):
        label, score, options = random_scores(kind, positives, np.random.default_rng(seed))
        found = zm.evaluate(kind, label, score, np.arange(len(label)), seed=seed, resamples=40, **options)
        for name, metric in found.items():
            counts[name] += held(metric)
            low, high = zm.suite(kind, options)[name].limits
            assert low <= metric.low <= metric.high <= high
    assert min(counts.values()) >= 195, counts


def test_intervals_hold_values_that_resampling_shifts():
    """The AUPRC of many rare labels, and the error of a calibrated score, are higher under unequal weights."""
    inside = {"auprc_macro": 0, "ece": 0}
    beside = dict(inside)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        score = rng.beta(1, 3, (100, 300))
        tasks = {"auprc_macro": ("multilabel", rng.random((100, 300)) < 0.03, score)}
        tasks["ece"] = ("binary", rng.random(1000) < score[:, :10].ravel(), score[:, :10].ravel())
        for name, task in tasks.items():
            options = {"subject": np.arange(len(task[1])), "metrics": [name], "resamples": 60, "seed": seed}
            found = zm.evaluate(*task, **options)[name]
            inside[name] += held(found)
            beside[name] += found.value < np.percentile(zm.resampled(*task, **options)[name], 2.5)
    assert inside == {"auprc_macro": 20, "ece": 20}
    assert beside["auprc_macro"] > 15
    assert beside["ece"] > 0


def test_a_perfect_score_has_no_spread():
    label = np.arange(40) % 3 == 0
    found = zm.evaluate("binary", label, label.astype(float), np.arange(40))
    for name, metric in found.items():
        best = max(zm.suite("binary")[name].sign, 0)
        assert (metric.value, metric.low, metric.high) == pytest.approx((best, best, best)), name


def test_more_rows_of_the_same_subjects_do_not_shrink_the_interval():
    label, score = draw(6, 60, 1000)
    once = zm.evaluate("binary", label, score, np.arange(60))
    tenfold = zm.evaluate("binary", np.repeat(label, 10), np.repeat(score, 10), np.repeat(np.arange(60), 10))
    for name in once:
        assert (tenfold[name].low, tenfold[name].high) == pytest.approx((once[name].low, once[name].high))
    naive = zm.evaluate("binary", np.repeat(label, 10), np.repeat(score, 10), np.arange(600))
    assert naive["auroc"].high - naive["auroc"].low < (once["auroc"].high - once["auroc"].low) / 2


def test_the_interval_has_its_coverage():
    inside, options = 0, {"subject": np.repeat(np.arange(100), 3), "metrics": ["mae"]}
    for trial in range(400):
        rng = np.random.default_rng(trial)
        label = 0.6 * rng.normal(size=100)[options["subject"]] + 0.8 * rng.normal(size=300)
        found = zm.evaluate("regression", label, np.zeros(300), **options)["mae"]
        inside += found.low <= np.sqrt(2 / np.pi) <= found.high
    assert inside / 400 == pytest.approx(0.93, abs=0.03)


def test_seed_alone_decides_the_interval():
    label, score = draw(7, 50, 1000)
    subject = np.arange(50) // 2
    first, again = (zm.evaluate("binary", label, score, subject, seed=1) for _ in range(2))
    assert first == again
    assert first["auroc"] != zm.evaluate("binary", label, score, subject, seed=2)["auroc"]
    one = zm.evaluate("binary", label, score, subject, seed=1, metrics=["auprc"])
    assert one == {"auprc": first["auprc"]}
    renamed = zm.evaluate("binary", label, score, subject * 100 - 7, seed=1)
    assert renamed == first


# Undefined


@pytest.mark.parametrize(("label", "missing"), [(False, "positive"), (True, "negative")])
def test_one_class_leaves_auroc_without_a_value(label, missing):
    found = zm.evaluate("binary", np.full(7, label), np.linspace(0, 1, 7), np.arange(7))
    text = f"undefined: no {missing} among 7 labels"
    assert found["auroc"] == zm.Estimate(None, None, None, text)
    other = {"positive": ("auprc", "recall_at_precision_80", "sensitivity"), "negative": ("specificity",)}
    for name in other[missing]:
        assert found[name] == zm.Estimate(None, None, None, text)
    if missing == "positive":
        assert found["f1"] == zm.Estimate(0, 0, 0, "0 because there is no positive among 7 labels")
        nothing = zm.evaluate("binary", np.full(7, label), np.zeros(7), np.arange(7))["f1"]
        assert nothing == zm.Estimate(None, reason="undefined: neither a positive nor a prediction among 7 labels")
    defined = set(found) - {"auroc", *other[missing]}
    assert all(found[name].value is not None and found[name].low is not None for name in defined)


def test_labels_without_a_positive_are_left_out_and_counted():
    label, score = draw(8, (40, 6), 1000)
    label[:, :2], label[:, 2] = False, True
    found = zm.evaluate("multilabel", label, score, np.arange(40))
    assert found["auroc_macro"].value == pytest.approx(sk.roc_auc_score(label[:, 3:], score[:, 3:]))
    without = "2 of 6 labels without a positive"
    assert found["auroc_macro"].reason == f"{without} and 1 of 6 without a negative left out"
    assert found["auprc_macro"].reason == f"{without} left out"
    assert found["auprc_macro"].value == pytest.approx(sk.average_precision_score(label[:, 2:], score[:, 2:]))
    assert found["auroc_micro"].reason is None


def test_false_alarms_on_absent_labels_count():
    label = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]], bool)
    guess = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    found = zm.evaluate("multilabel", label, guess.astype(float), np.arange(4))
    assert found["f1_macro"].value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["jaccard_macro"].value == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found["jaccard_macro"].value == pytest.approx(sk.jaccard_score(label[:, :3], guess[:, :3], average="macro"))
    alarms = "1 of 4 labels without a positive but with predictions count as 0"
    told = f"1 of 4 labels without a positive or a prediction left out; {alarms}"
    assert found["f1_macro"].reason == found["jaccard_macro"].reason == told
    precision, recall = (1 + 1 + 0 + 0) / 4, (1 + 1 / 2 + 0 + 0) / 4
    assert found["f1_macro_of_means"].value == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["f1_macro_of_means"].reason == (
        "1 of 4 labels without a prediction have precision 0; 2 of 4 labels without a positive have recall 0"
    )
    assert found["f1_micro"].reason is None
    without = guess.astype(float)
    without[1, 2] = 0
    assert values("multilabel", label, without)["f1_macro"] == pytest.approx((1 + 2 / 3) / 2)


def test_false_alarms_alone_are_zero():
    label, guess = np.zeros((4, 3), bool), np.eye(4, 3)
    found = zm.evaluate("multilabel", label, guess, np.arange(4))
    names = [f"{m}_{a}" for m in ("f1", "jaccard") for a in ("micro", "macro", "samples")]
    for name in [*names, "f1_macro_of_means"]:
        assert found[name].value == 0
        assert found[name].reason == "0 because there is no positive among 12 labels"
    assert zm.f1(label, guess.astype(bool), average="weighted") == 0
    assert np.isnan(zm.f1(label, label, average="weighted"))


def test_recall_at_a_precision():
    score = np.arange(10, 0, -1) / 10
    label = np.array([1, 1, 1, 1, 0, 1, 0, 1, 0, 0])
    assert zm.recall_at_precision_80(label, score) == 5 / 6  # the first six hold five; the first eight hold six: 75 %
    assert zm.recall_at_precision_80([0, 1, 1, 0], [0.9, 0.8, 0.7, 0.1]) == 0
    assert zm.recall_at_precision_80([1, 0, 1, 1], [0.5] * 4) == 0
    assert zm.recall_at_precision_80([1, 0, 1, 1, 1], [0.5] * 5) == 1
    with pytest.raises(ValueError, match=r"\(n,\)"):
        zm.recall_at_precision_80(np.ones((3, 2)), np.ones((3, 2)))


def test_samples_without_a_positive_are_told():
    label, score = draw(9, (40, 6), 1000)
    label[:4], label[4:, 0], label[4:, 1] = False, True, False
    found = zm.evaluate("multilabel", label, score, np.arange(40))
    assert found["auprc_samples"].reason == "4 of 40 samples without a positive left out"
    assert found["recall_at_5"].reason == "4 of 40 samples without a positive left out"
    assert found["f1_samples"].reason == "4 of 40 samples without a positive count as 0"


def test_no_positive_anywhere_is_never_zero():
    found = zm.evaluate("multilabel", np.zeros((5, 3), bool), np.full((5, 3), 0.2), np.arange(5))
    assert found.pop("accuracy_element").value == 1
    assert all(metric.value is None and metric.reason.startswith("undefined: ") for metric in found.values())


def test_absent_classes_are_told():
    score = np.full((6, 4), 0.25)
    found = zm.evaluate("multiclass", [0, 1, 1, 0, 1, 0], score, np.arange(6))
    assert found["f1_macro"].reason == "2 of 4 classes without a positive or a prediction left out"
    one = zm.evaluate("multiclass", [0, 0, 0], score[:3], np.arange(3))
    assert one["auroc_macro"].value is None
    assert one["kappa_linear"].reason == "undefined: all labels and predictions are one class"


def test_undefined_regression():
    found = zm.evaluate("regression", [2.0, 2.0, 2.0], [1.0, 2.0, 3.0], [1, 2, 3])
    assert found["r2"] == zm.Estimate(None, None, None, "undefined: all labels are equal")
    found = zm.evaluate("regression", [0.0, 2.0, 0.0], [1.0, 2.0, 3.0], [1, 2, 3])
    assert found["mape"] == zm.Estimate(None, None, None, "undefined: 2 of 3 labels are 0")


def test_a_rare_positive_is_in_every_resample():
    label = np.arange(30) < 1
    found = zm.evaluate("binary", label, np.linspace(1, 0, 30), np.arange(30))["auroc"]
    assert (found.low, found.high, found.reason) == (1, 1, None)
    drawn = zm.resampled("multilabel", np.eye(30, 4), np.eye(30, 4)[::-1], np.arange(30), metrics=["auprc_macro"])
    assert not np.isnan(drawn["auprc_macro"]).any()


@pytest.mark.parametrize(
    ("kind", "label", "score"),
    [
        ("binary", [1], [0.9]),
        ("multiclass", [1], [[0.2, 0.5, 0.3]]),
        ("multilabel", [[1, 0]], [[0.9, 0.2]]),
        ("regression", [3.0], [2.5]),
    ],
)
def test_a_single_sample(kind, label, score):
    found = zm.evaluate(kind, label, score, [7])
    assert list(found) == list(zm.suite(kind))
    for metric in found.values():
        assert metric.low is None
        assert metric.reason
    always = {"binary": "f1", "multiclass": "accuracy", "multilabel": "auroc_samples", "regression": "mae"}
    assert found[always[kind]].value in (1, 0.5)
    assert found[always[kind]].reason == "no interval: one subject"


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_no_samples(kind):
    shape = {"multiclass": (0, 3), "multilabel": (0, 3)}.get(kind, 0)
    label = np.empty((0, 3) if kind == "multilabel" else 0)
    found = zm.evaluate(kind, label, np.empty(shape), [])
    assert all(metric.reason == "undefined: no samples" for metric in found.values())


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("binary", [0, 1], [0.1, np.nan], [1, 2]), "1 of 2 values of score are NaN"),
        (("binary", [0, 1], [0.1, 3.0], [1, 2]), "sigmoid"),
        (("binary", [0, 2], [0.1, 0.3], [1, 2]), "0 and 1"),
        (("binary", [0, 1], [0.1, 0.3, 0.4], [1, 2]), "shape"),
        (("binary", [0, 1], [0.1, 0.3], [1]), "subject"),
        (("multiclass", [0, 3], [[0.5, 0.5], [0.5, 0.5]], [1, 2]), "from 0 to 1"),
        (("regression", [0.0, np.nan], [0.1, 0.3], [1, 2]), "label"),
        (("ordinal", [0], [0.1], [1]), "unknown kind"),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        zm.evaluate(*arguments)


def test_unknown_metric_lists_the_nearest():
    with pytest.raises(ValueError, match="did you mean auroc"):
        zm.evaluate("binary", [0, 1], [0.1, 0.3], [1, 2], metrics=["auc_roc"])


# Thresholds


@quick
@given(seeds, st.integers(2, 40), grids, st.sampled_from(["f1", "accuracy"]))
def test_no_threshold_beats_the_tuned_one(seed, n, grid, metric):
    label, score = draw(seed, n, grid)
    label[0] = True
    best = zm.tune_threshold("binary", label, score, metric)
    function = {"f1": zm.f1, "accuracy": zm.accuracy}[metric]
    others = [function(label, score >= t) for t in np.append(np.unique(score), 2)]
    assert function(label, score >= best) == pytest.approx(max(others))


@pytest.mark.parametrize("metric", ["f1", "f1_macro", "f1_samples", "jaccard_macro"])
def test_no_threshold_wins_by_predicting_nothing(metric):
    """Nothing predicted is worth 0 where there is something to find, also with labels that are absent."""
    label = np.zeros((20, 3), bool)
    label[:4, 0] = True
    score = np.random.default_rng(0).random((20, 3)) * 0.6
    best = zm.tune_threshold("multilabel", label, score, metric)
    assert (score[:4, 0] >= best).any()
    with pytest.warns(UserWarning, match="without a positive no threshold is best"):
        assert zm.tune_threshold("multilabel", label & False, score, metric) == 0.5
    assert zm.tune_threshold("multilabel", label & False, score, "accuracy_element") > score.max()


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "jaccard_samples", "accuracy_element"])
def test_multilabel_threshold(metric):
    label, noise = draw(10, (50, 4), 1000)
    score = 0.3 * label + 0.5 * noise
    best = values("multilabel", label, score, threshold=zm.tune_threshold("multilabel", label, score, metric))
    for threshold in np.arange(1, 100) / 100:
        assert values("multilabel", label, score, threshold=threshold)[metric] <= best[metric]


def test_threshold_without_a_positive_warns():
    with pytest.warns(UserWarning, match="stays"):
        assert zm.tune_threshold("binary", [0, 0], [0.2, 0.9]) == 0.5
    with pytest.raises(ValueError, match="no threshold to tune"):
        zm.tune_threshold("regression", [0.0], [0.2])
    with pytest.raises(ValueError, match="no threshold to tune"):
        zm.tune_threshold("binary", [0, 1], [0.2, 0.4], "auroc")


def test_nothing_warns_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for share in (0.0, 0.1, 1.0):
            label, score = draw(11, (12, 3), 4, share)
            zm.evaluate("multilabel", label, score, np.arange(12))
            zm.evaluate("binary", label[:, 0], score[:, 0], np.arange(12))
