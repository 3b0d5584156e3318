//! Each operator on small tables.

use kql::{Database, Query};

use crate::support::{answer, columns, database, refusal, show};

const ROWS: &str = "datatable (a:int, b:string, c:real) [1, 'x', 1.5, 2, 'y', real(null), 3, 'x', 0.5]";

fn rows(query: &str) -> String {
    answer(&format!("{ROWS} | {query}"))
}

#[test]
fn where_keeps_what_is_true_and_not_what_is_null() {
    assert_eq!(rows("where c > 0"), "1|x|1.5\n3|x|0.5");
    assert_eq!(rows("where not(c > 1)"), "3|x|0.5");
    assert_eq!(rows("filter a in (1, 2) and b == 'y'"), "2|y|null");
}

#[test]
fn columns_are_made_kept_dropped_renamed_and_ordered() {
    assert_eq!(rows("extend d = a * 2, b = strcat(b, '!')"), "1|x!|1.5|2\n2|y!|null|4\n3|x!|0.5|6");
    assert_eq!(rows("project d = a, c"), "1|1.5\n2|null\n3|0.5");
    assert_eq!(rows("project-away b, c"), "1\n2\n3");
    assert_eq!(rows("project-keep c, a | take 1"), "1|1.5");
    assert_eq!(columns(&format!("{ROWS} | project-rename z = a")), "z:int, b:string, c:real");
    assert_eq!(columns(&format!("{ROWS} | project-reorder c")), "c:real, a:int, b:string");
    assert_eq!(columns("T | project-away s*, *y*"), "n:long, r:real, t:datetime, p:timespan, b:bool, i:int, g:guid");
}

#[test]
fn order_is_descending_with_nulls_last_unless_it_says_otherwise() {
    assert_eq!(rows("order by c | project a"), "1\n3\n2");
    assert_eq!(rows("order by c asc | project a"), "2\n3\n1");
    assert_eq!(rows("sort by c desc nulls first | project a"), "2\n1\n3");
    assert_eq!(rows("sort by c asc nulls last | project a"), "3\n1\n2");
    assert_eq!(rows("sort by b asc, a desc | project a"), "3\n1\n2");
    assert_eq!(rows("top 2 by a | project a"), "3\n2");
    assert_eq!(rows("take 2 | project a"), "1\n2");
    assert_eq!(rows("limit 0"), "");
}

#[test]
fn rows_are_counted_grouped_and_made_distinct() {
    assert_eq!(rows("count"), "3");
    assert_eq!(rows("distinct b"), "x\ny");
    assert_eq!(rows("project b | distinct *"), "x\ny");
    assert_eq!(rows("summarize n = count(), total = sum(a) by b"), "x|2|4\ny|1|2");
    assert_eq!(rows("summarize by b"), "x\ny");
    assert_eq!(rows("where a > 9 | summarize n = count()"), "0");
}

#[test]
fn a_union_has_all_columns_and_splits_those_of_two_types() {
    let query =
        "let l = datatable (a:int, b:string) [1, 'x']; let r = datatable (a:string, c:long) ['q', 5]; union l, r";
    assert_eq!(columns(query), "a_int:int, a_string:string, b:string, c:long");
    assert_eq!(answer(query), "1||x|null\nnull|q||5");
    let inner =
        "let l = datatable (a:int, b:string) [1, 'x']; let r = datatable (a:int, c:long) [2, 5]; union kind=inner l, r";
    assert_eq!((columns(inner).as_str(), answer(inner).as_str()), ("a:int", "1\n2"));
    let sources = "let l = print a = 1; let r = print a = 2; union withsource=from_table l, r | where a > 1 | summarize count() by from_table";
    assert_eq!(answer(sources), "r|1");
    assert_eq!(answer("print a = 1 | union (print a = 2), (print a = 3) | summarize sum(a)"), "6");
}

#[test]
fn joins_pair_rows_of_equal_keys() {
    let sides = "let l = datatable (k:string, v:int) ['a', 1, 'a', 2, 'b', 3, 'c', 4]; let r = datatable (k:string, w:int) ['a', 10, 'b', 20, 'b', 21];";
    let join = |it: &str| answer(&format!("{sides} l | join {it} | sort by v asc"));
    assert_eq!(join("kind=inner r on k"), "1|a|10|a".replace("1|a|10|a", "a|1|a|10\na|2|a|10\nb|3|b|20\nb|3|b|21"));
    assert_eq!(join("r on k"), "a|1|a|10\nb|3|b|20\nb|3|b|21");
    assert_eq!(join("kind=leftouter (r) on $left.k == $right.k"), "a|1|a|10\na|2|a|10\nb|3|b|20\nb|3|b|21\nc|4||null");
    assert_eq!(join("kind=leftanti r on k"), "c|4");
    assert_eq!(join("kind=leftsemi (r | where w > 10) on k"), "b|3");
    assert_eq!(columns(&format!("{sides} l | join r on k")), "k:string, v:int, k1:string, w:int");
}

#[test]
fn a_null_key_joins_with_nothing() {
    let query = "let l = datatable (k:long) [long(null), 1]; l | join kind=inner l on k";
    assert_eq!(answer(query), "1|1");
}

