//! What is refused: with which code, where, and with which way out.

use kql::{ErrorKind, Limits, Query};

use crate::support::{database, refusal};

#[test]
fn words_of_the_language_are_names_in_brackets_alone() {
    for query in [
        "T | extend first = 1",
        "T | summarize last = max(n)",
        "T | summarize count() by kind = s",
        "T | project-rename others = s",
        "let missing = 1; T",
        "T | extend ['asc'] = 1 | where asc == 1",
        "T | extend ['has'] = 1 | project has",
        "T | extend x = d.latest",
        "datatable(flags: long) [1]",
        "T | parse s with 'a' timeline",
    ] {
        assert_eq!(refusal(query).code, Some("KS228"), "{query}");
    }
    for query in [
        "T | extend ['first'] = 1, First = 2, firsts = 3 | where ['first'] < First",
        "T | extend title = s, count = 1, id = 2 | where count == 1",
        "T | extend ['kind'] = s | where kind == 'a' | summarize count() by kind",
    ] {
        Query::parse(query).unwrap().run(&database()).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[test]
fn refusals_carry_microsofts_codes() {
    for (query, code) in [
        ("Request | take 5", "KS204"),
        ("T | where foo == 1", "KS142"),
        ("T | summarize a = count(), b = a", "KS142"),
        ("T | where strlne(s) == 1", "KS211"),
        ("T | wher n == 1", "KS176"),
        ("T | where s = 'a'", "KS141"),
        ("T | where s", "KS141"),
        ("T | where", "KS006"),
        ("T | where (n", "KS005"),
        ("T | where s == \"abc", "KS001"),
        ("T | extend x = 1 +", "KS006"),
        ("T | order by n asc nulls", "KS006"),
        ("T | take 'a'", "KS134"),
        ("T | top 5", "KS005"),
        ("T | join kind=foo (T) on s", "KS005"),
        ("T | join kind=inner T on $left.s == $right.n", "KS242"),
        ("T | parse s with * 'a' x:foo", "KS160"),
        ("T | render foo", "KS005"),
        ("T | summarize percentile(n, s)", "KS137"),
        ("T | summarize percentile(n)", "KS119"),
        ("T | where s between (1 .. 2)", "KS106"),
        ("T | project-away zz", "KS142"),
        ("T | distinct *", "KS116"),
        ("T | summarize count() by y", "KS116"),
        ("T | extend x = iff(s, 1, 2)", "KS107"),
        ("T | extend x = datetime_diff('foo', t, t)", "KS140"),
        ("T | extend x = round(s)", "KS137"),
        ("T | extend x = strlen(n)", "KS141"),
        ("T | extend x = toreal(r / 1ms)", "KS106"),
        ("T | extend x = bin(t, 5)", "KS127"),
        ("T | extend x = count()", "KS144"),
        ("T | summarize x = sum(s)", "KS138"),
        ("T | summarize x = avg(s)", "KS127"),
        ("T | summarize x = max(y)", "KS206"),
        ("T | summarize x = n", "KS236"),
        ("T | extend a = 1, a = 2", "KS171"),
        ("let x = 5; let x = 6; print x", "KS201"),
        ("T | where not b", "KS117"),
        ("T | where s > 'a'", "KS106"),
        ("T | where n has 'a'", "KS106"),
        ("T | extend x = n[0]", "KS147"),
        ("datatable (a:int, b:int) [1]", "KS173"),
        ("T | extend x = trim(s, s)", "KS129"),
    ] {
        let error = refusal(query);
        assert_eq!(error.code, Some(code), "{query}: {error}");
    }
}

#[test]
fn a_caret_stands_below_the_fault() {
    let query = "let a = 1;\nT\n| where s has 'x'\n| extend z = srtlen(s)";
    let expected =
        "KS211: The name 'srtlen' does not refer to any known function. Did you mean 'strlen'? (line 4, column 14)
  |
4 | | extend z = srtlen(s)
  |              ^^^^^^
";
    assert_eq!(refusal(query).render(query), expected);
    let query = "T | summarize total = count(), share = 100.0 * failures / total";
    let expected = "KS142: The name 'failures' does not refer to any known column, table, variable or function. (line 1, column 48)
  |
1 | T | summarize total = count(), share = 100.0 * failures / total
  |                                                ^^^^^^^^
";
    assert_eq!(refusal(query).render(query), expected);
}

#[test]
fn misspelt_names_get_the_nearest() {
    for (query, hint) in [
        ("t | take 1", "'T'"),
        ("T | summarise count()", "'summarize'"),
        ("T | summarize coutn()", "'count'"),
        ("let threshold = 1; T | where n > treshold", "'threshold'"),
        ("T | join kind=iner T on s", "'inner'"),
        ("datatable (a:strng) ['x']", "'string'"),
    ] {
        let error = refusal(query);
        assert!(error.message.contains(&format!("Did you mean {hint}?")), "{query}: {error}");
    }
}

#[test]
fn what_kusto_has_and_the_subset_lacks_is_called_so() {
    for query in [
        "T | evaluate bag_unpack(y)",
        "T | make-series count() on t step 1h",
        "T | sample 3",
        "T | extend x = parse_url(s)",
        "T | summarize hll(s)",
        "T | join kind=fullouter T on s",
        "T | parse kind=regex s with 'a' x",
        "let f = (x:long) { x + 1 }; print f(2)",
        "print toscalar(T | count)",
        "search 'x'",
        "union T*",
        "set notruncation; T",
        "T; T",
    ] {
        let error = refusal(query);
        assert_eq!(error.kind, ErrorKind::Outside, "{query}: {error}");
        assert!(error.message.contains("outside the subset"), "{query}: {error}");
    }
}

#[test]
fn limits_are_named_where_they_are_met() {
    let limited = |query: &str, limits: Limits| {
        Query::parse(query).and_then(|it| it.run_within(&database(), limits)).unwrap_err()
    };
    let rows = limited("range x from 1 to 1000 step 1", Limits::new(100, 1_000_000, 1_000_000));
    assert_eq!((rows.kind, rows.message.contains("more than 100 rows")), (ErrorKind::Limit, true), "{rows}");
    let pairs = limited(
        "let a = range x from 1 to 90 step 1 | extend k = 1; a | join kind=inner a on k",
        Limits::new(100, 1_000_000, 1_000_000),
    );
    assert_eq!(pairs.kind, ErrorKind::Limit, "{pairs}");
    let work = limited("range x from 1 to 1000 step 1 | where x > 1", Limits::new(10_000, 1_500, 1_000_000));
    assert!(work.message.contains("visits more than 1500 rows"), "{work}");
    let doubled = format!("print a = 'aaaaaaaa' {}", "| extend a = strcat(a, a) ".repeat(40));
    let bytes = limited(&doubled, Limits::new(100, 1_000_000, 1_000_000));
    assert!(bytes.message.contains("bytes of text"), "{bytes}");
    let deep = format!("print {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(refusal(&deep).message.contains("MAX_DEPTH"));
    assert!(refusal(&format!("print 1{}", " + 1".repeat(500))).message.contains("MAX_DEPTH"));
    assert!(refusal(&format!("print {}1", "-".repeat(5_000))).message.contains("MAX_DEPTH"));
    assert!(refusal(&format!("print 1{}", " | extend a = 1".repeat(3_000))).message.contains("MAX_STEPS"));
    assert!(refusal(&" ".repeat(300 * 1024)).message.contains("MAX_TEXT"));
}

/// Each of these lets reads the one before twice: 2^60 rounds over tables without a row.
#[test]
fn tables_that_double_do_not_hang() {
    let mut query = "let t0 = T | where n > 99;".to_owned();
    for at in 1..30 {
        query.push_str(&format!("let t{at} = union t{0}, t{0};", at - 1));
    }
    query.push_str("t29 | count");
    let error = Query::parse(&query)
        .and_then(|it| it.run_within(&database(), Limits::new(1_000, 100_000, 1_000_000)))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
}
