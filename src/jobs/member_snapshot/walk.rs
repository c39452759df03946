//! The way through a chat's lists of members: which page is asked for next, and whether everybody was shown. Pure: no calls, no clock.
//!
//! The whole list is the newest first, and people come and go while it is read: who leaves moves all behind forward, past the page
//! that is asked for next. So each page begins with the last one of the page before; where it does not, it is asked for from further
//! back.

use serde::{Deserialize, Serialize};

use crate::telegram::members::Members;

/// Users of the page before that are remembered, and how far back a page is asked for that does not follow.
const OVERLAP: usize = 100;

/// Names are searched by this many first characters at the most.
const LONGEST: usize = 4;

/// Letters by which names may begin; a script is taken whole where one name of the chat is written in it.
const SCRIPTS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789",
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويآأإپچژگکی",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "अआइईउऊएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसह",
    "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
];

/// Which list is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    Recent,
    Admins,
    Bots,
    Kicked,
    Restricted,
    /// By the beginning of a name: the last of those that wait.
    Search,
    Over,
}

/// How far the lists of one chat were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    pub list: List,
    /// How many entries of the list were read.
    pub offset: i64,
    /// The last page did not follow the one before: it is asked for from further back.
    pub stepped_back: bool,
    /// The last users of the page before.
    pub tail: Vec<i64>,
    /// Nobody can have been passed over so far.
    pub contiguous: bool,
    /// The chat's own number of members: the least and the most that was told while reading.
    pub least: Option<i64>,
    pub most: Option<i64>,
    /// The whole list is not shown to this account.
    pub hidden: bool,
    /// Everybody was shown.
    pub whole: bool,
    pub admins_only: bool,
    /// How many are banned, where that list was read to its end.
    pub banned: Option<i64>,
    /// Beginnings of names that are to be searched, the next one last; none: not widened.
    pub queries: Option<Vec<String>>,
    /// Letters by which a beginning is made longer.
    pub letters: Vec<String>,
    pub calls: i64,
    pub search_calls: i64,
}

impl Walk {
    /// From the beginning.
    pub fn new(admins_only: bool) -> Self {
        Self {
            list: if admins_only { List::Admins } else { List::Recent },
            offset: 0,
            stepped_back: false,
            tail: Vec::new(),
            contiguous: true,
            least: None,
            most: None,
            hidden: false,
            whole: false,
            admins_only,
            banned: None,
            queries: None,
            letters: Vec::new(),
            calls: 0,
            search_calls: 0,
        }
    }

    /// The page to ask for: its list and offset; None: everything was read.
    pub fn ask(&self) -> Option<(Members<'_>, i32)> {
        let list = match self.list {
            List::Recent => Members::Recent,
            List::Admins => Members::Admins,
            List::Bots => Members::Bots,
            List::Kicked => Members::Kicked,
            List::Restricted => Members::Restricted,
            List::Search => Members::Search(self.queries.as_ref()?.last()?),
            List::Over => return None,
        };
        Some((list, i32::try_from(self.from()).unwrap_or(i32::MAX)))
    }

    /// Where the next page begins.
    fn from(&self) -> i64 {
        let back = match (self.list, self.stepped_back) {
            (List::Recent, true) => OVERLAP as i64,
            (List::Recent, false) => 1,
            _ => 0,
        };
        (self.offset - back).max(0)
    }

    /// The chat's own number, as it was told now.
    pub fn counts(&mut self, count: i64) {
        self.least = Some(self.least.map_or(count, |least| least.min(count)));
        self.most = Some(self.most.map_or(count, |most| most.max(count)));
    }

    /// Takes a page: its users in their order, and how many the list has.
    pub fn answered(&mut self, users: &[i64], count: i64) {
        self.calls += 1;
        match self.list {
            List::Recent => self.recent(users, count),
            List::Search => self.search(users, count),
            List::Admins | List::Bots | List::Kicked | List::Restricted | List::Over => {
                self.offset += length(users);
                if users.is_empty() || self.offset >= count {
                    if self.list == List::Kicked {
                        self.banned = Some(count);
                    }
                    self.next_list();
                }
            }
        }
    }

