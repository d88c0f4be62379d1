//! Messages between nodes: `o2net/stats`.

use std::fmt::Write;

use crate::record::Record;

/// Counts and times of messages to and from a node; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    node: u64,
    sent: u64,
    acquiry: u64,
    sending: u64,
    waiting: u64,
    received: u64,
    processing: u64,
}

/// The title of the table.
pub const TITLE: &str = "       ------- msg / sec -------   --------------------------- usecs / \
                         msg ---------------------------\nNode#  send q       recv q        \
                         (acquiry       xmit          wait        ) send         process     \n";

impl Traffic {
    /// Parses a line; `None` if it is not of a known version.
    pub fn parse(line: &str) -> Option<Self> {
        let fields: Vec<u64> =
            line.split(',').map(|field| field.trim().parse().ok()).collect::<Option<_>>()?;
        match fields.as_slice() {
            [1, node, sent, acquiry, sending, waiting, received, processing, ..] => Some(Self {
                node: *node,
                sent: *sent,
                acquiry: *acquiry,
                sending: *sending,
                waiting: *waiting,
                received: *received,
                processing: *processing,
            }),
            _ => None,
        }
    }

    /// The record of all values.
    pub fn record(&self, record: Record) -> Record {
        let record = record.put("node", self.node).put("sent", self.sent);
        let record = record.put("acquiry_ns", self.acquiry).put("sending_ns", self.sending);
        let record = record.put("waiting_ns", self.waiting).put("received", self.received);
        record.put("processing_ns", self.processing)
    }

    /// The row of what came after `before`, which was `seconds` seconds ago; of everything without
    /// `before`.
    pub fn row(&self, before: Option<&Self>, seconds: u64) -> String {
        let since = |part: fn(&Self) -> u64| part(self).saturating_sub(before.map_or(0, part));
        let per_second = |count: u64| count.checked_div(seconds).unwrap_or(count);
        let micros = |time: u64, count: u64| match count {
            0 => 0.0,
            _ => time as f64 / count as f64 / 1000.0,
        };
        let (sent, received) = (since(|it| it.sent), since(|it| it.received));
        let acquiry = micros(since(|it| it.acquiry), sent);
        let sending = micros(since(|it| it.sending), sent);
        let waiting = micros(since(|it| it.waiting), sent);
        let all = acquiry + sending + waiting;
        let processing = micros(since(|it| it.processing), received);
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<5}  {:<12} {:<13} {acquiry:<13.3} {sending:<13.3} {waiting:<14.3}{all:<12.3} \
             {processing:<12.3}",
            self.node,
            per_second(sent),
            per_second(received),
        );
        text
    }

    /// The number of the node.
    pub fn node(&self) -> u64 {
        self.node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_of_what_came_since() {
        let line = "1,1,69,1420572,94689340,1931844813,94,10336428";
        let all = Traffic::parse(line).unwrap();
        let row = all.row(None, 0);
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[..5], ["1", "69", "94", "20.588", "1372.309"], "{row}");
        assert_eq!(words[5..], ["27997.751", "29390.648", "109.962"], "{row}");
        let later = Traffic { sent: 169, ..all };
        let row = later.row(Some(&all), 10);
        assert_eq!(row.split_whitespace().nth(1), Some("10"));
        for line in ["", "2,1,2,3,4,5,6,7", "1,1,x", "1,2"] {
            assert_eq!(Traffic::parse(line), None);
        }
    }
}
