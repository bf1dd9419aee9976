//! Result tables and their form on the wire.

use pgpooler_core::wire::backend;

/// A type of PostgreSQL's that a column can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text`
    Text,
    /// `int4`
    Int4,
    /// `int8`
    Int8,
    /// `numeric`
    Numeric,
}

/// A column's name and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// A value in text form; `None` is NULL.
pub type Cell = Option<String>;

/// A result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

/// A `text` column.
pub const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

/// An `int4` column.
pub const fn int4(name: &'static str) -> Column {
    Column { name, kind: Kind::Int4 }
}

/// An `int8` column.
pub const fn int8(name: &'static str) -> Column {
    Column { name, kind: Kind::Int8 }
}

/// A `numeric` column.
pub const fn numeric(name: &'static str) -> Column {
    Column { name, kind: Kind::Numeric }
}

/// A value.
#[expect(clippy::needless_pass_by_value, reason = "most cells are numbers; a reference to each reads worse")]
pub fn cell(value: impl ToString) -> Cell {
    Some(value.to_string())
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds rows.
    #[must_use]
    pub fn rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Appends `RowDescription` and a `DataRow` for each row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_columns(&self.columns, out);
        self.rows.iter().for_each(|row| backend::data_row(out, row));
    }
}

impl Kind {
    /// Object identifier and size in bytes, -1 for variable, as in `pg_type`.
    fn oid_and_size(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }
}

/// The core's own `row_description` knows `text` only; exporters look at the types.
fn encode_columns(columns: &[Column], out: &mut Vec<u8>) {
    let mut body = (columns.len() as i16).to_be_bytes().to_vec();
    for Column { name, kind } in columns {
        let (oid, size) = kind.oid_and_size();
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0; 7]); // end of the name, no table, no column of it
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&size.to_be_bytes());
        body.extend_from_slice(&(-1_i32).to_be_bytes()); // no modifier
        body.extend_from_slice(&[0; 2]); // text format
    }
    out.push(backend::ROW_DESCRIPTION);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_description_names_the_types_of_its_columns() {
        let mut out = Vec::new();
        Table::new([text("a"), int4("bc")]).encode(&mut out);
        let expected = b"T\0\0\0\x2f\0\x02a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0bc\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
        assert_eq!(out, expected);
    }

    #[test]
    fn null_is_not_the_empty_string() {
        let mut out = Vec::new();
        Table::new([text("a"), text("b")]).rows([vec![None, cell("")]]).encode(&mut out);
        assert!(out.ends_with(b"D\0\0\0\x0e\0\x02\xff\xff\xff\xff\0\0\0\0"));
    }
}
