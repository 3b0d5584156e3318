//! The load as data, and its plan at a scale: which blobs, how many at once, how large.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::Deserialize;

use super::OomLab;
use crate::{
    app::preset::EP1_MIB,
    judgement::RulesError,
    labs::{Lab, run::scenario},
};
use incident_labs::{
    blob::{HEAD_ROOM_BYTES, MIB, reservable_bytes},
    settings::STREAMING_BYTES,
};

const GUIDE: &str = include_str!("../../../../../load/oom/scenario.toml");
const GUIDE_WINDOWS: &str = include_str!("../../../../../load/oom/scenario-azure.toml");
const LAPTOP: Scale = Scale(0.25);
const EP1: Scale = Scale(1.0);
/// Above this share of the limit one blob alone would fill half the worker.
const LARGEST_BLOB: f64 = 0.5;
/// The band that the streaming variant must stay below, or recovery could not be told from the incident.
const INCIDENT_BAND: &str = "degraded";

/// A scenario, and the scale it is run at.
#[derive(Clone, Debug, clap::Args)]
pub struct ScaledScenario {
    /// Share of an EP1: its 3584 MiB and the guide's blobs of 100, 500 and 1024 MiB are multiplied by it.
    /// [default: 1/4; on Azure 1]
    #[arg(long)]
    pub scale: Option<Scale>,
    /// Another load than load/oom/scenario.toml.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// The guide's windows of 15, 15, 15, 10 and 15 minutes, load/oom/scenario-azure.toml; the load on Azure unless --scenario names another.
    #[arg(long, conflicts_with = "scenario")]
    pub guide_windows: bool,
}

impl ScaledScenario {
    /// The scale that was asked for, or a laptop's.
    pub fn scale(&self) -> Scale {
        self.scale.unwrap_or(LAPTOP)
    }

    /// The guide's windows on a whole EP1, unless something else was asked for.
    pub fn go_to_azure(&mut self) {
        self.scale = self.scale.or(Some(EP1));
        self.guide_windows = self.scenario.is_none();
    }

    /// Reads the scenario, the guide's if no file is named, and plans it.
    ///
    /// # Errors
    /// When it cannot be read, or not be run at this scale.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let built_in = if self.guide_windows { GUIDE_WINDOWS } else { GUIDE };
        Ok(scenario(self.scenario.as_deref(), built_in, Scenario::parse)?.plan(self.scale())?)
    }
}

/// Share of an EP1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(f64);

impl Scale {
    /// The worker's memory limit at this scale.
    pub fn limit_bytes(self) -> u64 {
        self.of(EP1_MIB * MIB)
    }

    /// A share of a number of bytes.
    fn of(self, bytes: u64) -> u64 {
        (bytes as f64 * self.0).round() as u64
    }

    /// The same share of a time.
    pub fn seconds(self, full: f64) -> f64 {
        full * self.0
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |it: &str| it.trim().parse::<f64>().ok();
        let value = match text.split_once('/') {
            Some((top, bottom)) => number(top).zip(number(bottom)).map(|(top, bottom)| top / bottom),
            None => number(text),
        };
        match value {
            Some(value) if value > 0.0 && value <= 1.0 => Ok(Self(value)),
            _ => Err("expected a share of an EP1 above 0 and at most 1, as 1/4 or 0.25".to_owned()),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = 1.0 / self.0;
        match parts {
            1.0 => f.write_str("1"),
            _ if parts == parts.round() => write!(f, "1/{parts}"),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// `scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    seed: u64,
    control: ControlSpec,
    phase: Vec<PhaseSpec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlSpec {
    blob_mib: f64,
    per_second: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseSpec {
    name: String,
    #[serde(default)]
    blob_mib: u64,
    #[serde(default)]
    limit_share: Option<f64>,
    #[serde(default)]
    beyond_reservable: Option<u64>,
    #[serde(default)]
    bursts: usize,
    #[serde(default)]
    every_s: f64,
    #[serde(default)]
    length_s: f64,
    #[serde(default)]
    repeats: Vec<String>,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML of this shape.
    #[error("understand the scenario")]
    Invalid(#[from] toml::de::Error),
    /// A phase that says nothing, or two things.
    #[error("phase {0}: give it either `repeats`, or blob_mib, bursts and one of limit_share and beyond_reservable")]
    Phase(String),
    /// A repetition of nothing.
    #[error("phase {phase} repeats {wanted}, which is no phase before it")]
    Repeats { phase: String, wanted: String },
    /// There is no such phase.
    #[error("there is no phase {0} in the scenario")]
    Unknown(String),
    /// Blobs too large for the limit.
    #[error(
        "phase {phase}: a blob of {blob_mib} MiB and {} MiB of head-room exceed half of the limit of {limit_mib} MiB, so \
         that too few overlap: take a larger scale", HEAD_ROOM_BYTES / MIB
    )]
    BlobTooLarge {
        phase: String,
        /// Its blobs at this scale.
        blob_mib: u64,
        /// The limit at this scale.
        limit_mib: u64,
    },
    /// The cure would not show.
    #[error(
        "at scale {scale} the streaming variant's {} MiB exceed {share} of the limit of {limit_mib} MiB, so that \
         recovery could not be told from the incident: take a larger scale", STREAMING_BYTES / MIB
    )]
    ScaleTooSmall {
        scale: Scale,
        /// Where the incident's bands begin.
        share: f64,
        limit_mib: u64,
    },
    #[error(transparent)]
    Criteria(#[from] RulesError),
}

/// A blob that is uploaded once and copied for each burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name among the sources in the account, and relative path where load is written as files.
    pub name: String,
    pub bytes: u64,
    /// Which of the seed's streams.
    pub stream: u64,
}

/// Blobs at once, some times.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// The phase that defines it.
    pub class: String,
    /// One for each blob.
    pub sources: Vec<Source>,
    pub times: usize,
    /// From one start to the next, at least.
    pub every: Duration,
    /// From the first start until what comes next, at least.
    pub length: Duration,
}

/// A window of the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: String,
    /// What is released in it, in order.
    pub bursts: Vec<Burst>,
}