#[test]
fn parse_reads_texts_between_texts() {
    let parsed = |message: &str, how: &str, pattern: &str| {
        answer(&format!("print m = '{message}' | parse {how} with {pattern} | project-away m"))
    };
    let line = |message: &str, pattern: &str| parsed(message, "m", pattern);
    let iteration = r#"* "batch=" batch:int " iteration=" iter:int "/" total:int " elapsed=" elapsed_ms:real "ms""#;
    assert_eq!(line("ReplayIteration batch=2 iteration=7/200 elapsed=12.5ms", iteration), "2|7|200|12.5");
    assert_eq!(line("ReplayIteration batch=2 iteration=x/200 elapsed=12.5ms", iteration), "null|null|null|null");
    assert_eq!(line("nothing", iteration), "null|null|null|null");
    assert_eq!(line("iteration=50/200 elapsed=1ms", r#"* "iteration=" iter:int "/" total:int *"#), "50|200");
    assert_eq!(line("a=1 b=two", r#""a=" a:long " b=" b"#), "1|two");
    assert_eq!(parsed("a=x b=two", "kind=relaxed m", r#""a=" a:long " b=" b"#), "null|two");
    assert_eq!(
        line("took 00:00:01.5 at 2026-04-05T01:00:00Z", r#""took " p:timespan " at " t:datetime"#),
        "00:00:01.5000000|2026-04-05T01:00:00.0000000Z"
    );
    assert_eq!(answer("datatable (m:string) ['a=1', 'b=2'] | parse-where m with 'a=' a:int"), "a=1|1");
}

#[test]
fn windows_look_at_rows_in_their_order() {
    assert_eq!(
        rows("serialize | extend before = prev(a), after = next(b, 1, '-') | project before, after"),
        "null|y\n1|x\n2|-"
    );
    assert_eq!(
        rows("order by a desc | extend n = row_number(), total = row_cumsum(a) | project n, total"),
        "1|3\n2|5\n3|6"
    );
    assert_eq!(rows("serialize n = row_number(10) | where n > 10 | extend p = prev(n) | project p"), "null\n11");
    assert!(refusal("T | extend x = prev(n)").message.contains("serialize"));
}

#[test]
fn render_is_ignored_with_a_note() {
    let output =
        Query::parse("print 1 | render timechart with (title='x')").unwrap().run(&Database::default()).unwrap();
    assert_eq!(output.notes, ["render is ignored: the answer is the table"]);
}

#[test]
fn ranges_and_literal_tables_make_rows() {
    assert_eq!(answer("range x from 1 to 5 step 2"), "1\n3\n5");
    assert_eq!(answer("range x from 3 to 1 step -1"), "3\n2\n1");
    assert_eq!(answer("range x from 0.5 to 1 step 0.25"), "0.5\n0.75\n1.0");
    assert_eq!(answer("range t from datetime(2026-04-05) to datetime(2026-04-06) step 12h | count"), "3");
    assert_eq!(answer("range x from 1 to 5 step 0"), "");
    assert_eq!(answer("datatable (t:datetime, y:dynamic) [datetime(null), dynamic([1])]"), "null|[1]");
}

#[test]
fn arrays_are_expanded_into_rows() {
    assert_eq!(answer("print k = 'a', y = dynamic([1, 2]) | mv-expand y"), "a|1\na|2");
    assert_eq!(answer("print y = dynamic([1, 'x']) | mv-expand z = y to typeof(long) | project z"), "1\nnull");
}

#[test]
fn lets_name_scalars_and_tables_and_may_hide_tables() {
    assert_eq!(answer("let a = 2; let b = a + 1; print b"), "3");
    assert_eq!(answer("let T = T | where n > 0 | project n; // hides it\nT;"), "7");
    assert_eq!(answer("let t = T; t | count"), "3");
}

#[test]
fn the_second_use_of_now_is_the_first() {
    let query = Query::parse("print now()").unwrap();
    assert_eq!(show(&query.run(&database()).unwrap().table), "2026-03-31T23:33:20.0000000Z");
}

#[test]
fn values_cross_into_json_and_back() {
    for (expression, json) in [
        ("datetime(2026-04-05)", r#""2026-04-05T00:00:00.0000000Z""#),
        ("1d", r#""1.00:00:00.0000000""#),
        ("1.5s", r#""00:00:01.5000000""#),
        ("real(nan)", r#""NaN""#),
        ("dynamic([1])", "[1]"),
        ("'x'", r#""x""#),
        ("long(null)", "null"),
        ("true", "true"),
    ] {
        let query = Query::parse(&format!("print {expression}")).unwrap();
        let table = query.run(&database()).unwrap().table;
        let value = table.rows().next().unwrap().remove(0);
        assert_eq!(value.to_json().to_string(), json, "{expression}");
        assert_eq!(kql::Value::from_json(table.columns()[0].kind, &value.to_json()), Some(value), "{expression}");
    }
    assert_eq!(
        kql::Value::from_json(kql::Type::TimeSpan, &serde_json::json!(1500)),
        kql::Value::parse(kql::Type::TimeSpan, "00:00:01.5")
    );
    assert_eq!(kql::Value::from_json(kql::Type::Int, &serde_json::json!("x")), None);
    assert_eq!(kql::Value::parse(kql::Type::DateTime, "yesterday"), None);
}
