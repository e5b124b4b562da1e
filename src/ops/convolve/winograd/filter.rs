//! Minimal filtering along one axis: how many products it takes for how many results.

use super::factors::Factors;
use super::points;

/// Results of a tile across rows, whatever the taps.
pub(super) const ROWS: usize = 4;

/// The algorithm for an axis.
pub(super) struct Filter {
    pub taps: usize,
    /// Results that are computed together.
    pub results: usize,
    /// Products of as many results, and inputs that they take.
    pub products: usize,
    /// Of the taps in the products.
    pub factors: Factors,
}

impl Filter {
    /// An axis with a single tap.
    const NONE: Self = Self {
        taps: 1,
        results: 1,
        products: 1,
        factors: Factors::ONE,
    };
    const TWO_OF_THREE: Self = Self {
        taps: 3,
        results: 2,
        products: 4,
        factors: points::factors_of_four(),
    };
    const FOUR_OF_THREE: Self = Self {
        taps: 3,
        results: ROWS,
        products: 6,
        factors: points::factors_of_six(),
    };
    const FOUR_OF_FIVE: Self = Self {
        taps: 5,
        results: ROWS,
        products: 8,
        factors: points::factors_of_eight(),
    };

    /// For kernels of so many taps across rows and planes, if there are any: of the rows and of the planes.
    pub(super) fn pair(rows: usize, planes: usize) -> Option<[&'static Self; 2]> {
        match (rows, planes) {
            (3, 1) => Some([&Self::FOUR_OF_THREE, &Self::NONE]),
            (3, 3) => Some([&Self::FOUR_OF_THREE, &Self::TWO_OF_THREE]),
            (5, 1) => Some([&Self::FOUR_OF_FIVE, &Self::NONE]),
            (5, 5) => Some([&Self::FOUR_OF_FIVE, &Self::FOUR_OF_FIVE]),
            _ => None,
        }
    }

    /// How far before the first result of a tile its first input lies.
    pub(super) fn before(&self) -> usize {
        self.taps / 2
    }

    /// How many tiles hold so many results.
    pub(super) fn tiles(&self, results: usize) -> usize {
        results.div_ceil(self.results)
    }

    /// Inputs that so many tiles side by side take.
    pub(super) fn inputs(&self, tiles: usize) -> usize {
        tiles * self.results + self.products - self.results
    }
}
