//! The ledger's arithmetic against a model that keeps one set a word.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::{Connection as _, PgConnection, PgPool};
use telekeep::record::coverage::{self, Access, Window};
use telekeep::record::ledger::{self, PageRequest};
use telekeep::record::{AccountId, Via};

use crate::record::{ALL, LIBRARY, begin, counts, library, observation, open, report};

/// What happens to a chat of 40 ids.
#[derive(Debug, Clone)]
enum Step {
    Page { offset: i64, lower: i64, limit: usize, late: bool },
    ById(Vec<i64>),
    Import(Vec<i64>),
    Delete(Vec<i64>),
    Vanish(Vec<i64>),
    Stale { from: i64, to: i64 },
    Limited(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(1..=40_i64, 1..4);
    prop_oneof![
        6 => (0..=42_i64, 1..=20_i64, 1..12_usize, proptest::bool::weighted(0.2))
            .prop_map(|(offset, lower, limit, late)| Step::Page { offset, lower, limit, late }),
        2 => some().prop_map(Step::ById),
        2 => some().prop_map(Step::Import),
        1 => some().prop_map(Step::Delete),
        2 => some().prop_map(Step::Vanish),
        2 => (1..=40_i64, 0..20_i64).prop_map(|(from, more)| Step::Stale { from, to: from + more }),
        1 => (1..=30_i64).prop_map(Step::Limited),
    ]
}

/// The same ledger, one set a word.
#[derive(Default)]
struct Model {
    rows: BTreeSet<i64>,
    deleted: BTreeSet<i64>,
    settled: BTreeSet<i64>,
    stale: BTreeSet<i64>,
    top: i64,
    visible: i64,
}

impl Model {
    fn counts(&self) -> [i64; 7] {
        let mut counts = [0; 7];
        for id in 1..=self.top {
            let (row, settled) = (self.rows.contains(&id), self.settled.contains(&id));
            let class = if self.deleted.contains(&id) {
                1
            } else if self.stale.contains(&id) && (row || settled) {
                4
            } else if row {
                0
            } else if settled {
                2
            } else if id < self.visible {
                3
            } else {
                6
            };
            counts[class] += 1;
        }
        counts
    }

    fn holes(&self) -> BTreeSet<i64> {
        let open = |id: &i64| self.stale.contains(id) || !self.rows.contains(id) && !self.settled.contains(id);
        (self.visible..=self.top).filter(open).collect()
    }

