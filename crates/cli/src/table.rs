//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};

use crate::terminal;

/// Columns as wide as necessary, two blanks apart, without lines around them, in the form of
/// `mounted.ocfs2`. Ends with a newline. Lines are never wrapped, because scripts read them.
///
/// Cells may contain text from disks and are encoded by [`terminal`].
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows.iter().map(|row| row.iter().map(terminal)));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_blanks() {
        let rows = [["/dev/sdb1", "o2cb", ""], ["/dev/c", "", "a\n\x1bb"]];
        let expected = "\
Device     Stack  F
/dev/sdb1  o2cb
/dev/c            a\\n\\u{1b}b
";
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(table(["Device", "Stack", "F"], &rows), expected);
    }
}
