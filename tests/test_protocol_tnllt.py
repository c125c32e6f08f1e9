"""`tnllt`, `lasot`, `tnl2k` and `otb` count as the MATLAB formulas do, whatever faults results have."""

import os
import shutil
import subprocess
from pathlib import Path

import matlab_formulas
import numpy as np
import pytest
from box_miniature import benchmarks, results_of, truth_of, write_toolkit
from hypothesis import example, given, settings

from evaluation.boxes.ope import NORM_PRECISION, PRECISION, SUCCESS
from evaluation.config import EvaluationSettings
from evaluation.protocols.matlab_toolkits import LASOT, OTB, TNL2K, TNLLT

NAN = float("nan")
DRIVER = """
addpath('{toolkit}/utils'); warning('off', 'all');
sequences = {{{sequences}}}; trackers = {{{trackers}}}; names = {{{names}}};
for norm = [0 1]
  folder = ['{out}/' num2str(norm) '/'];
  evalc("eval_tracker(sequences, trackers, 'OPE', names, folder, '{root}/annos/', \\
    '{root}/tracking_results/', norm == 1)");
  for kind = {{'overlap', 'error'}}
    load([folder 'aveSuccessRatePlot_' num2str(numel(trackers)) 'alg_' kind{{1}} '_OPE.mat']);
    for i = 1:numel(trackers)
      rates = reshape(ave_success_rate_plot(i, :, :), numel(sequences), []);
      dlmwrite([folder kind{{1}} '_' names{{i}} '.txt'], rates, 'precision', '%.17g', 'delimiter', ' ');
    end
  end
end
"""


def assert_same(protocol, absent_flag, benchmark, with_otb=False):
    """Every rate of every sequence, and the figures over all, are those of the formulas."""
    truth, flags, results = benchmark
    absent = [[flag == absent_flag for flag in each] for each in flags]
    scores = protocol.scorer(truth_of(truth, absent))(results_of(results, truth))
    wanted = matlab_formulas.figures(truth, flags, results, absent_flag, with_otb)
    for key, rates in wanted.rates.items():
        if key in scores.curves:
            rates = np.array(rates)
            zero = rates.sum(axis=1) <= matlab_formulas.EPS
            assert np.array_equal(np.isnan(scores.curves[key]).all(axis=1), zero), key
            assert np.array_equal(scores.curves[key][~zero], 100 * rates[~zero]), key
    for key, value in scores.overall.items():
        plain = getattr(wanted, key)
        assert value == pytest.approx(NAN if plain is None else 100 * plain, abs=1e-10, nan_ok=True), key


@settings(max_examples=150, deadline=None)
@example(([[[5, 5, 9, 9]] * 3], [[1, 1, 1]], [[[NAN, 5, 9, 9], [0, 0, 0, 0], [5, 5, 9, 9]]]))
@example(([[[5, 5, 9, 9]] * 2], [[1, 0]], [[[5, 5, 0, 9], [5, 5, -1, 9]]]))
@example(([[[0, 5, 9, 9], [NAN] * 4]], [[1, 1]], [[[5, 5, 9, 9], [5, 5, 0, 9]]]))
@example(([[[5, 5, 9, 9], [NAN] * 4, [5, 5, 9, 9]]], [[1] * 3], [[[5, 5, 9, 9], [0] * 4, [0] * 4]]))
@example(([[[5, 5, 20, 1]] * 2], [[1, 1]], [[[5, 5, 13, 1], [5, 5, 13, 1]]]))  # an overlap of 13/20
@example(([[[5, 5, 20, 1]] * 2], [[1, 1]], [[[5, 5, 9, 9], [5.1, 5, 14, 1]]]))  # of 0.7, but for a bit
@example(
    ([[[10, 23, 20, 19]] * 2], [[1, 1]], [[[5, 5, 9, 9], [13, 23, 20, 19]]])
)  # an error of 0.15, likewise
@given(benchmarks())
def test_tnllt_equals_the_matlab_formulas(benchmark):
    assert_same(TNLLT, 0, benchmark)


@settings(max_examples=50, deadline=None)
@given(benchmarks())
def test_lasot_and_tnl2k_turn_the_flag(benchmark):
    assert_same(LASOT, 1, benchmark)
    assert_same(TNL2K, 1, benchmark)
    assert (TNLLT.absent_flag, LASOT.absent_flag, TNL2K.absent_flag) == (0, 1, 1)


@settings(max_examples=80, deadline=None)
@example(([[[5, 5, 9, 9]] * 2], [[1, 1]], [[[5, 5, 9, 9], [NAN, 5, 9, 9]]]))  # not repaired by OTB
@given(benchmarks())
def test_otb_counts_absent_frames_and_repairs_less(benchmark):
    truth, flags, results = benchmark
    scores = OTB.scorer(truth_of(truth, [[True] * len(each) for each in flags]))
    wanted = matlab_formulas.figures(truth, flags, results, None, otb=True)
    found = scores(results_of(results, truth))
    assert set(found.overall) == {SUCCESS, PRECISION}
    for key in (SUCCESS, PRECISION):
        rates = np.array(wanted.rates[key])
        kept = rates.sum(axis=1) > matlab_formulas.EPS
        assert np.array_equal(found.curves[key][kept], 100 * rates[kept])


