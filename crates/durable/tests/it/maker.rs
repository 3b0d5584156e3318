//! Programs that chance makes.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use serde_json::{Value, json};

use super::program::{End, Leaf, Program, Step};

/// How deep branches are nested.
const DEPTH: u32 = 2;

pub(super) struct Maker {
    pub(super) rng: ChaCha8Rng,
    /// Whether this life is about versions.
    pub(super) has_versions: bool,
    /// Names (but one) and inputs are not used twice: an event whose wait was given up is another's in Microsoft's SDKs and the next
    /// waiter's in ours, a child's id is made of its input, and attempts are counted by theirs.
    used: u32,
}

impl Maker {
    pub(super) fn new(mut rng: ChaCha8Rng) -> Self {
        let has_versions = rng.next_u32().is_multiple_of(4);
        Self { rng, has_versions, used: 0 }
    }

    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn unused(&mut self) -> u32 {
        self.used += 1;
        self.used
    }

    pub(super) fn program(&mut self) -> Program {
        let count = 1 + self.below(6);
        let mut steps = self.steps(count, DEPTH, &mut Vec::new());
        if self.below(12) == 0 {
            let t = vec![self.leaf(true), self.activity("bad"), self.leaf(true)];
            steps.push(Step::All { t, catch: false });
        }
        let end = match self.below(6) {
            0 => End::Fail,
            1 => End::Again { save: true },
            2 => End::Again { save: false },
            _ => End::Return,
        };
        Program { steps, end, round: 0 }
    }

    /// `begun` has the names of what was begun and not taken yet.
    fn steps(&mut self, count: u32, depth: u32, begun: &mut Vec<String>) -> Vec<Step> {
        (0..count).map(|_| self.step(depth, begun)).collect()
    }

    fn step(&mut self, depth: u32, begun: &mut Vec<String>) -> Step {
        match self.below(18) {
            0 => Step::Status { v: json!({ "step": self.below(100) }) },
            1 => Step::Uuid,
            2 if self.has_versions => Step::Version,
            2..=4 => Step::Await { t: self.awaited(depth) },
            5 => Step::Await { t: self.retry() },
            6 | 7 => Step::All { t: self.leaves(false), catch: false },
            8 => Step::All { t: self.leaves(true), catch: true },
            9..=11 => Step::Any { t: self.runners() },
            12..=14 if depth > 0 => self.join(depth - 1, begun),
            15 | 16 if !begun.is_empty() => {
                let at = self.below(begun.len() as u32) as usize;
                Step::Take { name: begun.remove(at) }
            }
            _ => {
                let name = format!("task{}", self.unused());
                begun.push(name.clone());
                Step::Begin { name, t: self.leaf(true) }
            }
        }
    }

    /// What was begun before is taken by one branch at most; what no branch took may be taken after the join.
    fn join(&mut self, depth: u32, begun: &mut Vec<String>) -> Step {
        let count = 2 + self.below(3);
        let mut b = vec![Vec::new(); count as usize];
        let mut begun_in = vec![Vec::new(); count as usize];
        for name in begun.drain(..) {
            begun_in[self.below(count) as usize].push(name);
        }
        for (branch, begun) in b.iter_mut().zip(&mut begun_in) {
            let count = self.below(3);
            branch.extend(self.steps(count, depth, begun));
        }
        if self.below(3) > 0 {
            self.talk(&mut b, depth, &mut begun_in);
        }
        *begun = begun_in.concat();
        Step::Join { b }
    }

    /// In .NET the listener goes on within the speaker's call, in Rust once the speaker waits. So that they ask for the same in the
    /// same order all the same, all branches have begun when one speaks, and it does nothing more before it is spoken to.
    fn talk(&mut self, branches: &mut [Vec<Step>], depth: u32, begun_in: &mut [Vec<String>]) {
        let count = branches.len() as u32;
        let mut speaker = self.below(count);
        branches[speaker as usize].push(Step::Await { t: self.activity("good") });
        for _ in 0..1 + self.below(5) {
            let listener = (speaker + 1 + self.below(count - 1)) % count;
            let c = format!("channel{}", self.unused());
            branches[speaker as usize].push(Step::Send { c: c.clone(), v: json!(self.below(100)) });
            speaker = listener;
            let more = self.below(2);
            let more = self.steps(more, depth, &mut begun_in[listener as usize]);
            let branch = &mut branches[listener as usize];
            branch.push(Step::Recv { c });
            branch.extend(more);
        }
    }

    /// Outside of branches some waits share a name, as no two of them are under way at once: .NET gives an event to the latest.
    fn awaited(&mut self, depth: u32) -> Leaf {
        match self.leaf(true) {
            Leaf::Event { .. } if depth == DEPTH && self.below(2) == 0 => Leaf::Event { n: "Shared".to_owned() },
            leaf => leaf,
        }
    }

    /// Some, or none.
    fn leaves(&mut self, may_fail: bool) -> Vec<Leaf> {
        (0..self.below(5)).map(|_| self.leaf(may_fail)).collect()
    }

    fn runners(&mut self) -> Vec<Leaf> {
        (0..1 + self.below(4)).map(|_| self.leaf(true)).collect()
    }

    fn leaf(&mut self, may_fail: bool) -> Leaf {
        loop {
            let kind = if self.below(4) == 0 { "bad" } else { "good" };
            let leaf = match self.below(7) {
                0 | 1 => self.activity(kind),
                2 => self.retry(),
                3 | 4 => Leaf::Timer { s: u64::from(1 + self.below(100)) },
                5 => Leaf::Event { n: format!("Event{}", self.unused()) },
                _ => Leaf::Sub { n: format!("{kind}-child"), i: self.input(), v: self.version() },
            };
            if may_fail || !leaf.fails() {
                return leaf;
            }
        }
    }

    fn activity(&mut self, kind: &str) -> Leaf {
        Leaf::Activity { n: format!("{kind}-activity"), i: self.input(), v: self.version() }
    }

    fn input(&mut self) -> Value {
        json!({ "x": self.unused() })
    }

    fn version(&mut self) -> Option<String> {
        (self.has_versions && self.below(3) == 0).then(|| format!("{}.0", self.below(3)))
    }

    fn retry(&mut self) -> Leaf {
        let max = 1 + self.below(4);
        // Few use up their attempts.
        let flaky = if self.below(10) == 0 { max } else { self.below(max) };
        Leaf::Retry {
            n: "flaky-activity".to_owned(),
            i: json!({ "flaky": flaky, "x": self.unused() }),
            max,
            first: u64::from(1 + self.below(9)),
            coef: f64::from(1 + self.below(3)),
        }
    }
}
