//! Queries that are none: mutations of those that are, and random ones. None panics, hangs or outgrows its limits.

use std::fs;

use kql::{Limits, Query};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::support::{database, root, schemas};

/// Queries to start from: the guides', and those of this folder's tests.
fn corpus() -> Vec<String> {
    let mut all = Vec::new();
    for lab in ["oom", "replay"] {
        for entry in fs::read_dir(root().join("load").join(lab).join("queries/printed")).unwrap() {
            all.push(fs::read_to_string(entry.unwrap().path()).unwrap());
        }
    }
    for source in ["functions", "operators", "refused"] {
        let text = fs::read_to_string(format!("{}/tests/it/{source}.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let literals = text.split('"').filter(|it| it.len() > 8 && !it.contains('\n'));
        all.extend(literals.map(|it| if it.contains('|') { it.to_owned() } else { format!("T | extend x = {it}") }));
    }
    all.sort();
    all
}

struct Mutator {
    random: ChaCha8Rng,
    corpus: Vec<String>,
    tokens: Vec<String>,
}

impl Mutator {
    fn new(seed: u64) -> Self {
        let corpus = corpus();
        let split =
            |it: &String| it.split_inclusive(|it: char| !it.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
        let tokens = corpus.iter().flat_map(split).collect();
        Self { random: ChaCha8Rng::seed_from_u64(seed), corpus, tokens }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random.next_u64() % limit.max(1) as u64) as usize
    }

    /// Tokens and characters of any kind behind the beginnings of a query, as often as not.
    fn random(&mut self) -> String {
        let begins =
            ["T | where ", "requests | summarize ", "print ", "let a = ", "union ", "T | parse name with ", ""];
        let mut text = begins[self.below(begins.len())].to_owned();
        for _ in 0..self.below(40) {
            if self.below(12) == 0 {
                text.extend(char::from_u32(self.random.next_u32() % 0x11_0000));
            } else {
                let token = self.below(self.tokens.len());
                text += &self.tokens[token];
            }
        }
        text
    }

    fn next(&mut self) -> String {
        if self.below(5) == 0 {
            return self.random();
        }
        let at = self.below(self.corpus.len());
        let text = self.corpus[at].clone();
        let mut tokens: Vec<String> =
            text.split_inclusive(|it: char| !it.is_alphanumeric()).map(str::to_owned).collect();
        for _ in 0..=self.below(3) {
            self.mutate(&mut tokens);
        }
        tokens.concat()
    }

    fn mutate(&mut self, tokens: &mut Vec<String>) {
        let (at, other) = (self.below(tokens.len()), self.below(tokens.len()));
        if tokens.is_empty() {
            return;
        }
        match self.below(8) {
            0 => tokens.swap(at, other),
            1 => drop(tokens.remove(at)),
            2 => tokens.insert(at, tokens[other].clone()),
            3 => {
                let token = self.below(self.tokens.len());
                tokens[at] = self.tokens[token].clone();
            }
            4 => {
                let byte = char::from(self.random.next_u32() as u8);
                tokens.insert(at, byte.to_string());
            }
            5 => {
                let nest = ["(", "[", "-", "not(", "strcat(", "| where (", "{"][self.below(7)];
                let times = self.below(300);
                tokens.insert(at, nest.repeat(times));
            }
            6 => {
                let number = [
                    "99999999999999999999",
                    "9223372036854775807",
                    "-1",
                    "1e308",
                    "0x7fffffffffffffff",
                    "1000000d",
                    "0",
                ][self.below(7)];
                tokens[at] = format!("{number} ");
            }
            _ => tokens.truncate(at),
        }
    }
}

fn try_all(count: usize, seed: u64) {
    let mut database = database();
    for (name, schema) in schemas("documented") {
        database.insert(name, kql::Table::new(schema, Vec::new()));
    }
    let mut mutator = Mutator::new(seed);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..count {
        let text = mutator.next();
        match Query::parse(&text).and_then(|it| it.run_within(&database, Limits::new(2_000, 20_000, 1 << 20))) {
            Ok(output) => ran += output.table.len().min(1),
            Err(error) => {
                refused += 1;
                assert!(text.is_char_boundary(error.span.start), "{text}");
                assert!(!error.render(&text).is_empty());
            }
        }
    }
    assert!(ran > count / 50, "only {ran} of {count} mutants ran");
    assert!(refused > count / 50, "only {refused} of {count} mutants were refused");
}

#[test]
fn random_and_mutated_queries_end_in_an_answer_or_an_error() {
    try_all(20_000, 1);
}

#[test]
#[ignore = "takes 20 s: run it after a change of lexer, parser or binder, with cargo test -- --ignored"]
fn a_hundred_thousand_random_and_mutated_queries_end_in_an_answer_or_an_error() {
    try_all(100_000, 2);
}