    fn recent(&mut self, users: &[i64], count: i64) {
        self.counts(count);
        let follows = self.offset == 0 || users.first().is_some_and(|first| self.tail.contains(first));
        if !follows && !self.stepped_back {
            self.stepped_back = true;
            return;
        }
        self.contiguous &= follows;
        let end = self.from() + length(users);
        self.stepped_back = false;
        self.tail.extend(users);
        self.tail.drain(..self.tail.len().saturating_sub(OVERLAP));
        let moved = end > self.offset;
        self.offset = self.offset.max(end);
        // A short page is not the last one: one is that shows nobody beyond those who are known.
        if !moved || self.offset >= count {
            self.next_list();
        }
    }

    fn search(&mut self, users: &[i64], count: i64) {
        self.search_calls += 1;
        self.offset += length(users);
        if !users.is_empty() && self.offset < count {
            return;
        }
        let Some(query) = self.queries.as_mut().and_then(Vec::pop) else { return self.next_list() };
        if self.offset < count && query.chars().count() < LONGEST {
            // This one was cut, too.
            let longer: Vec<String> = self.letters.iter().rev().map(|letter| format!("{query}{letter}")).collect();
            self.queries.get_or_insert_default().extend(longer);
        }
        self.offset = 0;
        if self.queries.as_ref().is_none_or(Vec::is_empty) {
            self.next_list();
        }
    }

    /// The list that was asked for is not shown to this account.
    pub fn denied(&mut self) {
        self.calls += 1;
        match self.list {
            List::Recent => self.hides(),
            // Who may not see who was removed may not see who is restricted.
            List::Kicked => self.list = List::Over,
            List::Admins if self.hidden || self.admins_only => {
                self.hidden = true;
                self.list = List::Over;
            }
            _ => self.next_list(),
        }
    }

    /// The chat says that the whole list is hidden: some lists may be shown even so.
    pub fn hides(&mut self) {
        self.hidden = true;
        self.list = List::Admins;
        self.offset = 0;
    }

    /// So many were seen in the lists so far.
    pub fn saw(&mut self, seen: i64) {
        let (Some(least), Some(most)) = (self.least, self.most) else { return };
        let is_read = self.list != List::Recent && self.queries.is_none();
        // Of lists that overlap in no order only a number that never moved can prove anything.
        let proven = if is_read && self.contiguous { seen >= least } else { least == most && seen >= most };
        self.whole = self.whole || proven && self.list != List::Recent && !self.hidden;
        if self.whole && self.list == List::Search {
            self.list = List::Over;
        }
    }

    /// Searches by the beginnings of names, too: letters and digits in the scripts in which names of the chat begin.
    pub fn widen(&mut self, first_letters: &[String]) {
        self.letters = alphabet(first_letters);
        self.queries = Some(self.letters.iter().rev().cloned().collect());
        self.list = List::Search;
        self.offset = 0;
    }

    fn next_list(&mut self) {
        self.list = match self.list {
            List::Recent => List::Admins,
            List::Admins if self.admins_only => List::Over,
            List::Admins => List::Bots,
            List::Bots if self.hidden => List::Over,
            List::Bots => List::Kicked,
            List::Kicked => List::Restricted,
            List::Restricted | List::Search | List::Over => List::Over,
        };
        self.offset = 0;
        self.stepped_back = false;
    }
}

fn length(users: &[i64]) -> i64 {
    i64::try_from(users.len()).unwrap_or(i64::MAX)
}

