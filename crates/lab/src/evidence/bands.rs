//! Bands of a measured quantity. Where each ends is data in a lab's criteria file; whatever draws or judges reads it there.

use serde::Deserialize;

/// One band: from the end of the band before it to its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    pub name: String,
    /// Share at which it ends and the next one begins. The last band has no end.
    #[serde(default = "no_end")]
    pub ends: f64,
    /// The guide's words for it.
    pub words: String,
}

fn no_end() -> f64 {
    f64::INFINITY
}

/// Bands from the lowest to the highest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Bands(Vec<Band>);

impl Bands {
    /// Whether each band ends above the one before it, and the last alone has no end.
    pub(super) fn are_in_order(&self) -> bool {
        let rise = self.0.windows(2).all(|pair| pair[0].ends < pair[1].ends);
        rise && self.0.last().is_none_or(|it| it.ends.is_infinite())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|it| it.name == name)
    }

    /// Where a band begins.
    pub fn start(&self, name: &str) -> Option<f64> {
        match self.position(name)? {
            0 => Some(0.0),
            n => Some(self.0[n - 1].ends),
        }
    }

    /// Where a band ends.
    pub fn end(&self, name: &str) -> Option<f64> {
        Some(self.0[self.position(name)?].ends)
    }

    /// The band that a share lies in; a share on an edge belongs to the higher one.
    pub fn of(&self, share: f64) -> Option<&Band> {
        self.0.iter().find(|it| share < it.ends)
    }

    /// Shares at which one band ends and the next begins.
    pub fn edges(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|it| it.ends).filter(|it| it.is_finite())
    }
}
