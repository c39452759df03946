//! The picture: tabs over one overview. Pure but for the drawing, so that tests look at it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Tabs, Wrap};

use crate::overview::Overview;

/// Columns of states, in the order in which a job goes through them.
const STATES: [&str; 7] = ["scheduled", "available", "running", "held", "dead", "done", "cancelled"];

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Attention,
    Jobs,
    Accounts,
    Nodes,
    Chats,
}

impl Tab {
    pub const ALL: [Tab; 5] = [Self::Attention, Self::Jobs, Self::Accounts, Self::Nodes, Self::Chats];

    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Jobs => "jobs",
            Self::Accounts => "accounts",
            Self::Nodes => "nodes",
            Self::Chats => "chats that lack something",
        }
    }
}

/// A table of one page.
pub(super) struct Page {
    pub headings: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// What stands there in place of no rows.
    pub empty: &'static str,
}

/// What is drawn.
pub(super) struct View {
    overview: Overview,
    failed: Option<String>,
    tab: usize,
    scrolled: usize,
}

impl View {
    pub fn new(overview: Overview) -> Self {
        Self { overview, failed: None, tab: 0, scrolled: 0 }
    }

    pub fn show(&mut self, overview: Overview) {
        (self.overview, self.failed) = (overview, None);
    }

    pub fn fails(&mut self, why: String) {
        self.failed = Some(why);
    }

    pub fn turn(&mut self, by: usize) {
        (self.tab, self.scrolled) = ((self.tab + by) % Tab::ALL.len(), 0);
    }

    pub fn scroll(&mut self, by: isize) {
        let last = self.rows().saturating_sub(1);
        self.scrolled = self.scrolled.saturating_add_signed(by).min(last);
    }

    fn tab(&self) -> Tab {
        Tab::ALL[self.tab % Tab::ALL.len()]
    }

    fn rows(&self) -> usize {
        match self.tab() {
            Tab::Attention => self.overview.attention.len(),
            tab => table_of(tab, &self.overview).rows.len(),
        }
    }

    pub fn draw(&self, frame: &mut Frame) {
        let head = totals(&self.overview);
        let height = u16::try_from(head.len()).unwrap_or(4);
        let [top, tabs, body, foot] =
            Layout::vertical([Constraint::Length(height), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(head.into_iter().map(Line::from).collect::<Vec<_>>()), top);
        let names = Tab::ALL.map(|tab| tab.name());
        frame.render_widget(Tabs::new(names).select(self.tab).highlight_style(Style::new().add_modifier(Modifier::REVERSED)), tabs);
        match self.tab() {
            Tab::Attention => frame.render_widget(self.attention(), body),
            tab => frame.render_widget(self.table(tab), body),
        }
        let keys = " q ends   tab, ← → pages   ↑ ↓ scroll";
        let foot_line = match &self.failed {
            Some(why) => {
                Span::styled(format!(" not read, the last picture stays: {why}"), Style::new().add_modifier(Modifier::BOLD))
            }
            None => Span::raw(keys),
        };
        frame.render_widget(Line::from(foot_line), foot);
    }

    fn attention(&self) -> Paragraph<'_> {
        let attention = self.overview.attention.iter().skip(self.scrolled);
        let mut lines: Vec<Line> = attention.map(|it| Line::from(it.to_string())).collect();
        if lines.is_empty() {
            lines.push(Line::from("nothing needs attention"));
        }
        Paragraph::new(lines).wrap(Wrap { trim: false }).block(Block::bordered())
    }

    fn table(&self, tab: Tab) -> Table<'_> {
        let page = table_of(tab, &self.overview);
        let widths = page.headings.iter().enumerate().map(|(at, heading)| {
            let longest = page.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
            Constraint::Length(u16::try_from(longest.max(heading.chars().count()).min(60)).unwrap_or(60))
        });
        let widths: Vec<Constraint> = widths.collect();
        let mut rows: Vec<Row> = page.rows.into_iter().skip(self.scrolled).map(Row::new).collect();
        if rows.is_empty() {
            rows.push(Row::new([page.empty]));
        }
        let header = Row::new(page.headings).style(Style::new().add_modifier(Modifier::BOLD));
        let widths = if rows.len() == 1 && self.rows() == 0 { vec![Constraint::Min(0)] } else { widths };
        Table::new(rows, widths).header(header).column_spacing(2).block(Block::bordered())
    }
}