/// A scenario at a scale.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Share of an EP1.
    pub scale: Scale,
    /// Content comes from it.
    pub seed: u64,
    /// Size of a control blob.
    pub control_bytes: u64,
    /// From one control blob to the next.
    pub control_every: Duration,
    pub phases: Vec<Phase>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// When it is not TOML of this shape.
    pub(super) fn parse(text: &str) -> Result<Self, PlanError> {
        Ok(toml::from_str(text)?)
    }

    /// Works out sizes and counts at a scale.
    ///
    /// # Errors
    /// When it contradicts itself, or the experiment could not show anything at that scale.
    pub(super) fn plan(&self, scale: Scale) -> Result<Plan, PlanError> {
        let limit = scale.limit_bytes();
        let share = OomLab::rules()?.bands.start(INCIDENT_BAND).unwrap_or_default();
        if STREAMING_BYTES as f64 > share * limit as f64 {
            return Err(PlanError::ScaleTooSmall { scale, share, limit_mib: limit / MIB });
        }
        let mut phases: Vec<Phase> = Vec::new();
        let mut streams = 1..;
        for spec in &self.phase {
            let bursts = match spec.repeats.as_slice() {
                [] => vec![spec.burst(scale, &mut streams)?],
                repeats => spec.fitted(repeated(&spec.name, repeats, &phases)?),
            };
            phases.push(Phase { name: spec.name.clone(), bursts });
        }
        Ok(Plan {
            scale,
            seed: self.seed,
            control_bytes: (self.control.blob_mib * MIB as f64) as u64,
            control_every: Duration::from_secs_f64(1.0 / self.control.per_second),
            phases,
        })
    }
}

fn repeated(phase: &str, repeats: &[String], phases: &[Phase]) -> Result<Vec<Burst>, PlanError> {
    let found = repeats.iter().map(|wanted| {
        let missing = || PlanError::Repeats { phase: phase.to_owned(), wanted: wanted.clone() };
        phases.iter().find(|it| it.name == *wanted).map(|it| it.bursts.clone()).ok_or_else(missing)
    });
    Ok(found.collect::<Result<Vec<_>, _>>()?.concat())
}

impl PhaseSpec {
    /// Repeated bursts within the phase's own length, where it has one: the same blobs, the waits between them in the same proportion.
    fn fitted(&self, mut bursts: Vec<Burst>) -> Vec<Burst> {
        let total: f64 = bursts.iter().map(|it| it.length.as_secs_f64()).sum();
        if self.length_s > 0.0 && total > 0.0 {
            for burst in &mut bursts {
                let share = |it: Duration| Duration::from_secs_f64(it.as_secs_f64() * self.length_s / total);
                (burst.every, burst.length) = (share(burst.every), share(burst.length));
            }
        }
        bursts
    }

    fn burst(&self, scale: Scale, streams: &mut impl Iterator<Item = u64>) -> Result<Burst, PlanError> {
        let (bytes, limit) = (scale.of(self.blob_mib * MIB), scale.limit_bytes());
        if bytes == 0 || self.bursts == 0 {
            return Err(PlanError::Phase(self.name.clone()));
        }
        if (bytes + HEAD_ROOM_BYTES) as f64 > LARGEST_BLOB * limit as f64 {
            let phase = self.name.clone();
            return Err(PlanError::BlobTooLarge { phase, blob_mib: bytes / MIB, limit_mib: limit / MIB });
        }
        let blobs = match (self.limit_share, self.beyond_reservable) {
            (Some(share), None) => (share * limit as f64 / bytes as f64).round().max(1.0) as u64,
            (None, Some(beyond)) => reservable_bytes(limit) / bytes + beyond,
            _ => return Err(PlanError::Phase(self.name.clone())),
        };
        let source = |n: u64| Source {
            name: format!("{}/{n:02}.bin", self.name),
            bytes,
            stream: streams.next().unwrap_or_default(),
        };
        Ok(Burst {
            class: self.name.clone(),
            sources: (0..blobs).map(source).collect(),
            times: self.bursts,
            every: Duration::from_secs_f64(self.every_s),
            length: Duration::from_secs_f64(self.length_s),
        })
    }
}

