//! A closed subset of the Kusto Query Language: text and tables in, a table out. No I/O.
