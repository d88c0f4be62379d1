//! Locks of the o2dlm: `o2dlm/UUID/locking_state`.

use std::fmt::Write;

use serde_json::Value;

use super::raw;
use crate::record::Record;
use crate::show::fields::hex;

/// The highest known version of a line.
const NEWEST: i64 = 1;

const STATES: [(i64, &str); 9] = [
    (0x0001, "Uninitialized"),
    (0x0002, "Recovering"),
    (0x0004, "Ready"),
    (0x0008, "Dirty"),
    (0x0010, "InProgress"),
    (0x0020, "Migrating"),
    (0x0040, "DroppingRef"),
    (0x1000, "BlockDirty"),
    (0x2000, "SetRefInProg"),
];

/// A lock resource, collected line by line.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Owner, state, last use, purge, dirty, recovering, in flight, migration, ASTs reserved,
    /// references.
    state: [i64; 10],
    nodes: String,
    value: Vec<u8>,
    locks: Vec<Lock>,
}

/// A lock on it.
#[derive(Clone, Debug)]
struct Lock {
    /// Queue, level, level after a conversion, node.
    place: [i64; 4],
    cookie: String,
    /// On the AST list, on the BAST list; AST, BAST, convert, lock, cancel and unlock pending;
    /// number of references.
    rest: [i64; 9],
}

/// The next `count` numbers.
fn numbers<const N: usize>(fields: &mut dyn Iterator<Item = &str>) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = fields.next()?.trim().parse().ok()?;
    }
    Some(numbers)
}

fn version<'t>(fields: &mut impl Iterator<Item = &'t str>) -> Result<(), String> {
    match fields.next().and_then(|field| field.parse().ok()) {
        Some(NEWEST) => Ok(()),
        Some(found) => Err(format!(
            "Lockres string proto {found} found, but {NEWEST} is the highest I understand."
        )),
        None => Err("a line without a version".to_owned()),
    }
}

impl Resource {
    /// Takes a line about the resource.
    ///
    /// # Errors
    /// Why the line is invalid.
    pub fn take(&mut self, line: &str) -> Result<(), String> {
        let (kind, rest) = line.split_once(':').ok_or("a line without a kind")?;
        let mut fields = rest.split(',');
        let short = || format!("a line {kind} is cut short");
        match kind {
            "NAME" => self.name = rest.to_owned(),
            "LRES" => {
                version(&mut fields)?;
                self.state = numbers(&mut fields).ok_or_else(short)?;
            }
            "RMAP" => self.nodes = rest.trim().to_owned(),
            "LVBX" => {
                let digits = rest.as_bytes().chunks_exact(2);
                let byte = |two: &[u8]| {
                    std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok())
                };
                self.value = digits.map_while(byte).collect();
            }
            "LOCK" => {
                version(&mut fields)?;
                let place = numbers(&mut fields).ok_or_else(short)?;
                let cookie = fields.next().ok_or_else(short)?.to_owned();
                let rest = numbers(&mut fields).ok_or_else(short)?;
                self.locks.push(Lock { place, cookie, rest });
            }
            // Later kernels may add lines.
            _ => {}
        }
        Ok(())
    }

    /// The record of the resource.
    pub fn record(&self, record: Record) -> Record {
        let [owner, state, used, purge, dirty, recovering, in_flight, migration, asts, refs] =
            self.state;
        let record = record.text("name", &self.name).put("owner", owner).put("state", state);
        let record = record.put("last_used", used).put("is_purged", purge != 0);
        let record = record.put("is_dirty", dirty != 0).put("is_recovering", recovering != 0);
        let record = record.put("in_flight", in_flight).put("is_migrating", migration != 0);
        let record = record.put("asts_reserved", asts).put("references", refs);
        let nodes: Vec<_> = self.nodes.split_whitespace().collect();
        let locks: Vec<_> = self.locks.iter().map(Lock::value).collect();
        record.put("nodes", nodes).put("value", hex(&self.value)).put("locks", locks)
    }

    /// The resource as text; with the lock value if `with_value`.
    pub fn text(&self, with_value: bool) -> String {
        let [owner, state, used, purge, dirty, recovering, in_flight, migration, asts, refs] =
            self.state;
        let mut text = format!("Lockres: {:<32}  Owner: {owner:<4} State: {state:#X} ", self.name);
        text = text.replacen("0X", "0x", 1);
        for (_, name) in STATES.iter().filter(|(bit, _)| state & bit != 0) {
            let _ = write!(text, "{name} ");
        }
        let migration = if migration != 0 { "Yes" } else { "No" };
        let _ = write!(
            text,
            "\nLast Used: {used:<5}  ASTs Reserved: {asts:<3}  Inflight: {in_flight:<3}  Migration \
             Pending: {migration}\nRefs: {refs:<3}  Locks: {:<3}  On Lists: ",
            self.locks.len()
        );
        let lists = [(purge, "Purge "), (dirty, "Dirty "), (recovering, "Recovering ")];
        let on: String = lists.iter().filter(|(on, _)| *on != 0).map(|(_, name)| *name).collect();
        text += if on.is_empty() { "None" } else { &on };
        text += "\nReference Map: ";
        for node in self.nodes.split_whitespace() {
            let _ = write!(text, "{node} ");
        }
        text.push('\n');
        if with_value {
            text += &raw(&self.value);
        }
        text +=
            " Lock-Queue  Node  Level  Conv  Cookie           Refs  AST  BAST  Pending-Action\n";
        // By queue, in the order in which the kernel serves them.
        for queue in 0..3 {
            let on = self.locks.iter().filter(|lock| lock.place[0] == queue);
            on.for_each(|lock| text += &lock.text());
        }
        text.push('\n');
        text
    }
}

