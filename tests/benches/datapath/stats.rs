//! Quartiles.

use serde::Serialize;

/// The middle of some measurements, and how far they spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quartiles {
    pub(crate) p25: f64,
    pub(crate) median: f64,
    pub(crate) p75: f64,
}

impl Quartiles {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { p25: at(&values, 0.25), median: at(&values, 0.5), p75: at(&values, 0.75) }
    }
}

/// Interpolated between the two nearest.
fn at(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (low, high) = (position.floor(), position.ceil());
    let (below, above) = (sorted[low as usize], sorted[high as usize]);
    below + (above - below) * (position - low)
}
