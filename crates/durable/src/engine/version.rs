//! Versions of instances, in the order that Durable has for them.

use std::cmp::Ordering;

/// Compares as Durable's versioning does: no version is below any, dotted numbers go by number, the rest as text without regard to
/// case (`TaskOrchestrationVersioningUtils.CompareVersions` of microsoft/durabletask-dotnet).
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => match (numbers(one), numbers(other)) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.to_uppercase().cmp(&other.to_uppercase()),
        },
    }
}

/// Two to four numbers with dots between them. One that is absent comes before a zero, as in .NET's `System.Version`.
fn numbers(version: &str) -> Option<[Option<u32>; 4]> {
    let mut numbers = [None; 4];
    let mut parts = version.split('.');
    for (number, part) in numbers.iter_mut().zip(&mut parts) {
        *number = Some(part.trim().parse::<i32>().ok()?.try_into().ok()?);
    }
    (numbers[1].is_some() && parts.next().is_none()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_where_they_are_numbers() {
        for (one, other, wanted) in [
            ("", "", Ordering::Equal),
            ("", "1.0", Ordering::Less),
            ("2.0", "", Ordering::Greater),
            ("2.0", "10.0", Ordering::Less),
            ("1.0", "1.0.0", Ordering::Less),
            ("1.2.3.4", "1.2.3.4", Ordering::Equal),
            ("beta", "BETA", Ordering::Equal),
            ("2", "10", Ordering::Greater),
            ("1.0", "1.0-rc", Ordering::Less),
            ("1.-1", "1.0", Ordering::Less),
        ] {
            assert_eq!(compare(one, other), wanted, "{one:?} {other:?}");
        }
    }
}