def test_the_order_of_mends_shows():
    """An invalid second result repeats the first *result*, not the truth that takes its place later."""
    truth = [[[10.0, 10.0, 20.0, 20.0]] * 2]
    results = [[[100.0, 100.0, 20.0, 20.0], [0.0, 0.0, 0.0, 0.0]]]
    scores = TNLLT.scorer(truth_of(truth, [[False, False]]))(results_of(results, truth))
    assert scores.curves[SUCCESS][0, 0] == pytest.approx(50)
    assert scores.frame_overlap.tolist() == [1.0, 0.0]


def test_absent_frames_are_divided_by_and_a_border_box_is_precise():
    truth = [[[10.0, 10.0, 20.0, 20.0], [0.0, 10.0, 20.0, 20.0], [10.0, 10.0, 20.0, 20.0]]]
    results = [[[10.0, 10.0, 20.0, 20.0], [500.0, 500.0, 1.0, 1.0], [10.0, 10.0, 20.0, 20.0]]]
    scores = TNLLT.scorer(truth_of(truth, [[False, False, True]]))(results_of(results, truth))
    assert scores.overall[PRECISION] == pytest.approx(200 / 3)
    assert scores.overall[NORM_PRECISION] == pytest.approx(200 / 3)
    assert scores.overall[SUCCESS] == pytest.approx(100 / 3 * 20 / 21)


def test_long_benchmarks_count_as_short_ones():
    """More frames than one stretch holds: whole sequences are counted, each once."""
    rng = np.random.default_rng(5)
    truth = [
        np.concatenate([rng.integers(1, 50, (n, 2)), rng.integers(5, 30, (n, 2))], axis=1).astype(float)
        for n in (9000, 3, 5000, 4000, 1, 8192)
    ]
    results = [each + rng.normal(0, 3, each.shape) for each in truth]
    score = TNLLT.scorer(truth_of([t.tolist() for t in truth]))
    together = score(results_of([r.tolist() for r in results], truth))
    for number, (true, result) in enumerate(zip(truth, results, strict=True)):
        alone = TNLLT.scorer(truth_of([true.tolist()]))(results_of([result.tolist()], [true]))
        assert np.array_equal(alone.curves[SUCCESS][0], together.curves[SUCCESS][number])
        assert alone.overall[SUCCESS] == pytest.approx(together.by_sequence[SUCCESS][number], abs=1e-10)


def ten_trackers(seed: int = 3):
    """Three sequences and trackers that grow worse from t0 to t9, with faults of every kind."""
    rng = np.random.default_rng(seed)
    truth = [
        np.concatenate([rng.integers(0, 60, (40, 2)), rng.integers(0, 25, (40, 2))], axis=1).astype(float)
        for _ in range(3)
    ]
    flags = [[int(rng.random() < 0.9) for _ in range(40)] for _ in range(3)]
    trackers = {}
    for number in range(10):
        results = [each + np.round(rng.normal(0, 1 + number, each.shape), 1) for each in truth]
        for each in results:
            each[rng.integers(0, 40, 4)] = [[NAN] * 4, [0] * 4, [3, 3, -2, 5], [3, NAN, 4, 5]]
        trackers[f"t{number}"] = [each.tolist() for each in results]
    return [each.tolist() for each in truth], flags, trackers


def test_ten_trackers_come_best_first(tmp_path):
    truth, flags, trackers = ten_trackers()
    write_toolkit(tmp_path, truth, flags, trackers)
    scored = TNLLT.evaluate(
        EvaluationSettings(truth=str(tmp_path / "annos"), results=str(tmp_path / "tracking_results"))
    )
    plain = {name: matlab_formulas.figures(truth, flags, each).success for name, each in trackers.items()}
    assert [each.tracker for each in scored.trackers] == sorted(plain, key=lambda name: -plain[name])
    for each in scored.trackers:
        assert each.overall[SUCCESS] == pytest.approx(100 * plain[each.tracker], abs=1e-10)


@pytest.mark.skipif(not shutil.which("octave-cli"), reason="octave-cli is not installed")
@pytest.mark.skipif(
    "REFERTRACK_TNLLT_TOOLKIT" not in os.environ, reason="REFERTRACK_TNLLT_TOOLKIT is not set"
)
def test_tnllt_equals_the_real_toolkit_in_octave(tmp_path):
    """REFERTRACK_TNLLT_TOOLKIT: TNLLT_Evaluation_Toolkit of https://github.com/Event-AHU/Open_VLTrack."""
    truth, flags, trackers = ten_trackers()
    write_toolkit(tmp_path, truth, flags, trackers)
    script = tmp_path / "driver.m"
    script.write_text(
        DRIVER.format(
            toolkit=os.environ["REFERTRACK_TNLLT_TOOLKIT"],
            root=tmp_path,
            out=tmp_path / "out",
            sequences=", ".join(f"'s{number}'" for number in range(len(truth))),
            trackers=", ".join(f"struct('name', '{name}')" for name in trackers),
            names=", ".join(f"'{name}'" for name in trackers),
        )
    )
    done = subprocess.run(["octave-cli", "--norc", script], capture_output=True, text=True, check=False)
    for name, results in trackers.items():
        absent = [[flag == 0 for flag in each] for each in flags]
        scores = TNLLT.scorer(truth_of(truth, absent))(results_of(results, truth))
        for key, file in ((SUCCESS, "0/overlap"), (PRECISION, "0/error"), (NORM_PRECISION, "1/error")):
            path = Path(tmp_path / "out" / f"{file}_{name}.txt")
            assert path.is_file(), done.stderr
            assert np.array_equal(scores.curves[key], 100 * np.loadtxt(path, ndmin=2)), (name, key)
