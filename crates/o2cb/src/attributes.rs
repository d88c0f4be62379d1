//! The attributes that `o2cb_ctl` is given with `-a`.

use std::net::Ipv4Addr;

use anyhow::{Result, anyhow, bail};

use crate::cli::yes_or_no;
use crate::ctl::Kind;
use crate::ctl_list::Object;

/// Attributes in the order in which they were given.
pub(crate) struct Attributes<'a>(Vec<(&'a str, Option<&'a str>)>);

impl<'a> Attributes<'a> {
    /// Takes each attribute apart: `KEY`, `KEY=VALUE` or `KEY==VALUE`.
    pub fn parse(given: &'a [String]) -> Result<Self> {
        let apart = |text: &'a String| match text.split_once('=') {
            Some((key, value)) => (key, Some(value.strip_prefix('=').unwrap_or(value))),
            None => (text.as_str(), None),
        };
        if given.iter().any(|text| text.is_empty() || text.starts_with('=')) {
            bail!("Argument to '-a' cannot be \"\"");
        }
        Ok(Self(given.iter().map(apart).collect()))
    }

    /// Fails at an attribute that is not one of `keys`.
    pub fn check(&self, keys: &[&str]) -> Result<()> {
        match self.0.iter().find(|(key, _)| !keys.contains(key)) {
            Some((key, _)) => bail!("Invalid attribute: \"{key}\""),
            None => Ok(()),
        }
    }

    /// The value of an attribute; the last one counts.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let mut values = self.0.iter().rev().filter(|(given, _)| *given == key);
        values.find_map(|(_, value)| *value)
    }

    /// The same of one that is necessary to create an object.
    pub fn demand(&self, key: &str, kind: Kind) -> Result<&'a str> {
        let what = match kind {
            Kind::Cluster => "cluster",
            Kind::Node => "node",
            Kind::Heartbeat => "heartbeat region",
        };
        let value = self.get(key);
        value.ok_or_else(|| anyhow!("\"{key}\" attribute required to create a {what}"))
    }

    /// Whether an object has all the values that were given.
    pub fn match_all(&self, object: &Object) -> bool {
        let given = self.0.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
        let fields = object.fields();
        given.into_iter().all(|(key, value)| fields.iter().any(|it| it.0 == key && it.1 == value))
    }

    /// The number of a node.
    pub fn number(&self) -> Result<Option<u8>> {
        let parse = |text: &str| match text.parse() {
            Ok(number @ 0..=254) => Ok(number),
            _ => Err(anyhow!("Node number \"{text}\" is invalid; expected 0 to 254")),
        };
        self.get("number").map(parse).transpose()
    }

    /// The address of a node.
    pub fn address(text: &str) -> Result<Ipv4Addr> {
        text.parse().map_err(|_| anyhow!("IP address \"{text}\" is invalid; expected IPv4"))
    }

    /// The port of a node.
    pub fn port(text: &str) -> Result<u16> {
        match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => bail!("Port number \"{text}\" is invalid; expected 1 to 65535"),
        }
    }

    /// An attribute that is yes or no.
    pub fn yes_or_no(&self, key: &str) -> Result<Option<bool>> {
        let parse = |text: &str| {
            yes_or_no(text).map_err(|_| anyhow!("Invalid value for attribute \"{key}\": {text}"))
        };
        self.get(key).map(parse).transpose()
    }
}