fn level(level: i64) -> String {
    match level {
        0 => "NL".to_owned(),
        3 => "PR".to_owned(),
        5 => "EX".to_owned(),
        other => other.to_string(),
    }
}

impl Lock {
    fn value(&self) -> Value {
        let [queue, now, then, node] = self.place;
        let refs = self.rest.last().copied().unwrap_or_default();
        let record = Record::new("lock").put("queue", queue).put("level", now);
        let record = record.put("converts_to", then).put("node", node);
        record.text("cookie", &self.cookie).put("references", refs).value()
    }

    fn text(&self) -> String {
        let [queue, now, then, node] = self.place;
        let [ast_list, bast_list, ast, bast, convert, lock, cancel, unlock, refs] = self.rest;
        let queue = match queue {
            0 => "Granted",
            1 => "Converting",
            2 => "Blocked",
            _ => "Unknown",
        };
        let yes = |flag: i64| if flag != 0 { "Yes" } else { "No" };
        let pending = [
            (ast, "Ast "),
            (bast, "Bast "),
            (convert, "Convert "),
            (lock, "Lock "),
            (cancel, "Cancel "),
            (unlock, "Unlock "),
        ];
        let pending: String =
            pending.iter().filter(|(is, _)| *is != 0).map(|(_, name)| *name).collect();
        let pending = if pending.is_empty() { "None" } else { &pending };
        format!(
            " {queue:<10}  {node:<4}  {:<5}  {:<4}  {:<15}  {refs:<4}  {:<3}  {:<4}  {pending}\n",
            level(now),
            level(then),
            self.cookie,
            yes(ast_list),
            yes(bast_list),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_told_in_words() {
        let mut resource = Resource::default();
        for line in [
            "NAME:S000000000000000000000200000000",
            "LRES:1,0,0,0,0,0,0,0,0,0,4",
            "RMAP:1 ",
            "LVBX:0011zz",
            "LOCK:1,0,0,-1,0,0:1,0,0,0,0,0,0,0,0,2",
            "LOCK:1,0,5,-1,1,1:1,0,0,0,0,0,0,0,0,2",
            "MORE:7",
        ] {
            resource.take(line).unwrap();
        }
        assert_eq!(
            resource.text(false),
            "Lockres: S000000000000000000000200000000   Owner: 0    State: 0x0 \n\
             Last Used: 0      ASTs Reserved: 0    Inflight: 0    Migration Pending: No\n\
             Refs: 4    Locks: 2    On Lists: None\n\
             Reference Map: 1 \n \
             Lock-Queue  Node  Level  Conv  Cookie           Refs  AST  BAST  Pending-Action\n \
             Granted     0     NL     -1    0:1              2     No   No    None\n \
             Granted     1     EX     -1    1:1              2     No   No    None\n\n"
        );
        assert_eq!(resource.value, [0, 0x11]);
        for line in ["LRES:2,0", "LRES:1,0", "LOCK:1,0,0", "no kind"] {
            assert!(resource.take(line).is_err(), "{line}");
        }
    }
}