/// Latin letters and digits, each script in which a name begins, and what letters there are besides.
fn alphabet(first_letters: &[String]) -> Vec<String> {
    let in_use = |script: &&str| first_letters.iter().any(|letter| !letter.is_empty() && script.contains(letter.as_str()));
    let (always, others) = SCRIPTS.split_at(2);
    let mut all: Vec<String> = always
        .iter()
        .chain(others.iter().filter(|script| in_use(script)))
        .flat_map(|script| script.chars())
        .map(String::from)
        .collect();
    let besides: Vec<String> =
        first_letters.iter().filter(|letter| !letter.trim().is_empty() && !all.contains(letter)).cloned().collect();
    all.extend(besides);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads lists as a server tells them: `list` changes as `happens` lets it, before each page.
    fn reads(walk: &mut Walk, list: &mut Vec<i64>, cut: usize, mut happens: impl FnMut(i64, &mut Vec<i64>)) -> Vec<i64> {
        let mut seen = Vec::new();
        while walk.list == List::Recent {
            happens(walk.calls, list);
            let (_, offset) = walk.ask().expect("a page");
            let from = usize::try_from(offset).expect("an offset").min(cut).min(list.len());
            let page = list[from..(from + 200).min(cut).min(list.len())].to_vec();
            walk.answered(&page, length(list));
            seen.extend(page);
        }
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn everybody_is_read_once_and_a_page() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..1_000).collect();
        let seen = reads(&mut walk, &mut list, 10_000, |_, _| {});
        walk.saw(length(&seen));
        assert_eq!((seen.len(), walk.whole, walk.calls), (1_000, true, 6));
    }

    #[test]
    fn a_cut_list_is_not_whole() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..25_000).collect();
        let seen = reads(&mut walk, &mut list, 10_000, |_, _| {});
        walk.saw(length(&seen));
        assert_eq!((seen.len(), walk.whole), (10_000, false));
        assert_eq!(walk.calls, 52, "51 pages of 199, and one that shows nobody new");
    }

    #[test]
    fn who_leaves_while_the_list_is_read_lets_nobody_be_passed_over() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..1_000).collect();
        let seen = reads(&mut walk, &mut list, 10_000, |call, list| {
            if call == 2 {
                list.drain(10..15);
            }
        });
        walk.saw(length(&seen));
        assert_eq!((seen.len(), walk.contiguous, walk.whole), (1_000, true, true));
    }

    #[test]
    fn those_at_the_end_are_not_passed_over_when_the_list_shrinks() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..1_000).collect();
        let seen = reads(&mut walk, &mut list, 10_000, |call, list| {
            if call == 5 {
                list.drain(0..10);
            }
        });
        walk.saw(length(&seen));
        assert_eq!((seen.len(), walk.contiguous, walk.whole), (1_000, true, true));
    }

    #[test]
    fn who_joins_while_the_list_is_read_is_told_once_more_at_the_most() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..1_000).collect();
        let seen = reads(&mut walk, &mut list, 10_000, |call, list| {
            if call == 2 {
                (0..5).for_each(|new| list.insert(0, 5_000 + new));
            }
        });
        walk.saw(length(&seen));
        assert_eq!((seen.len(), walk.contiguous, walk.whole), (1_000, true, true));
    }

    #[test]
    fn a_list_without_an_order_is_whole_only_where_its_number_stands_and_is_reached() {
        let mut walk = Walk::new(false);
        let mut list: Vec<i64> = (0..1_000).collect();
        let seen =
            reads(&mut walk, &mut list, 10_000, |call, list| list.rotate_left(usize::try_from(call * 37).expect("a number")));
        walk.saw(length(&seen));
        assert!(!walk.contiguous && !walk.whole, "{} seen", seen.len());
        walk.saw(1_000);
        assert!(walk.whole);
        let mut moving = Walk { contiguous: false, list: List::Admins, ..Walk::new(false) };
        moving.counts(1_000);
        moving.counts(999);
        moving.saw(1_000);
        assert!(!moving.whole);
    }

    #[test]
    fn a_hidden_list_is_asked_for_nothing_that_only_administrators_see() {
        let mut walk = Walk::new(false);
        walk.denied();
        assert_eq!((walk.list, walk.hidden), (List::Admins, true));
        walk.answered(&[1, 2], 2);
        walk.answered(&[3], 1);
        assert_eq!(walk.list, List::Over);
        walk.saw(3);
        assert!(!walk.whole);
        let mut closed = Walk::new(false);
        closed.denied();
        closed.denied();
        assert_eq!((closed.list, closed.calls), (List::Over, 2));
    }

    #[test]
    fn a_beginning_that_is_cut_is_made_longer_and_the_others_are_not() {
        let mut walk = Walk { list: List::Over, ..Walk::new(false) };
        walk.counts(25_000);
        walk.widen(&["m".into(), "м".into(), "你".into()]);
        let letters = 26 + 10 + "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ".chars().count() + 1;
        assert_eq!(walk.queries.as_ref().map(Vec::len), Some(letters));
        assert_eq!(walk.ask(), Some((Members::Search("a"), 0)));
        walk.answered(&[1, 2], 3);
        assert_eq!(walk.ask(), Some((Members::Search("a"), 2)));
        walk.answered(&[], 3);
        assert_eq!(walk.ask(), Some((Members::Search("aa"), 0)), "cut: longer ones");
        walk.answered(&[1], 1);
        assert_eq!(walk.ask(), Some((Members::Search("ab"), 0)));
        for _ in 1..letters {
            walk.answered(&[], 0);
        }
        assert_eq!(walk.ask(), Some((Members::Search("b"), 0)));
        walk.saw(25_000);
        assert_eq!((walk.whole, walk.list), (true, List::Over));
    }
}