impl Phase {
    /// How long it takes at least.
    pub fn length(&self) -> Duration {
        self.bursts.iter().map(|it| it.length).sum()
    }
}

impl Plan {
    /// How long all phases take at least.
    pub fn length(&self) -> Duration {
        self.phases.iter().map(Phase::length).sum()
    }

    /// The phases with these names, in that order; all of them when none is named.
    ///
    /// # Errors
    /// When there is no such phase.
    pub fn select(mut self, names: &[String]) -> Result<Self, PlanError> {
        if !names.is_empty() {
            let find = |name: &String| self.phases.iter().find(|it| it.name == *name).cloned();
            let found = names.iter().map(|name| find(name).ok_or_else(|| PlanError::Unknown(name.clone())));
            self.phases = found.collect::<Result<_, _>>()?;
        }
        Ok(self)
    }

    /// Every blob that is uploaded before the first phase, once.
    pub fn sources(&self) -> Vec<Source> {
        let released = self.phases.iter().flat_map(|it| &it.bursts).flat_map(|it| &it.sources);
        let by_stream: BTreeMap<u64, &Source> = released.map(|it| (it.stream, it)).collect();
        by_stream.into_values().cloned().collect()
    }

    pub fn source_bytes(&self) -> u64 {
        self.sources().iter().map(|it| it.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scale: &str) -> Result<Plan, PlanError> {
        Scenario::parse(GUIDE).unwrap().plan(scale.parse().unwrap())
    }

    #[test]
    fn the_guides_load_follows_from_the_limit_at_each_scale() {
        for (scale, limit_mib, sizes_kib) in [
            ("1/8", 448, [12_800, 64_000, 131_072]),
            ("1/4", 896, [25_600, 128_000, 262_144]),
            ("1/2", 1792, [51_200, 256_000, 524_288]),
            ("1", 3584, [102_400, 512_000, 1_048_576]),
        ] {
            let plan = plan(scale).unwrap();
            assert_eq!(plan.scale.limit_bytes(), limit_mib * MIB, "{scale}");
            assert_eq!(plan.scale.to_string(), scale);
            let facts = |name: &str| {
                let burst = &plan.phases.iter().find(|it| it.name == name).unwrap().bursts[0];
                let share = (burst.sources.len() as u64 * burst.sources[0].bytes) as f64 / (limit_mib * MIB) as f64;
                (burst.sources.len(), burst.sources[0].bytes / 1024, share)
            };
            let [small, middle, large] = sizes_kib;
            assert_eq!((facts("load-1").0, facts("load-1").1), (14, small), "{scale}");
            assert!((0.30..0.46).contains(&facts("load-1").2), "{scale}");
            assert_eq!((facts("load-2").0, facts("load-2").1), (4, middle), "{scale}");
            assert!((0.52..0.72).contains(&facts("load-2").2), "{scale}");
            assert_eq!((facts("incident").0, facts("incident").1), (7, large), "{scale}");
        }
    }

    #[test]
    fn recovery_repeats_the_same_load_from_the_same_sources() {
        let plan = plan("1/4").unwrap();
        let of = |name: &str| plan.phases.iter().find(|it| it.name == name).unwrap().bursts.clone();
        assert_eq!(of("recovery-a"), [of("load-1"), of("load-2"), of("incident")].concat());
        assert_eq!(of("recovery-b"), of("baseline"));
        let sources = plan.sources();
        assert_eq!(sources.len(), 2 + 14 + 4 + 7);
        let mut streams: Vec<u64> = sources.iter().map(|it| it.stream).collect();
        streams.dedup();
        assert_eq!(streams.len(), sources.len(), "no two have the same content");
    }

    #[test]
    fn a_scale_at_which_nothing_could_be_shown_is_refused_with_the_numbers() {
        let error = plan("1/20").unwrap_err().to_string();
        assert!(error.contains("64 MiB exceed 0.34 of the limit of 179 MiB"), "{error}");
        for bad in ["0", "2", "1/0", "x", "-1", ""] {
            assert!(bad.parse::<Scale>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scenario_that_contradicts_itself_is_refused() {
        let base = "seed = 1\n[control]\nblob_mib = 1\nper_second = 2\n[[phase]]\nname = \"p\"\n";
        for (phase, want) in [
            ("blob_mib = 100", "phase p: give it either"),
            ("blob_mib = 100\nbursts = 1", "phase p: give it either"),
            ("blob_mib = 100\nbursts = 1\nlimit_share = 0.1\nbeyond_reservable = 1", "phase p: give it either"),
            ("repeats = [\"q\"]", "phase p repeats q"),
            ("blob_mib = 2000\nbursts = 1\nlimit_share = 0.1", "exceed half of the limit of 896 MiB"),
        ] {
            let scenario = Scenario::parse(&format!("{base}{phase}\n")).unwrap();
            let error = scenario.plan(Scale(0.25)).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        assert!(plan("1/4").unwrap().select(&["x".to_owned()]).unwrap_err().to_string().contains("no phase x"));
    }
}
