//! The overview as plain text, once.

use super::output;
use super::view::{Tab, table_of, totals};
use crate::overview::Overview;

pub(super) fn print(overview: &Overview) {
    for line in totals(overview) {
        output::line(&line);
    }
    if !overview.attention.is_empty() {
        output::line("\nneeds attention");
        overview.attention.iter().for_each(|line| output::line(&format!("  {line}")));
    }
    for tab in [Tab::Jobs, Tab::Accounts, Tab::Nodes, Tab::Chats] {
        let table = table_of(tab, overview);
        output::line(&format!("\n{}", tab.name()));
        output::table(&table.headings, table.rows, table.empty);
    }
}