/// The lines above all pages.
pub(super) fn totals(overview: &Overview) -> Vec<String> {
    let of = |state| overview.jobs_in(state);
    let waits = overview.oldest_runnable_s.map_or_else(|| "none waits".to_owned(), |s| format!("the oldest waits {}", seconds(s)));
    let jobs = format!(
        "jobs      {} running, {} available, {} scheduled, {} held, {} dead; {:.1} ends/s; {waits}",
        of("running"),
        of("available"),
        of("scheduled"),
        of("held"),
        of("dead"),
        overview.jobs_per_s
    );
    let fares = |state: &str| overview.accounts.iter().filter(|account| account.state.as_str() == state).count();
    let states = ["active", "flooded", "limited", "held", "lost"].into_iter().filter(|state| fares(state) > 0);
    let accounts: Vec<String> = states.map(|state| format!("{} {state}", fares(state))).collect();
    let accounts = if accounts.is_empty() { "none".to_owned() } else { accounts.join(", ") };
    let works = overview.nodes.iter().filter(|node| node.state == "works").count();
    let chats = &overview.chats;
    let sum = |of: fn(&crate::record::reconcile::Lacking) -> i64| chats.lacking.iter().map(of).sum::<i64>();
    let sinks = overview.sinks.iter().map(|sink| {
        let behind =
            if sink.waiting > 0 { format!(", {} wait for {}", sink.waiting, seconds(sink.oldest_s)) } else { String::new() };
        format!("{} {}{behind}, {} dead letters", sink.name, sink.state, sink.dead_letters)
    });
    let sinks: Vec<String> = sinks.collect();
    vec![
        jobs,
        format!("accounts  {accounts}; {works} nodes work"),
        format!(
            "chats     {} watched; {} ids missing, {} stale, {} to look at again, {} raw",
            chats.watched,
            sum(|it| it.missing),
            sum(|it| it.stale),
            sum(|it| it.revisit),
            chats.raw
        ),
        format!("index     {}", if sinks.is_empty() { "none; search runs on the record".to_owned() } else { sinks.join("; ") }),
    ]
}