    fn answer(&mut self, span: impl IntoIterator<Item = i64>, shown: &[i64], absent: bool, clears: bool) {
        self.rows.extend(shown);
        self.top = self.top.max(shown.iter().copied().max().unwrap_or(0));
        for id in span {
            self.settled.insert(id);
            if clears {
                if self.rows.contains(&id) && !shown.contains(&id) && (absent || self.stale.contains(&id)) {
                    self.deleted.insert(id);
                }
                self.stale.remove(&id);
            }
        }
    }
}

async fn plays(conn: &mut PgConnection, reader: AccountId, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model { visible: 1, ..Model::default() };
    let mut truth: BTreeSet<i64> = (1..=40).filter(|id| id % 7 != 0).collect();
    let mut pts = 1;
    for step in steps {
        pts += 1;
        let seen = observation(reader, Via::History, Some(pts));
        let ledger = open(conn, reader).await;
        match step {
            Step::Page { offset, lower, limit, late } => {
                let request = PageRequest::new(&ledger, *offset, Window { from: *lower, to: 40 });
                if *late {
                    coverage::mark_stale(conn, ledger.id, Window { from: 1, to: 2 }).await.expect("marked");
                    model.stale.extend((1..=2).filter(|id| *id <= model.top));
                }
                let below = if *offset == 0 { i64::MAX } else { *offset };
                let shown: Vec<i64> = truth
                    .iter()
                    .rev()
                    .copied()
                    .filter(|id| *id < below && *id >= *lower && *id >= model.visible)
                    .take(*limit)
                    .collect();
                ledger::commit_page(conn, &request, &library(shown.clone()), &[], &seen).await.expect("committed");
                let known = model.top.max(shown.first().copied().unwrap_or(0));
                let from = shown.last().copied().unwrap_or(*lower).max(model.visible);
                model.answer(from..=known.min(below - 1), &shown, false, !late);
            }
            Step::ById(ids) => {
                let request = PageRequest::new(&ledger, 0, ALL);
                let shown: Vec<i64> = ids.iter().copied().filter(|id| truth.contains(id) && *id >= model.visible).collect();
                ledger::commit_by_id(conn, &request, ids, &library(shown.clone()), &seen).await.expect("committed");
                let known = model.top.max(shown.iter().copied().max().unwrap_or(0));
                let visible = model.visible;
                model.answer(ids.iter().copied().filter(|id| *id <= known && *id >= visible), &shown, true, true);
            }
            Step::Import(ids) => {
                let seen = observation(reader, Via::Import, None);
                ledger::commit_messages(conn, LIBRARY, &library(ids.iter().copied()), &seen).await.expect("imported");
                model.rows.extend(ids);
                model.top = model.top.max(ids.iter().copied().max().unwrap_or(0));
            }
            Step::Delete(ids) => {
                ledger::commit_deletions(conn, Some(LIBRARY), ids, &seen).await.expect("deleted");
                truth.retain(|id| !ids.contains(id));
                model.rows.extend(ids);
                model.deleted.extend(ids);
            }
            Step::Vanish(ids) => truth.retain(|id| !ids.contains(id)),
            Step::Stale { from, to } => {
                coverage::mark_stale(conn, ledger.id, Window { from: *from, to: *to }).await.expect("marked");
                let top = model.top;
                model.stale.extend((*from..=*to).filter(|id| *id <= top));
            }
            Step::Limited(visible) => {
                let access = Access { readable: true, visible_from: *visible, reason: None };
                coverage::set_access(conn, LIBRARY, reader, &access).await.expect("access");
                model.visible = *visible;
            }
        }
        let row = report(conn).await;
        prop_assert_eq!(counts(&row), model.counts());
        let holes: BTreeSet<i64> = row.holes.iter().flat_map(|(from, to)| *from..=*to).collect();
        prop_assert_eq!(&holes, &model.holes());
        let ledger = open(conn, reader).await;
        let newest = ledger::newest_unsettled(conn, &ledger, ALL, reader).await.expect("read");
        prop_assert_eq!(newest, holes.last().copied());
    }
    Ok(())
}

#[sqlx::test(migrator = "telekeep::MIGRATOR")]
async fn the_ledger_agrees_with_a_model_of_sets(pool: PgPool) {
    let (mut conn, reader) = begin(&pool).await;
    let mut runner = TestRunner::new(ProptestConfig::default());
    let strategy = proptest::collection::vec(step(), 1..14);
    for _ in 0..60 {
        let mut tree = strategy.new_tree(&mut runner).expect("a case");
        let Err(mut failure) = rehearse(&mut conn, reader, &tree.current()).await else { continue };
        let mut smallest = tree.current();
        // proptest drives no async tests: shrink here.
        let mut goes_on = tree.simplify();
        while goes_on {
            match rehearse(&mut conn, reader, &tree.current()).await {
                Err(smaller) => {
                    (failure, smallest) = (smaller, tree.current());
                    goes_on = tree.simplify();
                }
                Ok(()) => goes_on = tree.complicate(),
            }
        }
        panic!("{failure} after {smallest:#?}");
    }
}

/// Plays on a transaction that is rolled back.
async fn rehearse(conn: &mut PgConnection, reader: AccountId, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut tx = conn.begin().await.expect("a transaction");
    let outcome = plays(&mut tx, reader, steps).await;
    tx.rollback().await.expect("rolled back");
    outcome
}
