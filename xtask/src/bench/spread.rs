//! Lowest, median and highest of repeated measurements.

use anyhow::{Context, Result};

/// What repeated measurements of one thing come to, in their own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) lowest: f64,
    pub(super) median: f64,
    pub(super) highest: f64,
}

impl Spread {
    /// # Errors
    /// When there is nothing to sum up.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Result<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = values.first().zip(values.last()).context("nothing was measured")?;
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Ok(Spread { lowest: *lowest, median, highest: *highest })
    }

    /// The value that all but `percent` of a hundred do not pass, by the nearest rank.
    ///
    /// # Errors
    /// When there is nothing to sum up.
    pub(super) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> Result<f64> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() * percent).div_ceil(100).max(1);
        values.get(rank - 1).copied().context("nothing was measured")
    }

    /// The cells of a table's row, with this many digits after the point.
    pub(super) fn cells(&self, digits: usize) -> String {
        format!("{:.digits$} | {:.digits$} | {:.digits$}", self.lowest, self.median, self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).unwrap().cells(1), "1.0 | 2.0 | 3.0");
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert!(Spread::of([]).is_err());
        assert_eq!(Spread::percentile((1..=20).map(f64::from), 95).unwrap(), 19.0);
        assert_eq!(Spread::percentile([3.0], 95).unwrap(), 3.0);
        assert!(Spread::percentile([], 95).is_err());
    }
}
