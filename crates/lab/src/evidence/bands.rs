//! Bands of a measured quantity. Where each ends is data in a lab's criteria file; whatever draws or judges reads it there.

use serde::{Deserialize, Serialize};

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

/// A band in MB.
#[derive(Clone, Debug, Serialize)]
pub struct BandEdges {
    pub name: String,
    pub words: String,
    #[serde(rename = "fromMB")]
    pub from_mb: f64,
    /// None for the last.
    #[serde(rename = "toMB")]
    pub to_mb: Option<f64>,
}

/// Bands from the lowest to the highest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Bands(Vec<Band>);

impl Bands {
    /// Whether each band ends above the one before it, and the last alone has no end.
    pub fn are_in_order(&self) -> bool {
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

    /// The bands of a worker with a limit of so many MB.
    pub fn edges_of(&self, limit_mb: f64) -> Vec<BandEdges> {
        let starts = std::iter::once(0.0).chain(self.edges());
        let edges = self.0.iter().zip(starts).map(|(band, start)| BandEdges {
            name: band.name.clone(),
            words: band.words.clone(),
            from_mb: start * limit_mb,
            to_mb: band.ends.is_finite().then_some(band.ends * limit_mb),
        });
        edges.collect()
    }

    /// Shares at which one band ends and the next begins.
    pub fn edges(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|it| it.ends).filter(|it| it.is_finite())
    }
}
