//! `lab compare` as a process: two verdicts side by side.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::harness::{LAB, Scratch};

fn criterion(id: &str, value: Value, result: &str) -> Value {
    let observed = if value.is_null() { "nothing".to_owned() } else { format!("{value} MB") };
    json!({"id": id, "kind": "proof", "claim": id, "observed": observed, "value": value, "result": result, "grade": "observed"})
}

fn verdict(lab: &str, verdict: &str, criteria: &[Value]) -> Value {
    json!({"lab": lab, "run": "2026-11-28T05-00-00Z", "origin": "run", "verdict": verdict, "doubts": [], "scale": "1/4", "runs": 1,
        "control": false, "criteria": criteria, "counts": {"kills": 3, "phase": {"rows": 10}}, "environment": {"kernel": "6.1"}})
}

fn compare(a: &Value, b: &Value, arguments: &[&str]) -> Output {
    let scratch = Scratch::new();
    for (name, value) in [("a", a), ("b", b)] {
        fs::create_dir(scratch.path().join(name)).unwrap();
        fs::write(scratch.path().join(name).join("verdict.json"), value.to_string()).unwrap();
    }
    Command::new(&*LAB).current_dir(scratch.path()).args(["compare", "a", "b"]).args(arguments).output().unwrap()
}

fn compared(a: &Value, b: &Value, arguments: &[&str], code: i32) -> Value {
    let output = compare(a, b, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Signs by criterion.
fn signs(comparison: &Value) -> Vec<(&str, &str)> {
    let all = comparison["criteria"].as_array().unwrap().iter();
    all.map(|it| (it["name"].as_str().unwrap(), it["sign"].as_str().unwrap())).collect()
}

#[test]
fn a_sign_stands_where_the_result_or_the_value_differs() {
    let of = |values: [Value; 6], result| {
        let names = ["same", "near", "risen", "fallen", "zero", "unknown"];
        let mut all: Vec<_> = names.iter().zip(values).map(|(id, value)| criterion(id, value, "pass")).collect();
        all.push(criterion("result", json!(1.0), result));
        all
    };
    let mut first = of([json!(2.0), json!(100), json!(10), json!(4), json!(0), json!(null)], "pass");
    let mut second = of([json!(2.0), json!(125), json!(31), json!(1), json!(5), json!(7)], "fail");
    first.push(criterion("before", json!(1), "pass"));
    second.push(criterion("after", json!(1), "pass"));
    let (a, b) = (verdict("oom", "supported", &first), verdict("oom", "not_supported", &second));
    let answer = compared(&a, &b, &[], 1);
    let changed = [
        ("risen", "x 3.1"),
        ("fallen", "x 0.25"),
        ("zero", "~"),
        ("unknown", "~"),
        ("result", "!"),
        ("before", "only A"),
        ("after", "only B"),
    ];
    assert_eq!(signs(&answer), [&[("same", ""), ("near", "")], changed.as_slice()].concat());
    assert_eq!(signs(&compared(&a, &b, &["--only", "changed"], 1)), changed);
}

#[test]
fn equal_verdicts_end_with_0_and_what_differs_is_still_told() {
    let a = verdict("replay", "supported", &[criterion("growth", json!(2.1), "pass")]);
    let mut b = a.clone();
    b["counts"]["phase"]["rows"] = json!(12);
    b["environment"]["cores"] = json!(2);
    b["doubts"] = json!(["the clock jumped"]);
    let answer = compared(&a, &b, &[], 0);
    assert_eq!(answer["counts"], json!([{"name": "phase.rows", "a": 10, "b": 12}]));
    assert_eq!(answer["environment"], json!([{"name": "cores", "a": null, "b": 2}]));
    assert_eq!(answer["doubts"]["b"], json!(["the clock jumped"]));
    let text = String::from_utf8(compare(&a, &b, &[]).stdout).unwrap();
    for told in ["Doubt about B: the clock jumped", "phase.rows", "The verdicts are equal."] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn a_verdict_of_an_earlier_version_is_read_and_a_spread_is_shown() {
    let old = json!({"lab": "oom", "verdict": "inconclusive", "criteria": [{"id": "peak", "observed": "", "value": null, "result": "missing"}]});
    let mut peak = criterion("peak", json!(null), "inconclusive");
    peak["spread"] = json!({"low": 1.5, "high": 2.5, "runs": 5});
    let new = verdict("oom", "inconclusive", &[peak]);
    assert_eq!(signs(&compared(&old, &new, &[], 0)), [("peak", "")]);
    let text = String::from_utf8(compare(&old, &new, &[]).stdout).unwrap();
    assert!(text.contains("[1.5 to 2.5, 5 runs]"), "{text}");
}

#[test]
fn two_labs_and_a_missing_or_spoilt_verdict_are_refused_by_name() {
    let output = compare(&verdict("oom", "supported", &[]), &verdict("replay", "supported", &[]), &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(64) && told.contains("A is a run of the oom lab and B of the replay lab"),
        "{told}"
    );

    let scratch = Scratch::new();
    let run = || Command::new(&*LAB).current_dir(scratch.path()).args(["compare", ".", "."]).output().unwrap();
    let output = run();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && told.contains("verdict.json") && told.contains("lab judge"), "{told}");
    for spoilt in ["{", "[]", r#"{"lab":"oom"}"#] {
        fs::write(scratch.path().join("verdict.json"), spoilt).unwrap();
        let output = run();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(3) && told.contains("verdict.json"), "{spoilt}: {told}");
    }
}
