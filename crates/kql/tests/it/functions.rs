//! Each function on values of its own, on nulls, and at its edges.

use crate::support::{answer, columns, printed};

/// Expressions and what `print` shows of them.
fn hold(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(expression, expected)| (expression, expected, printed(expression)))
        .filter(|(_, expected, found)| **expected != found)
        .map(|(expression, expected, found)| format!("{expression}: {found}, not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn literals_are_read_in_each_of_their_forms() {
    hold(&[
        ("1d + 2h + 3m + 4s + 5ms", "1.02:03:04.0050000"),
        ("1.5h", "01:30:00"),
        ("timespan(1.02:03:04.5)", "1.02:03:04.5000000"),
        ("time(2d)", "2.00:00:00"),
        ("datetime(2026-04-05)", "2026-04-05T00:00:00.0000000Z"),
        ("datetime(2026-04-05 01:30:00Z)", "2026-04-05T01:30:00.0000000Z"),
        ("datetime(2026-04-05T01:30:00.1234567+02:00)", "2026-04-04T23:30:00.1234567Z"),
        ("datetime(null)", "null"),
        ("real(null)", "null"),
        ("int(null)", "null"),
        ("real(nan)", "NaN"),
        ("real(-inf)", "-Infinity"),
        ("0xff", "255"),
        ("1e3", "1000.0"),
        ("long(-9223372036854775808)", "-9223372036854775808"),
        (r#"dynamic({"a": [1, 2]}).a[1]"#, "2"),
        ("dynamic(['x', 'it\\'s'])[1]", "it's"),
        ("guid(74be27de-1e4e-49d9-b579-fe0b331d3642)", "74be27de-1e4e-49d9-b579-fe0b331d3642"),
        (r#""a\tb""#, "a\tb"),
        (r#"'say "a"'"#, "say \"a\""),
        (r#"@'c:\dir'"#, "c:\\dir"),
        (r#"@'it''s'"#, "it's"),
        (r#"h"secret""#, "secret"),
        ("h@'a\\b'", "a\\b"),
        ("'a' 'b'", "ab"),
        ("bool(true)", "true"),
    ]);
}

#[test]
fn conversions_give_null_where_they_cannot() {
    hold(&[
        ("toint('12')", "12"),
        ("toint('x')", "null"),
        ("toint(2.9)", "2"),
        ("toint(3000000000)", "null"),
        ("tolong('-5')", "-5"),
        ("tolong('0x10')", "16"),
        ("tolong(true)", "1"),
        ("toreal('1.5')", "1.5"),
        ("todouble(3)", "3.0"),
        ("tobool('TRUE')", "true"),
        ("tobool(0)", "false"),
        ("todatetime('2026-04-05 10:00')", "2026-04-05T10:00:00.0000000Z"),
        ("todatetime('soon')", "null"),
        ("totimespan('00:00:10')", "00:00:10"),
        ("totimespan('1.00:00:00')", "1.00:00:00"),
        ("tostring(1.0)", "1.0"),
        ("tostring(true)", "true"),
        ("tostring(int(null)) == ''", "true"),
        ("tostring(dynamic({'a':1}))", r#"{"a":1}"#),
        ("tostring(dynamic('x'))", "x"),
        ("todynamic('[1,2]')[0]", "1"),
        ("parse_json('no json')", "no json"),
        ("toguid('74be27de1e4e49d9b579fe0b331d3642')", "74be27de-1e4e-49d9-b579-fe0b331d3642"),
        ("toguid('x')", "null"),
        ("tohex(255)", "ff"),
        ("tohex(-1)", "ffffffffffffffff"),
        ("tohex(10, 4)", "000a"),
    ]);
}

#[test]
fn conditions_choose_and_null_is_not_true() {
    hold(&[
        ("iff(1 > 2, 'a', 'b')", "b"),
        ("iif(bool(null), 1, 2)", "2"),
        ("iff(true, 1, 2.5)", "1.0"),
        ("case(false, 'a', true, 'b', 'c')", "b"),
        ("case(false, 'a', false, 'b', 'c')", "c"),
        ("coalesce(long(null), 5, 6)", "5"),
        ("coalesce('', 'x')", "x"),
        ("isnull(long(null))", "true"),
        ("isnull('')", "false"),
        ("isnotnull(1)", "true"),
        ("isempty('')", "true"),
        ("isempty(long(null))", "true"),
        ("isnotempty('a')", "true"),
        ("not(true)", "false"),
        ("not(bool(null))", "null"),
        ("bool(null) and false", "false"),
        ("bool(null) and true", "null"),
        ("bool(null) or true", "true"),
        ("long(null) == 1", "null"),
        ("long(null) != 1", "null"),
        ("long(null) < 1", "null"),
        ("long(null) + 1", "null"),
    ]);
}

#[test]
fn numbers_follow_the_types_of_both_sides() {
    hold(&[
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 / 2.0", "3.5"),
        ("7 / 0", "null"),
        ("7.0 / 0", "Infinity"),
        ("0.0 / 0", "NaN"),
        ("7 % 3", "1"),
        ("-7 % 3", "2"),
        ("7 % 0", "null"),
        ("9223372036854775807 + 1", "-9223372036854775808"),
        ("2 + 3 * 4 - 1", "13"),
        ("-(2 + 3)", "-5"),
        ("1d / 6h", "4.0"),
        ("1d / 2", "12:00:00"),
        ("2 * 90m", "03:00:00"),
        ("datetime(2026-04-05) - datetime(2026-04-04)", "1.00:00:00"),
        ("datetime(2026-04-05) + 1h", "2026-04-05T01:00:00.0000000Z"),
        ("round(2.345, 2)", "2.35"),
        ("round(2.5)", "3.0"),
        ("round(-2.5)", "-3.0"),
        ("round(1234, -2)", "1200"),
        ("round(1250.0, -2)", "1300.0"),
        ("round(real(null), 1)", "null"),
        ("ceiling(1.2)", "2.0"),
        ("abs(-3)", "3"),
        ("abs(-1h)", "01:00:00"),
        ("sign(-2.5)", "-1.0"),
        ("sqrt(16)", "4.0"),
        ("pow(2, 10)", "1024.0"),
        ("exp(0)", "1.0"),
        ("log(1)", "0.0"),
        ("log10(1000)", "3.0"),
        ("log2(8)", "3.0"),
        ("min_of(3, 1, 2)", "1"),
        ("max_of(1, 2.5)", "2.5"),
        ("isnan(real(nan))", "true"),
        ("isinf(1.0 / 0)", "true"),
        ("isfinite(1.0)", "true"),
    ]);
}

#[test]
fn bin_floors_numbers_times_and_what_is_negative() {
    hold(&[
        ("bin(7, 5)", "5"),
        ("bin(-7, 5)", "-10"),
        ("bin(-0.5, 1)", "-1.0"),
        ("floor(7.9, 0.5)", "7.5"),
        ("bin(datetime(2026-04-05 01:32:10), 5m)", "2026-04-05T01:30:00.0000000Z"),
        ("bin(-1s, 1m)", "-00:01:00"),
        ("bin(7, 0)", "null"),
    ]);
}

#[test]
fn texts_are_cut_joined_and_searched() {
    hold(&[
        ("strlen('größer')", "6"),
        ("substring('abcdef', 2, 3)", "cde"),
        ("substring('abc', 1)", "bc"),
        ("substring('abc', 9)", ""),
        ("strcat('a', 1, true)", "a1true"),
        ("strcat_delim('-', 'a', 2)", "a-2"),
        ("strcat_array(dynamic([1, 'b']), ',')", "1,b"),
        ("strrep('ab', 2, '-')", "ab-ab"),
        ("strcmp('a', 'b')", "-1"),
        ("tolower('ABC')", "abc"),
        ("toupper('straße')", "STRASSE"),
        ("trim('-', '--a-')", "a"),
        ("trim_start('[a-c]', 'abcd')", "d"),
        ("trim_end('c', 'abcc')", "ab"),
        ("replace_string('aXbX', 'X', '-')", "a-b-"),
        (r"replace_regex('n=12', @'n=(\d+)', @'\1!')", "12!"),
        ("split('a,b,c', ',')[1]", "b"),
        ("split('a,b', ',', 1)[0]", "b"),
        ("indexof('abcabc', 'c')", "2"),
        ("indexof('abc', 'z')", "-1"),
        ("indexof('abcabc', 'a', 1)", "3"),
        ("countof('aaa', 'aa')", "2"),
        ("countof('a1b22', '[0-9]+', 'regex')", "2"),
        (r"extract(@'x=(\d+)', 1, 'x=45')", "45"),
        ("extract('z', 0, 'abc')", ""),
        ("reverse('abc')", "cba"),
    ]);
}

#[test]
fn has_finds_whole_terms_in_any_case() {
    hold(&[
        ("'Worker process exited' has 'PROCESS'", "true"),
        ("'workers' has 'worker'", "false"),
        ("'a worker_1' has 'worker'", "true"),
        ("'größe' has 'gr'", "false"),
        ("'Größe: 5' has 'GRÖSSE'", "false"),
        ("'Größe: 5' has 'GRÖßE'", "true"),
        ("'exited with code 137' has 'exit code 137'", "false"),
        ("'abc' !has 'abc'", "false"),
        ("'Abc' has_cs 'abc'", "false"),
        ("'worker exited' hasprefix 'exi'", "true"),
        ("'worker exited' hassuffix 'ted'", "true"),
        ("'the Host started now' has_any ('nothing', 'host started')", "true"),
        ("'a b c' has_all ('a', 'c')", "true"),
        ("'a b' has_all ('a', 'c')", "false"),
        ("'a b' has_any (dynamic(['x', 'b']))", "true"),
        ("'aBc' contains 'bC'", "true"),
        ("'aBc' contains_cs 'bC'", "false"),
        ("'aBc' !contains 'z'", "true"),
        ("'aBc' startswith 'AB'", "true"),
        ("'aBc' startswith_cs 'AB'", "false"),
        ("'aBc' !startswith 'b'", "true"),
        ("'aBc' endswith 'BC'", "true"),
        ("'aBc' !endswith_cs 'BC'", "true"),
        ("'aBc' =~ 'AbC'", "true"),
        ("'aBc' !~ 'AbC'", "false"),
        ("'aBc' == 'abc'", "false"),
        ("'a' in ('b', 'a')", "true"),
        ("'A' in~ ('b', 'a')", "true"),
        ("'A' !in~ ('b', 'a')", "false"),
        ("3 !in (1, 2)", "true"),
        ("3 in (dynamic([3, 4]))", "true"),
        (r"'a12' matches regex @'^a\d+$'", "true"),
    ]);
}

#[test]
fn a_text_equals_a_bool_in_any_case_and_a_number_by_its_digits() {
    hold(&[
        ("'False' == false", "true"),
        ("'true' == false", "false"),
        ("'200' == 200", "true"),
        ("5 between (1 .. 5)", "true"),
        ("6 between (1 .. 5)", "false"),
        ("6 !between (1 .. 5)", "true"),
        ("datetime(2026-04-05) between (datetime(2026-04-04) .. 1d)", "true"),
        ("dynamic({'a':1}).a == 1", "true"),
        ("dynamic({'a':'x'})['a'] == 'x'", "true"),
        ("dynamic([1,2,3])[-1]", "3"),
        ("dynamic({'a':1}).b", "null"),
    ]);
}

#[test]
fn times_are_cut_moved_and_written() {
    let t = "datetime(2026-04-05 13:32:10.1234567)";
    let cases = [
        ("startofday(T)", "2026-04-05T00:00:00.0000000Z"),
        ("startofday(T, -1)", "2026-04-04T00:00:00.0000000Z"),
        ("endofday(T)", "2026-04-05T23:59:59.9999999Z"),
        ("startofweek(T)", "2026-04-05T00:00:00.0000000Z"),
        ("endofweek(T)", "2026-04-11T23:59:59.9999999Z"),
        ("startofmonth(T)", "2026-04-01T00:00:00.0000000Z"),
        ("endofmonth(T)", "2026-04-30T23:59:59.9999999Z"),
        ("startofyear(T)", "2026-01-01T00:00:00.0000000Z"),
        ("endofyear(T)", "2026-12-31T23:59:59.9999999Z"),
        ("dayofweek(T)", "00:00:00"),
        ("dayofmonth(T)", "5"),
        ("dayofyear(T)", "95"),
        ("hourofday(T)", "13"),
        ("getmonth(T)", "4"),
        ("monthofyear(T)", "4"),
        ("getyear(T)", "2026"),
        ("week_of_year(T)", "14"),
        ("datetime_part('minute', T)", "32"),
        ("datetime_diff('second', T, datetime(2026-04-05 13:32:09.9))", "1"),
        ("datetime_diff('day', T, datetime(2026-04-04 23:00:00))", "1"),
        ("datetime_diff('month', T, datetime(2026-03-31))", "1"),
        ("datetime_add('month', -2, datetime(2026-04-30))", "2026-02-28T00:00:00.0000000Z"),
        ("datetime_add('day', 1, datetime(null))", "null"),
        ("format_datetime(T, 'yyyy-MM-dd HH:mm:ss.fff')", "2026-04-05 13:32:10.123"),
        ("format_datetime(T, 'yy/M/d h:mm tt')", "26/4/5 1:32 PM"),
        ("format_timespan(1d + 2h, 'd.hh:mm:ss')", "1.02:00:00"),
        ("make_datetime(2026, 4, 5, 10, 30)", "2026-04-05T10:30:00.0000000Z"),
        ("make_datetime(2026, 13, 5)", "null"),
        ("make_timespan(1, 30)", "01:30:00"),
        ("make_timespan(1, 2, 3, 4.5)", "1.02:03:04.5000000"),
        ("unixtime_seconds_todatetime(0)", "1970-01-01T00:00:00.0000000Z"),
        ("unixtime_milliseconds_todatetime(1500)", "1970-01-01T00:00:01.5000000Z"),
        ("unixtime_microseconds_todatetime(1)", "1970-01-01T00:00:00.0000010Z"),
        ("unixtime_nanoseconds_todatetime(100)", "1970-01-01T00:00:00.0000001Z"),
        ("now() - ago(1h)", "01:00:00"),
        ("now() == now()", "true"),
    ];
    let cases: Vec<(String, &str)> = cases
        .iter()
        .map(|(it, expected)| (it.replace("T)", &format!("{t})")).replace("T,", &format!("{t},")), *expected))
        .collect();
    hold(&cases.iter().map(|(it, expected)| (it.as_str(), *expected)).collect::<Vec<_>>());
}

#[test]
fn dynamic_values_are_built_and_read() {
    hold(&[
        ("array_length(dynamic([1, 2]))", "2"),
        ("array_length(dynamic({}))", "null"),
        ("array_concat(dynamic([1]), dynamic([2]))", "[1,2]"),
        ("array_slice(dynamic([1, 2, 3, 4]), 1, -2)", "[2,3]"),
        ("array_index_of(dynamic(['a', 'b']), 'b')", "1"),
        ("array_sum(dynamic([1, 2.5]))", "3.5"),
        ("array_reverse(dynamic([1, 2]))", "[2,1]"),
        ("set_has_element(dynamic([1, 2]), 2)", "true"),
        ("pack('a', 1, 'b', 'x')", r#"{"a":1,"b":"x"}"#),
        ("bag_pack('a', 1)", r#"{"a":1}"#),
        ("pack_array(1, 'a')", r#"[1,"a"]"#),
        ("bag_keys(dynamic({'a':1,'b':2}))", r#"["a","b"]"#),
        ("bag_has_key(dynamic({'a':1}), 'a')", "true"),
        ("gettype(1)", "long"),
        ("gettype(dynamic([]))", "array"),
        ("gettype(dynamic({}))", "dictionary"),
    ]);
}

#[test]
fn aggregates_of_rows_pass_over_nulls() {
    let summarized = |it: &str| answer(&format!("T | summarize {it}"));
    for (aggregate, expected) in [
        ("count()", "3"),
        ("countif(b)", "1"),
        ("sum(n), sum(r), sum(p)", "0|0.0|1.02:03:03.5000000"),
        ("sumif(n, b)", "7"),
        ("avg(n), avg(i)", "0.0|0.0"),
        ("avgif(n, b)", "7.0"),
        ("min(n), max(n), min(s), max(t)", "-7|7||2026-04-05T01:47:59.9999999Z"),
        ("minif(n, b), maxif(n, not(b))", "7|-7"),
        ("percentile(n, 50), percentile(r, 95)", "-7|2.5"),
        ("percentiles(n, 0, 50, 51, 100)", "-7|-7|7|7"),
        ("dcount(n), dcountif(s, b), count_distinct(s)", "2|1|3"),
        ("stdev(n), variance(n), stdevp(n)", "9.899494936611665|98.0|7.0"),
        ("arg_max(n, s)", "7|Abc def"),
        ("arg_min(n, s, i)", "-7|xyz|-3"),
        ("make_list(n)", "[7,-7]"),
        ("make_list(n, 1)", "[7]"),
        ("make_set(b)", "[true,false]"),
        ("make_list_if(n, b)", "[7]"),
        ("make_set_if(n, b)", "[7]"),
        ("take_any(n)", "7"),
        ("take_anyif(n, not(b))", "-7"),
        ("round(avg(r), 1), 100.0 * countif(b) / count()", "0.0|33.333333333333336"),
    ] {
        assert_eq!(summarized(aggregate), expected, "{aggregate}");
    }
}

#[test]
fn aggregates_of_no_rows_are_zero_or_null() {
    assert_eq!(
        answer("T | where n > 99 | summarize count(), sum(n), sum(r), avg(n), max(t), percentile(n, 95), make_list(n)"),
        "0|0|0.0|null|null|null|[]"
    );
    assert_eq!(answer("T | where n > 99 | summarize count() by s"), "");
}

#[test]
fn columns_without_a_name_get_kustos() {
    for (query, expected) in [
        (
            "T | project toreal(n), strlen(s), n + 1, y.a.b, y['k'], y[0]",
            "n:real, strlen_s:long, Column1:long, y_a_b:dynamic, y_k:dynamic, y_0:dynamic",
        ),
        ("T | project bin(n, 5), bin(n, 10), iff(b, i, n)", "n:long, n1:long, Column1:long"),
        (
            "T | summarize count(), count(), avg(r), dcount(s), make_list(n), make_set(s)",
            "count_:long, count_1:long, avg_r:real, dcount_s:long, list_n:dynamic, set_s:dynamic",
        ),
        (
            "T | summarize percentile(r, 95), percentiles(n, 50, 99.9), sum(n + 1) by bin(t, 5m)",
            "t:datetime, percentile_r_95:real, percentile_n_50:long, percentile_n_99_9:long, sum_:long",
        ),
        ("T | summarize arg_max(t, s, n)", "t:datetime, s:string, n:long"),
        ("T | summarize round(avg(r), 1), sum(n) / count() by s", "s:string, avg_r:real, Column1:long"),
        ("T | summarize by n, n + 1, n + 2", "n:long, Column1:long, Column2:long"),
        ("print 1, a = 2, 'x'", "print_0:long, a:long, print_2:string"),
        ("T | count", "Count:long"),
    ] {
        assert_eq!(columns(query), expected, "{query}");
    }
}
