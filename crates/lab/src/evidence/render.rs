//! Rows as text, for a terminal.

/// Rows under headings, each column as wide as its widest value.
pub fn columns(headings: &[String], rows: &[Vec<String>]) -> String {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n)).chain(headings.get(n));
        cells.map(|it| it.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule: Vec<String> = widths.iter().map(|it| "-".repeat(*it)).collect();
    let lines = [headings, &rule].into_iter().chain(rows.iter().map(Vec::as_slice)).map(line);
    lines.collect::<Vec<_>>().join("\n")
}

/// A table as CSV, its columns' names first.
///
/// # Errors
/// Never in practice: it is written in memory.
pub fn csv(table: &kql::Table) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(table.columns().iter().map(|it| &it.name))?;
    for row in table.rows() {
        writer.write_record(row.iter().map(ToString::to_string))?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
