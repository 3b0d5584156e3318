//! The README's table of the guides: all of both guides is in it, and what it points to is there.

use std::{collections::BTreeSet, fs, process::Command};

use crate::{harness::LAB, tidy::root};

/// What both guides have beside their queries, as `(guide, how the row begins)`. The queries are found in `load/*/queries/printed`.
const OF_THE_GUIDES: &[(&str, &[&str])] = &[
    (
        "OOM",
        &[
            "prerequisites",
            "variables",
            "3.1 ",
            "`artifacts/oom-buffering-app.zip`",
            "`artifacts/oom-streaming-app.zip`",
            "3.2 ",
            "`load/phase1`, `load/phase2`, `load/phase3`",
            "3.3 baseline",
            "3.4 container `input`",
            "3.4 incident phases",
            "3.5 incident evidence",
            "3.6 remediation",
            "3.6 the same load again",
            "`evidence/oom/kql-session.json`",
            "`evidence/oom/timeline.csv`",
            "table: EP1 memory bands",
            "table: timeline anchor and phases",
            "table: baseline observations",
            "table: condensed incident timeline",
            "log excerpts",
            "proof and disproof criteria",
            "table: hypothesis verdict",
            "tables: expected evidence",
            "evidence timeline",
            "evidence chain",
            "clean-up",
        ],
    ),
    (
        "replay",
        &[
            "prerequisites and variables",
            "blueprint",
            "the app's package",
            "table: required roles",
            "3.1 ",
            "3.2 ",
            "3.3 ",
            "3.4 ",
            "3.5 ",
            "3.6 ",
            "3.9 decision flow",
            "4.1 table",
            "4.2 table",
            "4.3 table",
            "4.4 table",
            "4.5 table",
            "4.6, 4.7 tables",
            "4.8 table",
            "4.9 table",
            "4.10 table",
            "table: competing hypotheses",
            "proof checklist, falsification",
            "tables: expected evidence",
            "evidence chain, query-to-evidence mapping",
            "operator checklist",
            "clean-up",
        ],
    ),
];

/// Guide, what it has, what it is here, and whether that ran on Azure.
struct Row([String; 4]);

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let table = page.split_once("<!-- parity").unwrap().1.split_once("<!-- /parity -->").unwrap().0;
    let lines = table.lines().filter_map(|it| it.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = lines.map(|it| it.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    rows.skip(1)
        .map(|cells| Row(cells.try_into().unwrap_or_else(|it| panic!("a row has four cells: {it:?}"))))
        .collect()
}

#[test]
fn every_step_table_and_artefact_of_the_guides_has_its_row_and_says_whether_it_ran_on_azure() {
    let rows = rows();
    for (guide, all) in OF_THE_GUIDES {
        for what in *all {
            let found = rows.iter().filter(|it| it.0[0] == *guide && it.0[1].starts_with(what)).count();
            assert_eq!(found, 1, "{guide}: {what}");
        }
    }
    for Row([guide, what, here, azure]) in &rows {
        assert!(["OOM", "replay"].contains(&guide.as_str()) && here.len() > 5, "{guide}: {what}: {here}");
        // Whoever runs one on Azure writes down when: a date as in `2026-11-25`.
        let is_dated = azure.len() == 10 && azure.starts_with("20");
        assert!(azure == "never" || is_dated, "{what}: {azure}");
    }
}

#[test]
fn every_query_that_the_guides_print_has_its_row() {
    let linked: BTreeSet<String> = rows()
        .iter()
        .flat_map(|it| {
            it.0[2].split("](").skip(1).map(|it| it.split(')').next().unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let mut printed = 0;
    for lab in ["oom", "replay"] {
        let folder = format!("load/{lab}/queries");
        for entry in fs::read_dir(root().join(&folder).join("printed")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(linked.contains(&format!("{folder}/printed/{name}")), "{name} has no row");
            let corrected = format!("{folder}/component/{name}");
            assert!(
                linked.contains(&corrected) || !root().join(&corrected).exists(),
                "{name}: the corrected one has no row"
            );
            printed += 1;
        }
    }
    assert!(printed >= 26, "{printed} queries");
}

/// Files must exist, commands of the lab must be understood, files of a run's folder must be described.
#[test]
fn what_the_table_points_to_is_there() {
    let evidence = fs::read_to_string(root().join("docs/evidence.md")).unwrap()
        + &fs::read_to_string(root().join("load/replay/LAB.md")).unwrap();
    let (mut files, mut commands) = (0, BTreeSet::new());
    for Row([_, what, here, _]) in rows() {
        for it in here.split('`').skip(1).step_by(2) {
            let (first, _) = it.split_once('/').unwrap_or_default();
            if ["infra", "load", "src", "functions"].contains(&first) {
                assert!(root().join(it).exists(), "{what}: {it} does not exist");
                files += 1;
            } else if let Some(arguments) = it.strip_prefix("cargo lab ") {
                let arguments =
                    arguments.split(' ').map(|it| it.replace("URL", "http://127.0.0.1").replace("DIR", "."));
                commands.insert(arguments.collect::<Vec<_>>());
            } else if here.contains("of the run folder") && it.contains('.') {
                assert!(evidence.contains(&format!("`{it}`")), "{what}: no page describes {it}");
            }
        }
    }
    for arguments in &commands {
        let run = Command::new(&*LAB).args(arguments).arg("--help").output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {run:?}");
    }
    assert!(files > 25 && commands.len() > 8, "{files} files, {} commands", commands.len());
}