/// The table of a page.
pub(super) fn table_of(tab: Tab, overview: &Overview) -> Page {
    match tab {
        Tab::Attention => Page {
            headings: vec!["needs attention"],
            rows: overview.attention.iter().map(|it| vec![it.to_string()]).collect(),
            empty: "nothing needs attention",
        },
        Tab::Jobs => Page {
            headings: std::iter::once("kind").chain(STATES).collect(),
            rows: overview
                .jobs
                .iter()
                .map(|(kind, states)| {
                    let paused = if overview.paused_kinds.contains(kind) { " (paused)" } else { "" };
                    let counts = STATES.iter().map(|state| states.get(*state).copied().unwrap_or(0).to_string());
                    std::iter::once(format!("{kind}{paused}")).chain(counts).collect()
                })
                .collect(),
            empty: "no jobs; `telekeep chat watch LINK` begins",
        },
        Tab::Accounts => Page {
            headings: vec!["account", "state", "until (UTC)", "reads", "why"],
            rows: overview
                .accounts
                .iter()
                .map(|it| {
                    let until = it.until.map(|at| at.format("%m-%d %H:%M").to_string()).unwrap_or_default();
                    let why = it.state_reason.clone().unwrap_or_default();
                    vec![it.label.clone(), it.state.as_str().to_owned(), until, it.reads.to_string(), why]
                })
                .collect(),
            empty: "no accounts; `telekeep account login` adds one",
        },
        Tab::Nodes => Page {
            headings: vec!["node", "process", "state", "accounts", "running", "jobs/s", "last seen (UTC)"],
            rows: overview
                .nodes
                .iter()
                .map(|it| {
                    vec![
                        it.name.clone(),
                        format!("{}/{}", it.host, it.pid),
                        it.state.clone(),
                        it.accounts.join(" "),
                        it.running.to_string(),
                        format!("{:.1}", it.jobs_per_s),
                        it.seen_at.format("%H:%M:%S").to_string(),
                    ]
                })
                .collect(),
            empty: "no nodes; `telekeep run` starts one",
        },
        Tab::Chats => Page {
            headings: vec!["chat", "title", "missing", "stale", "to look at again"],
            rows: overview
                .chats
                .lacking
                .iter()
                .map(|it| {
                    let title =
                        it.title.clone().unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                    vec![it.chat_id.to_string(), title, it.missing.to_string(), it.stale.to_string(), it.revisit.to_string()]
                })
                .collect(),
            empty: "nothing is missing",
        },
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::attention::{Attention, Severity};
    use crate::overview::{Chats, Sink};
    use crate::record::reconcile::Lacking;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn attention(severity: Severity, what: &str, hint: &str) -> Attention {
        let (what, hint) = (what.to_owned(), hint.to_owned());
        Attention { severity, about: "job".into(), rule: None, what, hint, since: None, count: 1, target: None }
    }

    fn overview() -> Overview {
        let states = [("running".to_owned(), 2), ("held".to_owned(), 1)].into();
        let lacking =
            Lacking { chat_id: -1000000000007, title: Some("Har\u{1b}[31mbour".into()), missing: 4, stale: 2, revisit: 0 };
        Overview {
            jobs: [("history_fetch".to_owned(), states)].into(),
            paused_kinds: vec!["history_fetch".into()],
            oldest_runnable_s: Some(700.0),
            jobs_per_s: 1.5,
            accounts: Vec::new(),
            nodes: Vec::new(),
            chats: Chats { watched: 3, lacking: vec![lacking], raw: 1 },
            sinks: vec![Sink {
                name: "elasticsearch".into(),
                state: "waiting".into(),
                detail: None,
                dead_letters: 0,
                waiting: 9,
                oldest_s: 61.0,
            }],
            attention: vec![
                attention(Severity::Critical, "elasticsearch is waiting", "`telekeep doctor` says what it answers"),
                attention(Severity::Warning, "held jobs of history_fetch: 1", "sign in an account"),
                attention(Severity::Notice, "history_fetch is paused", "`telekeep job resume-kind history_fetch` lets it go on"),
            ],
        }
    }

    fn drawn(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 14)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(100).map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
        lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_picture_says_what_stands_and_what_needs_attention() {
        let mut view = View::new(overview());
        let first = drawn(&view);
        for line in [
            "jobs      2 running, 0 available, 0 scheduled, 1 held, 0 dead; 1.5 ends/s; the oldest waits 12 min",
            "accounts  none; 0 nodes work",
            "chats     3 watched; 4 ids missing, 2 stale, 0 to look at again, 1 raw",
            "index     elasticsearch waiting, 9 wait for 61 s, 0 dead letters",
            "critical: elasticsearch is waiting. `telekeep doctor` says what it answers",
            "warning: held jobs of history_fetch: 1. sign in an account",
        ] {
            assert!(first.contains(line), "{line} in\n{first}");
        }
        view.turn(1);
        assert!(drawn(&view).contains("history_fetch (paused)"));
        view.turn(3);
        let chats = drawn(&view);
        assert!(
            chats.contains("Har [31mbour") && !chats.contains('\u{1b}'),
            "what a title says is never an order to the terminal: {chats}"
        );
        view.turn(1);
        view.fails("the database is away".into());
        assert!(drawn(&view).contains("not read, the last picture stays: the database is away"));
        view.show(overview());
        assert!(drawn(&view).contains("q ends"));
        view.scroll(100);
        assert!(drawn(&view).contains("history_fetch is paused"), "the last line stays in sight");
        view.scroll(-100);
        assert!(drawn(&view).contains("held jobs"));
    }
}
