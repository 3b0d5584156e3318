//! How one number comes of a column of rows.

use kql::{Table, Value};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The number of rows; 0 where there are none.
    Count,
    Sum,
    Min,
    Max,
    First,
    Last,
    /// The value of the only row.
    Only,
    /// 100 x the column's sum over the sum of the column `of`.
    Percent,
    /// How often the first value goes into the last.
    LastOverFirst,
}

impl Reduction {
    /// The number; none where the rows have no value to tell it from.
    pub(super) fn of(self, table: &Table, column: &str, divisor: &str) -> Option<f64> {
        let values = numbers(table, column);
        let sum = |values: &[f64]| (!values.is_empty()).then(|| values.iter().fold(0.0, |sum, it| sum + it));
        let number = match self {
            Self::Count => Some(table.len() as f64),
            Self::Sum => sum(&values),
            Self::Min => values.iter().copied().reduce(f64::min),
            Self::Max => values.iter().copied().reduce(f64::max),
            Self::First => values.first().copied(),
            Self::Last => values.last().copied(),
            Self::Only => values.first().copied().filter(|_| table.len() == 1),
            Self::Percent => {
                let whole = sum(&numbers(table, divisor)).filter(|it| *it != 0.0);
                sum(&values).zip(whole).map(|(part, whole)| 100.0 * part / whole)
            }
            Self::LastOverFirst => {
                let ends = values.first().zip(values.last()).filter(|_| values.len() > 1);
                ends.map(|(first, last)| last / first)
            }
        };
        number.filter(|it| it.is_finite())
    }
}

/// The values of a column that are numbers.
fn numbers(table: &Table, column: &str) -> Vec<f64> {
    let Some(at) = table.columns().iter().position(|it| it.name == column) else { return Vec::new() };
    table.rows().filter_map(|row| number(&row[at])).collect()
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Bool(it) => f64::from(u8::from(*it)),
        Value::Int(it) => f64::from(*it),
        Value::Long(it) => *it as f64,
        Value::Real(it) => *it,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use kql::{Database, Query};

    use super::*;

    fn reduced(reduction: Reduction, rows: &str) -> Option<f64> {
        let text = format!("datatable(n:real, of:long)[{rows}]");
        let table = Query::parse(&text).unwrap().run(&Database::default()).unwrap().table;
        reduction.of(&table, "n", "of")
    }

    #[test]
    fn a_number_comes_of_rows_that_have_values_and_of_no_others() {
        use Reduction::{Count, First, Last, LastOverFirst, Max, Min, Only, Percent, Sum};
        let three = "2.0, 4, real(null), 5, 8.0, 6";
        let expected =
            [(Count, 3.0), (Sum, 10.0), (Min, 2.0), (Max, 8.0), (First, 2.0), (Last, 8.0), (LastOverFirst, 4.0)];
        for (reduction, number) in expected {
            assert_eq!(reduced(reduction, three), Some(number), "{reduction:?}");
        }
        assert_eq!(reduced(Percent, three), Some(100.0 * 10.0 / 15.0));
        assert_eq!((reduced(Only, three), reduced(Only, "3.0, 1")), (None, Some(3.0)));
        for reduction in [Sum, Min, Max, First, Last, Only, Percent, LastOverFirst] {
            assert_eq!(reduced(reduction, "real(null), 0"), None, "{reduction:?}");
            assert_eq!(reduced(reduction, "real(nan), 0"), None, "{reduction:?}");
        }
        assert_eq!((reduced(Percent, "0.0, 0"), reduced(LastOverFirst, "0.0, 0, 1.0, 0")), (None, None));
        assert_eq!(reduced(LastOverFirst, "3.0, 0"), None, "one value is no change");
    }
}
