//! Alternating pairs of runs and what can be said about them.

use std::future::Future;

use anyhow::Result;

/// Smallest, middle and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// The spread of at least one figure.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Self { min: figures[0], median, max: figures[figures.len() - 1] }
    }
}

/// Two subjects and the ratio of the first to the second, pair by pair.
pub struct Comparison {
    pub first: Spread,
    pub second: Spread,
    pub ratio: Spread,
}

impl Comparison {
    /// Compares one figure of each pair.
    pub fn of<T>(pairs: &[(T, T)], figure: impl Fn(&T) -> f64) -> Self {
        let of = |pick: &dyn Fn(&(T, T)) -> f64| Spread::of(pairs.iter().map(pick).collect());
        Self {
            first: of(&|pair| figure(&pair.0)),
            second: of(&|pair| figure(&pair.1)),
            ratio: of(&|pair| figure(&pair.0) / figure(&pair.1)),
        }
    }
}

/// Runs both subjects in turn: A B A B ..., so that a machine that slows down slows both.
pub async fn alternate<T, A, B>(count: usize, mut first: A, mut second: B) -> Result<Vec<(T, T)>>
where
    A: AsyncFnMut() -> Result<T>,
    B: AsyncFnMut() -> Result<T>,
{
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let a = one(first()).await?;
        let b = one(second()).await?;
        pairs.push((a, b));
    }
    Ok(pairs)
}

async fn one<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    run.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_pair_by_pair() {
        let comparison = Comparison::of(&[(1.0, 2.0), (9.0, 10.0), (4.0, 4.0)], |figure| *figure);
        assert_eq!(comparison.first, Spread { min: 1.0, median: 4.0, max: 9.0 });
        assert_eq!(comparison.ratio, Spread { min: 0.5, median: 0.9, max: 1.0 });
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0, 2.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
    }
}
