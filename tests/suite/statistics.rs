//! Statistics against hand-worked values and those of SciPy 1.15.

use stillpoint::{
    bootstrap_interval, holm, mean, median, paired_t_test, percentile, standard_deviation,
    wilcoxon_signed_rank, Rng,
};

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9 * expected.abs().max(1.0)
}

#[test]
fn centre_and_spread() {
    let values = [4.0, 1.0, 3.0, 2.0, 10.0];
    assert_eq!((mean(&values), median(&values)), (4.0, 3.0));
    assert!(near(standard_deviation(&values), 12.5f64.sqrt()));
    assert_eq!(percentile(&values, 0.0), 1.0);
    assert_eq!(percentile(&values, 100.0), 10.0);
    assert_eq!(percentile(&values, 30.0), 2.2);
    assert_eq!(median(&[1.0, 2.0]), 1.5);
    assert!(median(&[]).is_nan() && standard_deviation(&[1.0]).is_nan());
}

#[test]
fn paired_tests_agree_with_scipy() {
    let a = [0.81, 0.79, 0.86, 0.75, 0.90, 0.77, 0.83, 0.80];
    let b = [0.80, 0.77, 0.87, 0.71, 0.86, 0.77, 0.80, 0.78];
    let t = paired_t_test(&a, &b).expect("pairs");
    assert!(
        near(t.statistic, 2.933693470192341) && near(t.p, 0.02190886015284273),
        "{t:?}"
    );

    let waves = |n: usize| -> (Vec<f64>, Vec<f64>) {
        (0..n)
            .map(|i| ((i as f64 * 1.7).sin() + 0.3, (i as f64 * 2.3).cos()))
            .unzip()
    };
    let (c, d) = waves(12);
    let t = paired_t_test(&c, &d).expect("pairs");
    assert!(
        near(t.statistic, 0.6898238795664102) && near(t.p, 0.504597997937885),
        "{t:?}"
    );
    let w = wilcoxon_signed_rank(&c, &d).expect("pairs");
    assert!(near(w.statistic, 32.0) && near(w.p, 0.6220703125), "{w:?}");

    let (c, d) = waves(80);
    let t = paired_t_test(&c, &d).expect("pairs");
    assert!(
        near(t.statistic, 2.6459828077305514) && near(t.p, 0.00982606716502128),
        "{t:?}"
    );
    let w = wilcoxon_signed_rank(&c, &d).expect("pairs");
    assert!(
        near(w.statistic, 1223.0) && near(w.p, 0.05689377429330834),
        "{w:?}"
    );

    // Equal ranks and zeros, above and below the size at which the probability is exact.
    let rounded =
        |v: &[f64]| -> Vec<f64> { v.iter().map(|v| (v * 4.0).round_ties_even()).collect() };
    let w = wilcoxon_signed_rank(&rounded(&c), &rounded(&d)).expect("pairs");
    assert!(
        near(w.statistic, 1000.0) && near(w.p, 0.053054186784432),
        "{w:?}"
    );
    let w = wilcoxon_signed_rank(&[1.0, 1.0, 0.0, 3.0], &[0.0, 0.0, 1.0, 3.0]).expect("pairs");
    assert_eq!((w.pairs, w.statistic, w.p), (3, 2.0, 1.0));
    let w = wilcoxon_signed_rank(&[1.0, 1.0, 2.0, 2.0, 3.0, 4.0], &[0.0; 6]).expect("pairs");
    assert_eq!((w.statistic, w.p), (0.0, 2.0 / 64.0));
}

#[test]
fn tests_without_a_difference_or_with_one_only() {
    let same = [1.0, 2.0, 3.0];
    assert_eq!(paired_t_test(&same, &same).expect("pairs").p, 1.0);
    assert_eq!(wilcoxon_signed_rank(&same, &same).expect("pairs").p, 1.0);
    assert_eq!(
        paired_t_test(&same, &[0.0, 1.0, 2.0]).expect("pairs").p,
        0.0
    );
    assert!(paired_t_test(&same, &[0.0]).is_err());
    assert!(paired_t_test(&[1.0], &[0.0]).is_err());
    assert!(wilcoxon_signed_rank(&[f64::NAN], &[0.0]).is_err());
}

#[test]
fn holm_steps_down() {
    assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}

#[test]
fn the_bootstrap_interval_covers_and_repeats() {
    let mut rng = Rng::new(4);
    let values: Vec<f64> = (0..400).map(|_| 2.0 + rng.normal()).collect();
    let interval = |seed| bootstrap_interval(&values, mean, 0.95, 2000, &mut Rng::new(seed));
    let [low, high] = interval(1).expect("values");
    let error = standard_deviation(&values) / 20.0;
    assert!(
        (low - (mean(&values) - 1.96 * error)).abs() < 0.15 * error,
        "{low}"
    );
    assert!(
        (high - (mean(&values) + 1.96 * error)).abs() < 0.15 * error,
        "{high}"
    );
    assert_eq!(interval(1).expect("values"), [low, high]);
    assert_ne!(interval(2).expect("values"), [low, high]);
    assert!(bootstrap_interval(&[], mean, 0.95, 10, &mut rng).is_err());
    assert!(bootstrap_interval(&values, mean, 95.0, 10, &mut rng).is_err());
}
